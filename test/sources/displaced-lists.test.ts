// What a place gives later never takes a revocation back that still holds: lists of others, lists to come, lists that lack a CA.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createTrust } from "../../src/smime/trust.ts";
import { der, sequence } from "../../src/smime/der-writing.ts";
import { elementsIn, encodingOf, readElement } from "../../src/smime/der.ts";
import { revocationLists } from "../../src/sources/revocation-lists.ts";
import { ca, leaf, said, sub, TestPki } from "../smime/test-pki.ts";

const never = new AbortController().signal;
const URL_OF_LIST = "http://pki.example/list.crl";
const HOUR_MS = 60 * 60_000;

let pki: TestPki;
let body: Buffer;
let asked = 0;
let now = 0;
beforeAll(async () => {
  pki = new TestPki();
  await pki.issueAll({
    root: ca("root"),
    issuing: sub("issuing", "root"),
    twin: { ...sub("issuing", "root"), key: "twin" },
    evil: ca("evil"),
    ann: { ...leaf("issuing"), serial: 77 },
  });
  await pki.revoke("good", { by: "issuing", from: -1, to: 20, revoked: [77] });
  await pki.revoke("coming", { by: "issuing", from: 5, to: 900 });
  await pki.revoke("newer", { by: "issuing", from: 0, to: 900 });
  await pki.revoke("forged", { by: "twin", from: 0, to: 900 });
  await pki.revoke("evil", { by: "evil", from: 0, to: 900 });
  await pki.revoke("root", { by: "root" });
});
afterAll(() => pki.close());
beforeEach(() => {
  now = pki.time(1);
  asked = 0;
});

const pem = (...names: string[]) => Buffer.concat(names.map((name) => readFileSync(pki.at(`${name}.crl`))));

/** One place, its lists and what they make of Ann's certificate, when these CAs are known. */
function placeOf(known: readonly string[]) {
  const told: string[] = [];
  const lists = revocationLists({
    places: [URL_OF_LIST],
    get: () => {
      asked += 1;
      return Promise.resolve({ status: 200, contentType: "", body });
    },
    now: () => now,
    issuers: known.map((name) => pki.certificate(name)),
    observe: { loaded: () => undefined, failed: (_place, cause) => void told.push(cause.message) },
  });
  const anchors = [pki.certificate("root")];
  const trust = createTrust({ anchors, intermediates: [], lists: lists.current, onMissingList: "accept" });
  return {
    lists,
    told,
    judge: () => said(trust.judge(pki.certificate("ann"), [pki.certificate("issuing")], now)),
    async give(content: Buffer, afterMs = HOUR_MS) {
      body = content;
      now += afterMs;
      await lists.refresh(never);
    },
  };
}

const REVOKED = /^revoked: CN=Ann/;

describe("HARV-23: where the list of a known CA was", () => {
  test("a list of another CA is refused, the revocation holds on, and verify says that the place is not well", async () => {
    const place = placeOf(["root", "issuing"]);
    await place.give(pem("good"));
    expect(place.judge()).toMatch(REVOKED);
    await place.give(pem("evil"));
    expect(place.judge()).toMatch(REVOKED);
    const text = `its list is of CN=evil,O=Test, where one of CN=issuing,O=Test was; see smime.trust.crls`;
    expect(place.told).toEqual([`${URL_OF_LIST} cannot be used: ${text}`]);
    expect(place.lists.probe(now)).toEqual({ ok: false, detail: place.told[0] });
  });

  test("a list to come does not displace the one that holds, and counts from its day", async () => {
    const place = placeOf(["root", "issuing"]);
    await place.give(pem("good"));
    await place.give(pem("coming"));
    expect(place.judge()).toMatch(REVOKED);
    expect(place.lists.probe(now)).toMatchObject({ ok: true, detail: expect.stringContaining("until") as string });
    now = pki.time(6);
    expect(place.judge()).toBe("good");
  });

  test("a list that displaced none is asked for every hour, not every minute, when the one beside it has ended", async () => {
    const place = placeOf(["root", "issuing"]);
    await place.give(pem("good"));
    await place.give(pem("coming"));
    now = pki.time(25);
    await place.lists.refresh(never);
    asked = 0;
    for (let minute = 0; minute < 59; minute++) {
      now += 60_000;
      await place.lists.refresh(never);
    }
    expect(asked).toBe(0);
  });

  test("content that lacks its list leaves that in use until it ends", async () => {
    const place = placeOf(["root", "issuing"]);
    await place.give(pem("root", "good"));
    await place.give(pem("root"));
    expect(place.judge()).toMatch(REVOKED);
    now = pki.time(21);
    expect(place.judge()).toBe("good");
  });

  test("its next list takes its place, and the old one is let go", async () => {
    const place = placeOf(["root", "issuing"]);
    await place.give(pem("good"));
    await place.give(pem("newer"));
    expect(place.judge()).toBe("good");
    expect(place.lists.current()).toHaveLength(1);
  });
});

describe("HARV-23: where the CA of a list is not known", () => {
  test("it is revealed by verify, and revokes all the same", async () => {
    const place = placeOf(["root"]);
    await place.give(pem("good"));
    expect(place.judge()).toMatch(REVOKED);
    expect(place.lists.probe(now)).toMatchObject({
      ok: false,
      detail: expect.stringMatching(/, of no CA that is known; add it to smime\.trust\.intermediates$/) as string,
    });
  });

  test("one of another name is refused while it holds, one of its name stands beside it", async () => {
    const place = placeOf(["root"]);
    await place.give(pem("good"));
    await place.give(pem("evil"));
    expect(place.told).toHaveLength(1);
    for (const forged of ["forged", "newer", "forged"]) await place.give(pem(forged, "evil"));
    expect(place.lists.current().map(({ revoked }) => revoked.size)).toContain(1);
    await place.give(pem("forged"));
    expect(place.judge()).toMatch(REVOKED);
    now = pki.time(21);
    await place.give(pem("forged"));
    expect(place.judge()).toBe("good");
  });

  test("lists of ever other names beside it do not pile up", async () => {
    const place = placeOf(["root"]);
    for (let count = 0; count < 30; count++) {
      const renamed = [...elementsIn(readElement(derOf("evil")))].map(encodingOf);
      const parts = [...elementsIn(readElement(Buffer.from(renamed[0]!)))].map(encodingOf);
      const name = sequence(der(0x31, sequence(Buffer.from("0603550403", "hex"), der(0x0c, Buffer.from(`e${count}`)))));
      const other = sequence(sequence(...parts.with(2, name)), ...renamed.slice(1));
      await place.give(Buffer.concat([pem("good"), armor(other)]));
    }
    expect(place.lists.current().length).toBeLessThanOrEqual(12);
    expect(place.judge()).toMatch(REVOKED);
  });
});

test("a list that is only to come is called so by verify, with its first day", async () => {
  const place = placeOf(["issuing"]);
  await place.give(pem("coming"));
  const from = new Date(pki.time(5)).toISOString();
  expect(place.lists.probe(now)).toEqual({
    ok: false,
    detail: `${URL_OF_LIST}: CN=issuing,O=Test, 0 entries, not current, from ${from}`,
  });
});

test("HARV-23: a list in a CA's name is refused by its signature before its entries are looked at", async () => {
  const place = placeOf(["issuing"]);
  const [tbs, ...rest] = [...elementsIn(readElement(derOf("good")))];
  const parts = [...elementsIn(tbs!)].map(encodingOf);
  const entries = sequence(Buffer.alloc(1000, 0xff));
  await place.give(sequence(sequence(...parts.with(5, entries)), ...rest.map(encodingOf)));
  expect(place.told).toEqual([
    `${URL_OF_LIST} cannot be used: its list is not signed by CN=issuing,O=Test; see smime.trust.crls`,
  ]);
});

function derOf(name: string): Buffer {
  const base64 = pem(name)
    .toString("latin1")
    .replace(/-----.*-----/g, "");
  return Buffer.from(base64, "base64");
}

function armor(bytes: Uint8Array): Buffer {
  const base64 = Buffer.from(bytes).toString("base64").replace(/.{64}/g, "$&\n");
  return Buffer.from(`-----BEGIN X509 CRL-----\n${base64}\n-----END X509 CRL-----\n`);
}
