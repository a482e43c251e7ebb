import { describe, expect, test } from "vitest";
import { createChain } from "../../src/keys/chain.ts";
import { absent, failed, found, type Lookup } from "../../src/keys/lookup.ts";
import type { SmimeKey } from "../../src/keys/recipient-key.ts";
import type { KeySource } from "../../src/keys/source.ts";
import { mailbox } from "../../src/mail/address.ts";
import { certificateOf, FIXTURE_TIME } from "../keys-of.ts";

const CLOCK = { now: () => FIXTURE_TIME, sleep: () => Promise.resolve() };
const ALICE = mailbox("alice@example.com");
const forever = new AbortController().signal;

function source(name: string, answer: () => Promise<Lookup<readonly SmimeKey[]>> | Lookup<readonly SmimeKey[]>) {
  const asked: string[] = [];
  const one: KeySource<SmimeKey> & { asked: string[] } = {
    name,
    asked,
    find: async (box) => {
      asked.push(box.address);
      return answer();
    },
    probe: () => Promise.resolve({ ok: true, detail: "" }),
  };
  return one;
}

const chain = (...sources: KeySource<SmimeKey>[]) => createChain("smime", sources, { minRsaBits: 2048 }, CLOCK, 100);

describe("the chain", () => {
  test("the first source with a fit key wins, and no source below is asked", async () => {
    const below = source("keystore", () => found([certificateOf("alice-new")]));
    const { answer, trail } = await chain(
      source("upload", () => found([certificateOf("alice")])),
      below,
    ).resolve(ALICE, forever);
    expect(answer).toMatchObject({ kind: "found", value: { source: "upload" } });
    expect(below.asked).toEqual([]);
    expect(trail.map((entry) => entry.answer)).toEqual(["found", "skipped"]);
  });

  test("an unfit key is passed by with its reason, and does not shadow a good one", async () => {
    const unfit = source("upload", () => found([certificateOf("alice-old"), certificateOf("alice-sign")]));
    const { answer, trail, known } = await chain(
      unfit,
      source("keystore", () => found([certificateOf("alice")])),
    ).resolve(ALICE, forever);
    expect(answer).toMatchObject({ kind: "found", value: { source: "keystore" } });
    expect(trail[0]?.candidates.map((one) => one.reason)).toEqual(["expired", "no-encryption-use"]);
    expect(known).toHaveLength(3);
  });

  test("a failure ends the search: the source below is not asked and the answer is failed, not absent", async () => {
    const below = source("keystore", () => found([certificateOf("alice")]));
    const { answer } = await chain(
      source("upload", () => absent),
      source("incoming", () => failed(new Error("locked"))),
      below,
    ).resolve(ALICE, forever);
    expect(answer).toMatchObject({ kind: "failed" });
    expect(answer.kind === "failed" && answer.cause.message).toBe("incoming: locked");
    expect(below.asked).toEqual([]);
  });

  test("a source that throws has failed", async () => {
    const { answer } = await chain(source("upload", () => Promise.reject(new Error("bug")))).resolve(ALICE, forever);
    expect(answer.kind).toBe("failed");
  });

  test("a source that never answers has failed when its deadline is over", async () => {
    const { answer } = await chain(source("upload", () => new Promise(() => undefined))).resolve(ALICE, forever);
    expect(answer.kind === "failed" && answer.cause.message).toContain("did not answer within 100 ms");
  });

  test("the newest fit key wins, in whatever order they come", async () => {
    const keys = [
      certificateOf("alice"),
      certificateOf("alice-new"),
      certificateOf("alice-sign"),
      certificateOf("alice-old"),
    ];
    for (const order of [keys, keys.toReversed()]) {
      const { answer } = await chain(source("keystore", () => found(order))).resolve(ALICE, forever);
      expect(answer.kind === "found" && answer.value.key.fingerprint).toBe(certificateOf("alice-new").fingerprint);
    }
  });

  test("a key of somebody else that a source returns is not used", async () => {
    const { answer, trail, known } = await chain(source("keystore", () => found([certificateOf("bob")]))).resolve(
      ALICE,
      forever,
    );
    expect(answer.kind).toBe("absent");
    expect(trail[0]?.candidates[0]?.reason).toBe("wrong-mailbox");
    expect(known).toEqual([]);
  });

  test("a chain without sources knows no key", async () => {
    expect((await chain().resolve(ALICE, forever)).answer).toEqual(absent);
  });
});
