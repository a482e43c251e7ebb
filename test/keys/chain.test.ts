import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { createChain } from "../../src/keys/chain.ts";
import { absent, failed, found, type Lookup } from "../../src/keys/lookup.ts";
import type { SmimeKey } from "../../src/keys/recipient-key.ts";
import type { KeySource } from "../../src/keys/source.ts";
import { withCauses } from "../../src/log.ts";
import { mailbox } from "../../src/mail/address.ts";
import { certificateOf, FIXTURE_TIME } from "../keys-of.ts";

const CLOCK = { ...systemClock, now: () => FIXTURE_TIME };
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
    expect(answer.kind === "failed" && withCauses(answer.cause)).toBe("incoming failed: locked");
    expect(below.asked).toEqual([]);
  });

  test("a source that throws has failed", async () => {
    const { answer } = await chain(source("upload", () => Promise.reject(new Error("bug")))).resolve(ALICE, forever);
    expect(answer.kind).toBe("failed");
  });

  test("a source that never answers has failed when its deadline is over", async () => {
    const { answer } = await chain(source("upload", () => new Promise(() => undefined))).resolve(ALICE, forever);
    expect(answer.kind === "failed" && withCauses(answer.cause)).toContain("did not answer within 100 ms");
  });

  test("a caller that gives up gets a failure at once", async () => {
    const impatient = new AbortController();
    const hanging = chain(source("upload", () => new Promise(() => undefined))).resolve(ALICE, impatient.signal);
    impatient.abort();
    expect((await hanging).answer.kind).toBe("failed");
    expect((await chain(source("upload", () => absent)).resolve(ALICE, impatient.signal)).answer.kind).toBe("failed");
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

  test("R5: a fit key of an earlier place wins over a newer one of a later place, an unfit one does not", async () => {
    const at = (name: string, rank: number) => ({ ...certificateOf(name), place: { name: `place${rank}`, rank } });
    const first = await chain(source("ldap", () => found([at("alice-new", 1), at("alice", 0)]))).resolve(
      ALICE,
      forever,
    );
    expect(first.answer.kind === "found" && first.answer.value.key.fingerprint).toBe(
      certificateOf("alice").fingerprint,
    );
    const { answer, trail } = await chain(
      source("ldap", () => found([at("alice-old", 0), at("alice-new", 1)])),
    ).resolve(ALICE, forever);
    expect(answer.kind === "found" && answer.value.key.fingerprint).toBe(certificateOf("alice-new").fingerprint);
    expect(trail[0]?.candidates.map(({ place, reason }) => [place, reason])).toEqual([
      ["place0", "expired"],
      ["place1", undefined],
    ]);
  });

  test("a source that withholds an address is not asked for it, and the search goes on below", async () => {
    const withheld = {
      ...source("ldap", () => found([certificateOf("alice")])),
      withholds: () => "not one of onlyDomains",
    };
    const { answer, trail } = await chain(
      withheld,
      source("below", () => found([certificateOf("alice")])),
    ).resolve(ALICE, forever);
    expect(withheld.asked).toEqual([]);
    expect(answer).toMatchObject({ kind: "found", value: { source: "below" } });
    expect(trail[0]).toMatchObject({ answer: "skipped", why: "not one of onlyDomains" });
  });

  describe("when certification paths are checked", () => {
    const judging = (
      reasonOf: (fingerprint: string) => "untrusted" | "revoked" | "revocation-unknown" | undefined,
    ) => ({
      minRsaBits: 2048,
      path: ({ fingerprint }: { fingerprint: string }) => {
        const reason = reasonOf(fingerprint);
        return reason === undefined
          ? ({ trusted: true, path: [] } as const)
          : ({ trusted: false, reason, detail: `it is ${reason}` } as const);
      },
    });
    const below = () => source("below", () => found([certificateOf("alice")]));
    const found2 = () => source("ldap", () => found([certificateOf("alice-new"), certificateOf("alice")]));
    const resolve = (policy: Parameters<typeof createChain>[2]) => {
      const last = below();
      const made = createChain<SmimeKey>("smime", [found2(), last], policy, CLOCK, 100).resolve(ALICE, forever);
      return made.then((result) => ({ ...result, asked: last.asked }));
    };

    test.each(["untrusted", "revoked"] as const)(
      "a certificate that is %s is passed by, with the reason",
      async (reason) => {
        const { answer, trail } = await resolve(
          judging((one) => (one === certificateOf("alice-new").fingerprint ? reason : undefined)),
        );
        expect(answer.kind === "found" && answer.value.key.fingerprint).toBe(certificateOf("alice").fingerprint);
        expect(trail[0]?.candidates[0]).toMatchObject({ reason, detail: `it is ${reason}` });
      },
    );

    test("a certificate of which it is not known whether it was revoked makes the mail wait, if no other one serves", async () => {
      const none = await resolve(judging(() => "revocation-unknown"));
      expect(none.answer.kind).toBe("failed");
      expect(none.trail[0]).toMatchObject({ answer: "failed", fault: { message: "it is revocation-unknown" } });
      expect(none.asked).toEqual([]);
      const other = await resolve(
        judging((one) => (one === certificateOf("alice-new").fingerprint ? "revocation-unknown" : undefined)),
      );
      expect(other.answer.kind).toBe("found");
    });
  });
});
