import { describe, expect, test } from "vitest";
import { acceptanceOf, type HeldKey, type Lesson } from "../../src/inbound/acceptance.ts";
import { certificateOf, pgpKeyOf } from "../keys-of.ts";

const NEW = certificateOf("alice-new");
const JOE = await pgpKeyOf("joe");
const FIT = { fit: true } as const;

const lesson = (more: Partial<Lesson> = {}): Lesson => ({
  ...{ key: NEW, validFrom: 200, signedAt: 2_000, fitness: FIT, isChained: true },
  ...more,
});
const held = (more: Partial<HeldKey> = {}): HeldKey => ({
  ...{ fingerprint: "held", validFrom: 100, signedAt: 1_000, isFit: true },
  ...more,
});
const said = (one: Lesson, own: HeldKey | undefined, isKnown = true) => {
  const acceptance = acceptanceOf(one, own, isKnown);
  return "reason" in acceptance ? `${acceptance.kind}: ${acceptance.reason}` : acceptance.kind;
};

describe("nothing is held", () => {
  test("a key of a known user is learned, of anybody else deferred", () => {
    expect(said(lesson(), undefined)).toBe("learn: new");
    expect(said(lesson(), undefined, false)).toBe("defer");
    expect(said(lesson({ key: JOE, isChained: false }), undefined, false)).toBe("defer");
  });

  test.each(["expired", "no-encryption-use", "weak-key", "untrusted", "revoked"] as const)(
    "HARV-19, HARV-20, HARV-21, HARV-23: a key that is %s is ignored with that reason, known or not",
    (reason) => {
      for (const isKnown of [true, false])
        expect(said(lesson({ fitness: { fit: false, reason } }), undefined, isKnown)).toBe(`ignore: ${reason}`);
    },
  );
});

test("a missing revocation list decides nothing: not about the key, whatever is held", () => {
  const unknown = lesson({ fitness: { fit: false, reason: "revocation-unknown" } });
  for (const own of [undefined, held(), held({ fingerprint: NEW.fingerprint }), held({ isFit: false })])
    expect(said(unknown, own)).toBe("undecided: revocation-unknown");
});

describe("a key is held", () => {
  test("the same key again only renews what is known of it, however old the mail is", () => {
    const same = held({ fingerprint: NEW.fingerprint });
    expect(said(lesson(), same)).toBe("learn: newer-form");
    expect(said(lesson({ signedAt: 1 }), same)).toBe("learn: newer-form");
  });

  test("HARV-12: a different key in a mail signed before the one that taught the held key is a replay", () => {
    expect(said(lesson({ signedAt: 999 }), held())).toBe("ignore: older-than-held");
    expect(said(lesson({ signedAt: 999, key: JOE, isChained: false }), held())).toBe("ignore: older-than-held");
    expect(said(lesson({ signedAt: 999 }), held({ isFit: false }))).toBe("ignore: older-than-held");
  });

  test("a newer certificate with a path is a renewal; one that is not newer is ignored", () => {
    expect(said(lesson(), held())).toBe("learn: renewal");
    expect(said(lesson({ validFrom: 100 }), held())).toBe("ignore: older-certificate");
  });

  test("any other different key waits and never replaces a valid one", () => {
    expect(said(lesson({ isChained: false }), held())).toBe("pend");
    expect(said(lesson({ key: JOE, isChained: false }), held())).toBe("pend");
    expect(said(lesson({ key: JOE, isChained: false }), held(), false)).toBe("pend");
  });

  test("one that is not fit any more is replaced", () => {
    expect(said(lesson({ key: JOE, isChained: false }), held({ isFit: false }))).toBe("learn: replaces-unfit");
  });

  test("HARV-17: the revoked form of the held OpenPGP key is taken, of another key not", () => {
    const revoked = { fit: false, reason: "revoked" } as const;
    expect(said(lesson({ key: JOE, fitness: revoked }), held({ fingerprint: JOE.fingerprint }))).toBe(
      "learn: revocation",
    );
    expect(said(lesson({ key: JOE, fitness: revoked }), held())).toBe("ignore: revoked");
    expect(said(lesson({ fitness: revoked }), held({ fingerprint: NEW.fingerprint }))).toBe("ignore: revoked");
  });
});
