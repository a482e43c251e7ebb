// Keep: judges a taught key against what is held, and writes down what becomes of it; the same for a new mail and a promotion.
import { fitness, validFrom, type Fitness, type FitnessPolicy } from "../keys/fitness.ts";
import type { HarvestedKeys } from "../keys/harvested-keys.ts";
import type { PersonalKeys } from "../keys/personal-keys.ts";
import { pgpKey, type RecipientKey } from "../keys/recipient-key.ts";
import type { Mailbox } from "../mail/address.ts";
import { mergedWith } from "../pgp/self-signatures.ts";
import { acceptanceOf, type Acceptance, type HeldKey } from "./acceptance.ts";

export type KeepParts = {
  readonly personalKeys: PersonalKeys;
  readonly harvested: HarvestedKeys;
  /** For keys that are about to be learned: S/MIME with a certification path, unless the operator said otherwise. */
  readonly policy: FitnessPolicy;
  readonly deferredForMs: number;
  /** How long a key waits for a decision. */
  readonly pendingForMs: number;
  readonly now: () => number;
};

/** For revocation lists to be loaded, when somebody or some mail waits for what becomes of a key. */
export const LISTS_READY_MS = 5_000;

export type TaughtKey = {
  readonly author: Mailbox;
  readonly key: RecipientKey;
  readonly signedAt: number;
  readonly evidence: string;
};

export type Kept = {
  readonly acceptance: Acceptance;
  /** The key in use that a pending one would replace. */
  readonly held: RecipientKey | undefined;
};

/** Rejects when the store fails. */
export async function keepKey(taught: TaughtKey, isKnown: boolean, parts: KeepParts): Promise<Kept> {
  const { author, evidence } = taught;
  const { personalKeys, harvested, policy, deferredForMs, pendingForMs } = parts;
  const now = parts.now();
  const [own] = await personalKeys.find(author, taught.key.kind, "incoming");
  const { fingerprint, kind } = taught.key;
  const before = (await harvested.of(author, kind)).find((one) => one.key.fingerprint === fingerprint);
  const key = await newestForm(await newestForm(taught.key, before?.key, now), own?.key, now);
  const held: HeldKey | undefined = own && {
    fingerprint: own.key.fingerprint,
    validFrom: validFrom(own.key),
    signedAt: own.signedAt ?? own.addedAt,
    isFit: !isKnownUnfit(fitness(own.key, author, now, policy)),
  };
  // a clock that goes wrong at the sender must not lock out later mails
  const signedAt = Math.min(Math.max(taught.signedAt, before?.signedAt ?? 0), now);
  const lesson = {
    ...{ key, validFrom: validFrom(key), signedAt, fitness: fitness(key, author, now, policy) },
    isChained: key.kind === "smime" && policy.path !== undefined,
  };
  const acceptance = acceptanceOf(lesson, held, isKnown);
  const waiting = { mailbox: author, key, signedAt, seenAt: now, evidence };
  const result = { acceptance, held: own?.key };
  switch (acceptance.kind) {
    case "learn":
      if (!(await personalKeys.learn(author, key, { origin: "incoming", signedAt, now })))
        return { ...result, acceptance: { kind: "ignore", reason: "uploaded-already" } };
      if (before !== undefined) await harvested.remove(before.id);
      return result;
    case "defer": {
      const kept = await harvested.keep({ ...waiting, state: "deferred", expiresAt: now + deferredForMs });
      return kept === "kept" ? result : full(result);
    }
    case "pend": {
      const kept = await harvested.keep({ ...waiting, state: "pending", expiresAt: now + pendingForMs });
      return kept === "kept" ? result : full(result);
    }
    case "ignore":
    case "undecided":
      return result;
  }
}

/** A revocation list that is missing says nothing against a key. */
function isKnownUnfit(verdict: Fitness): boolean {
  return !verdict.fit && verdict.reason !== "revocation-unknown";
}

/** Of an OpenPGP key that is held or waits, both forms together: a newer self-signature or a revocation in either counts. */
async function newestForm(taught: RecipientKey, held: RecipientKey | undefined, now: number): Promise<RecipientKey> {
  if (taught.kind !== "pgp" || held?.kind !== "pgp" || held.fingerprint !== taught.fingerprint) return taught;
  if (Buffer.compare(taught.certificate.bytes, held.certificate.bytes) === 0) return taught;
  const merged = await mergedWith(held.certificate, taught.certificate.bytes, now);
  return merged.kind === "merged" ? pgpKey(merged.certificate) : held;
}

function full(result: Kept): Kept {
  return { ...result, acceptance: { kind: "ignore", reason: "too-many-wait" } };
}
