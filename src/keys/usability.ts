// Usability: of many keys, how many could be used for the mailboxes that they name, and why not the others (pure).
import { mailboxesIn } from "../mail/address.ts";
import { fitness, type FitnessPolicy, type UnfitReason } from "./fitness.ts";
import type { RecipientKey } from "./recipient-key.ts";

export type Usability = {
  readonly total: number;
  readonly usable: number;
  /** Unfit keys by their reason, most frequent first. */
  readonly unfit: readonly (readonly [reason: UnfitReason | "no-mailbox", count: number])[];
};

/** Counts each key once: usable when it is fit at `now` (ms) for at least one mailbox that it names. CA certificates don't count. */
export function usabilityOf(keys: readonly RecipientKey[], now: number, policy: FitnessPolicy): Usability {
  const people = keys.filter(
    (key) => key.kind === "pgp" || !key.certificate.isCa || key.certificate.addresses.length > 0,
  );
  const unfit = new Map<UnfitReason | "no-mailbox", number>();
  let usable = 0;
  for (const key of people) {
    const reason = whyUnfit(key, now, policy);
    if (reason === undefined) usable++;
    else unfit.set(reason, (unfit.get(reason) ?? 0) + 1);
  }
  return { total: people.length, usable, unfit: [...unfit].sort(([, a], [, b]) => b - a) };
}

/** `3 of 5 keys are usable; 1 expired, 1 weak-key`. */
export function usabilityText({ total, usable, unfit }: Usability): string {
  const others = unfit.map(([reason, count]) => `${count} ${reason}`).join(", ");
  return `${usable} of ${total} keys ${usable === 1 ? "is" : "are"} usable${others === "" ? "" : `; ${others}`}`;
}

function whyUnfit(key: RecipientKey, now: number, policy: FitnessPolicy): UnfitReason | "no-mailbox" | undefined {
  let reason: UnfitReason | "no-mailbox" = "no-mailbox";
  for (const mailbox of mailboxesIn(key.certificate.addresses)) {
    const verdict = fitness(key, mailbox, now, policy);
    if (verdict.fit) return undefined;
    reason = verdict.reason;
  }
  return reason;
}
