// Acceptance: what becomes of a key that a signed mail taught (pure).
//
// Rules, in this order; From, evidence and signature have been judged before:
//   1. A revoked OpenPGP certificate that we hold is taken, whoever brings it: a revocation proves itself.
//   2. A key that is not fit for the author is ignored; one of which that is not known now is undecided.
//   3. The key that we hold already: its newer form is taken, and the time it was signed at moves on.
//   4. A mail that was signed before the one that taught the key we hold is ignored: it may be a replay.
//   5. A key we hold that is not fit any more is replaced.
//   6. A newer certificate of the same mailbox, with a certification path, is a renewal and replaces at once.
//   7. Any other different key waits for its owner or an operator; the one we hold stays in use.
//   8. No key held: learned for a user that Jira knows, deferred for anybody else.
import type { Fitness } from "../keys/fitness.ts";
import type { RecipientKey } from "../keys/recipient-key.ts";

export type Lesson = {
  readonly key: RecipientKey;
  /** When the key began to be valid or was made (ms). */
  readonly validFrom: number;
  /** When the mail was signed, never in the future (ms). */
  readonly signedAt: number;
  /** Judged for the author now. */
  readonly fitness: Fitness;
  /** S/MIME: there is a certification path to an anchor. */
  readonly isChained: boolean;
};

/** The learned key of the same kind that is in use for the author. */
export type HeldKey = {
  readonly fingerprint: string;
  readonly validFrom: number;
  readonly signedAt: number;
  /** Not known to be unfit: a missing revocation list takes nobody's key away. */
  readonly isFit: boolean;
};

export type Acceptance =
  | { readonly kind: "learn"; readonly reason: "new" | "newer-form" | "replaces-unfit" | "renewal" | "revocation" }
  | { readonly kind: "defer" }
  | { readonly kind: "pend" }
  /** It cannot be told now, and changes nothing: what waits goes on waiting. */
  | { readonly kind: "undecided"; readonly reason: string }
  | { readonly kind: "ignore"; readonly reason: string };

export function acceptanceOf(lesson: Lesson, held: HeldKey | undefined, isKnown: boolean): Acceptance {
  const { key, fitness, signedAt, validFrom, isChained } = lesson;
  const isSame = held?.fingerprint === key.fingerprint;
  if (!fitness.fit) {
    if (isSame && key.kind === "pgp" && fitness.reason === "revoked") return { kind: "learn", reason: "revocation" };
    return { kind: fitness.reason === "revocation-unknown" ? "undecided" : "ignore", reason: fitness.reason };
  }
  if (held === undefined) return isKnown ? { kind: "learn", reason: "new" } : { kind: "defer" };
  if (isSame) return { kind: "learn", reason: "newer-form" };
  if (signedAt < held.signedAt) return { kind: "ignore", reason: "older-than-held" };
  if (!held.isFit) return { kind: "learn", reason: "replaces-unfit" };
  if (key.kind === "smime" && isChained && validFrom > held.validFrom) return { kind: "learn", reason: "renewal" };
  if (key.kind === "smime" && isChained) return { kind: "ignore", reason: "older-certificate" };
  return { kind: "pend" };
}
