import { describe, expect, test } from "vitest";
import type { ChainAnswer } from "../../src/keys/chain.ts";
import type { UnfitReason } from "../../src/keys/fitness.ts";
import type { PgpKey, SmimeKey } from "../../src/keys/recipient-key.ts";
import type { Policy, TypeMode } from "../../src/outbound/rules.ts";
import { nextStep, type Known } from "../../src/outbound/treatment.ts";

type Said = "found" | "absent" | "failed" | undefined;

function answer<K extends SmimeKey | PgpKey>(
  kind: K["kind"],
  said: Said,
  unfit: readonly UnfitReason[] = [],
): ChainAnswer<K> | undefined {
  if (said === undefined) return undefined;
  const key = { kind, fingerprint: kind } as unknown as K;
  const candidates = unfit.map((reason) => ({ fingerprint: "x", fit: false, reason, notAfter: undefined }));
  const trail = [{ kind, source: "keystore", answer: said, ms: 0, cached: false, candidates }];
  const kinds = {
    found: { kind: "found", value: { key, source: "keystore" } },
    absent: { kind: "absent" },
    failed: { kind: "failed", cause: new Error("down") },
  } as const;
  return { answer: kinds[said], trail, known: [] };
}

function known(policy: Partial<Policy>, smime: Said, pgp: Said, more: Partial<Known> = {}): Known {
  const base: Policy = {
    type: "smime-preferred",
    fallback: "allow",
    holdMs: 0,
    subject: "keep",
    recoveryMail: "encrypt",
  };
  return {
    policy: { ...base, ...policy },
    isPass: false,
    isRecoveryMail: false,
    smime: answer("smime", smime),
    pgp: answer("pgp", pgp),
    ...more,
  };
}

const said = (step: ReturnType<typeof nextStep>) => ("ask" in step ? `ask ${step.ask}` : step.treat.kind);

describe("every mode with every answer", () => {
  const table: [TypeMode, Said, Said, string][] = [
    ["smime-only", undefined, undefined, "ask smime"],
    ["smime-only", "found", undefined, "smime"],
    ["smime-only", "absent", "found", "clear"],
    ["smime-only", "failed", "found", "later"],
    ["smime-preferred", undefined, "found", "ask smime"],
    ["smime-preferred", "found", "found", "smime"],
    ["smime-preferred", "absent", undefined, "ask pgp"],
    ["smime-preferred", "absent", "found", "pgp"],
    ["smime-preferred", "absent", "absent", "clear"],
    ["smime-preferred", "failed", "found", "later"],
    ["smime-preferred", "absent", "failed", "later"],
    ["pgp-preferred", "found", undefined, "ask pgp"],
    ["pgp-preferred", "found", "found", "pgp"],
    ["pgp-preferred", "found", "absent", "smime"],
    ["pgp-preferred", "found", "failed", "later"],
    ["pgp-preferred", undefined, "absent", "ask smime"],
    ["pgp-only", "found", "absent", "clear"],
    ["pgp-only", "found", "failed", "later"],
    ["pgp-only", undefined, "found", "pgp"],
  ];
  test.each(table)("%s, S/MIME %s, PGP %s: %s", (type, smime, pgp, expected) => {
    expect(said(nextStep(known({ type }, smime, pgp)))).toBe(expected);
  });
});

test.each(["allow", "report", "block"] as const)(
  "a failed look-up makes the mail wait whatever the fallback: %s",
  (fallback) => {
    expect(said(nextStep(known({ fallback }, "failed", "absent")))).toBe("later");
  },
);

test.each([
  ["allow", "clear"],
  ["report", "report"],
  ["block", "block"],
] as const)("without a key the fallback %s is %s", (fallback, treatment) => {
  expect(said(nextStep(known({ fallback }, "absent", "absent")))).toBe(treatment);
});

test("the reason names why the keys that were found do not serve", () => {
  const step = nextStep({
    ...known({ fallback: "report" }, "absent", "absent"),
    smime: answer<SmimeKey>("smime", "absent", ["expired", "no-encryption-use", "expired"]),
  });
  expect(step).toEqual({ treat: { kind: "report", reason: "expired, no-encryption-use" } });
  expect(nextStep(known({ fallback: "report" }, "absent", "absent"))).toEqual({
    treat: { kind: "report", reason: "no-key" },
  });
});

test("a key that cannot be read or may not be used is told of, unless another one says more", () => {
  const without = nextStep(known({ fallback: "report" }, "absent", "absent"));
  expect(without).toEqual({ treat: { kind: "report", reason: "no-key" } });
  const setAside = (unfit: readonly UnfitReason[]) => {
    const smime = answer<SmimeKey>("smime", "absent", unfit)!;
    const trail = smime.trail.map((entry) => ({ ...entry, setAside: ["userCertificate: cannot be read"] }));
    return nextStep({ ...known({ fallback: "report" }, "absent", "absent"), smime: { ...smime, trail } });
  };
  expect(setAside([])).toEqual({ treat: { kind: "report", reason: "set-aside" } });
  expect(setAside(["expired"])).toEqual({ treat: { kind: "report", reason: "expired" } });
});

test("mail that is already ciphertext passes before anything is asked", () => {
  expect(said(nextStep(known({}, undefined, undefined, { isPass: true })))).toBe("pass");
});

test("a recovery mail is clear only when the policy exempts it", () => {
  expect(said(nextStep(known({ recoveryMail: "exempt" }, undefined, undefined, { isRecoveryMail: true })))).toBe(
    "clear",
  );
  expect(said(nextStep(known({ recoveryMail: "encrypt" }, undefined, undefined, { isRecoveryMail: true })))).toBe(
    "ask smime",
  );
  expect(said(nextStep(known({ recoveryMail: "exempt" }, undefined, undefined)))).toBe("ask smime");
});
