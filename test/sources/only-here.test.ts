// Key servers and Web Key Directories: which failures are the server's, and which are about one mailbox only.
import { describe, expect, test } from "vitest";
import { AnswerTooLarge } from "../../src/http/http-fault.ts";
import type { HttpAnswer, HttpGet } from "../../src/http/http-get.ts";
import { mailbox } from "../../src/mail/address.ts";
import { splitRing } from "../../src/pgp/ring.ts";
import { hkpKeyServer } from "../../src/sources/hkp.ts";
import { webKeyDirectory } from "../../src/sources/wkd.ts";
import { fixtureBytes } from "../fixtures.ts";
import { FIXTURE_TIME } from "../keys-of.ts";

const alice = fixtureBytes("pgp/alice.gpg");
const first = alice.subarray(0, [...splitRing(alice)][0]!.end);
const settings = { onlyDomains: [], disclosed: () => undefined, now: () => FIXTURE_TIME };

describe.each([
  ["hkp", (get: HttpGet) => hkpKeyServer({ ...settings, url: "hkps://keys.example.com", get })],
  ["wkd", (get: HttpGet) => webKeyDirectory({ ...settings, get })],
])("H5: %s", (_name, sourceOf) => {
  const told = async (answer: Partial<HttpAnswer> | Error) => {
    const get: HttpGet = () =>
      answer instanceof Error
        ? Promise.reject(answer)
        : Promise.resolve({ status: 200, contentType: "application/pgp-keys", body: Buffer.alloc(0), ...answer });
    const { kind, isOnlyHere } = await sourceOf(get).find(mailbox("alice@example.com"), new AbortController().signal);
    return [kind, isOnlyHere];
  };

  test.each([
    ["a status that is none of a key server's", { status: 503, body: alice }],
    ["a web page", { body: Buffer.from("<html>") }],
    ["nothing", {}],
    ["no connection", new Error("connection refused by x")],
    ["a time-out", new Error("time-out after 5000 ms")],
  ])("%s is the server's failure", async (_what, answer) => {
    expect(await told(answer)).toEqual(["failed", undefined]);
  });

  test.each([
    ["a key that is cut off", alice.subarray(0, 300)],
    ["a key with a hole", Buffer.concat([first.subarray(0, 150), first.subarray(160)])],
    ["too many keys", Buffer.concat(Array.from({ length: 51 }, () => alice))],
  ])("%s is a failure of this mailbox only", async (_what, body) => {
    expect(await told({ body })).toEqual(["failed", true]);
  });

  test("an answer larger than is read is a failure of this mailbox only", async () => {
    expect(await told(new AnswerTooLarge("x sent an answer larger than 1048576 bytes"))).toEqual(["failed", true]);
  });
});
