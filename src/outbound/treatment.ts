// Treatment: what becomes of one recipient, as a pure table over what the look-ups have said so far.
//
// The questions, in this order:
//   1. Is the message already ciphertext for exactly this recipient?            → pass
//   2. Is it a recovery mail and exempt?                                        → clear
//   3. For each kind the type mode allows, in its order: what does the chain say?
//        failed → later, whatever the fallback      found → smime | pgp         absent → the next kind
//   4. No kind has a fit key: the fallback                                      → clear | report | block
// A failure is never read as an absence, and no kind is asked for once one above it has answered `found`.
import type { ChainAnswer } from "../keys/chain.ts";
import type { KeyKind, PgpKey, SmimeKey } from "../keys/recipient-key.ts";
import type { Policy, TypeMode } from "./rules.ts";

export type Treatment =
  | { readonly kind: "pass" }
  | { readonly kind: "smime"; readonly key: SmimeKey; readonly source: string }
  | { readonly kind: "pgp"; readonly key: PgpKey; readonly source: string }
  | { readonly kind: "clear"; readonly rule: "fallback-allow" | "recovery-mail"; readonly reason: string }
  | { readonly kind: "report" | "block"; readonly reason: string }
  | { readonly kind: "later"; readonly cause: Error };

/** What is known about one recipient; an answer that is undefined has not been asked for. */
export type Known = {
  readonly policy: Policy;
  readonly isPass: boolean;
  readonly isRecoveryMail: boolean;
  readonly smime: ChainAnswer<SmimeKey> | undefined;
  readonly pgp: ChainAnswer<PgpKey> | undefined;
};

export type Step = { readonly ask: KeyKind } | { readonly treat: Treatment };

/** The kinds that a type mode allows, in its order. */
export const ORDER: Record<TypeMode, readonly KeyKind[]> = {
  "smime-only": ["smime"],
  "smime-preferred": ["smime", "pgp"],
  "pgp-preferred": ["pgp", "smime"],
  "pgp-only": ["pgp"],
};

/** The next question to ask, or the treatment when nothing more needs to be asked. */
export function nextStep(known: Known): Step {
  if (known.isPass) return { treat: { kind: "pass" } };
  if (known.isRecoveryMail && known.policy.recoveryMail === "exempt") {
    return {
      treat: { kind: "clear", rule: "recovery-mail", reason: "recovery mail is exempt (encryption.recoveryMail)" },
    };
  }
  const kinds = ORDER[known.policy.type];
  for (const kind of kinds) {
    const answer = known[kind]?.answer;
    if (answer === undefined) return { ask: kind };
    if (answer.kind === "failed") return { treat: { kind: "later", cause: answer.cause } };
    if (answer.kind === "found") return { treat: { kind, ...answer.value } as Treatment };
  }
  return { treat: fallback(known, kinds) };
}

function fallback(known: Known, kinds: readonly KeyKind[]): Treatment {
  const reason = whyNoKey(kinds.flatMap((kind) => known[kind]?.trail ?? []));
  switch (known.policy.fallback) {
    case "allow":
      return { kind: "clear", rule: "fallback-allow", reason };
    case "report":
      return { kind: "report", reason };
    case "block":
      return { kind: "block", reason };
  }
}

/** Why there is no key when there was none that could be judged. */
export type NoKeyReason = "no-key" | "set-aside";

/**
 * The reasons for which every key that was found had to be passed over: `expired, no-encryption-use`. Without any, `set-aside` when
 * something was there that cannot be read or may not be used, else `no-key`.
 */
function whyNoKey(trail: ChainAnswer<SmimeKey | PgpKey>["trail"]): string {
  const reasons = trail.flatMap((entry) => entry.candidates).flatMap((candidate) => candidate.reason ?? []);
  if (reasons.length > 0) return [...new Set(reasons)].sort().join(", ");
  const without: NoKeyReason = trail.some(({ setAside = [] }) => setAside.length > 0) ? "set-aside" : "no-key";
  return without;
}
