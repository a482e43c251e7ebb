// Pending: what an owner or an operator decides about a key that would replace another one.
import { fitness } from "../keys/fitness.ts";
import type { HarvestedKey } from "../keys/harvested-keys.ts";
import { factsOf, type HarvestFacts } from "./harvest-observer.ts";
import { LISTS_READY_MS, type KeepParts } from "./keep.ts";

export type DecideParts = Pick<KeepParts, "personalKeys" | "harvested" | "policy" | "now"> & {
  readonly observe: { happened(event: "learned" | "ignored", facts: HarvestFacts): void };
};

/** `unfit` and `uploaded` keys are forgotten like rejected ones; an `undecided` one waits on, for it cannot be judged now. */
export type Decided =
  | { readonly kind: "taken" | "rejected" | "uploaded" }
  | { readonly kind: "unfit" | "undecided"; readonly reason: string };

/**
 * Approving makes a waiting key, pending or deferred, the learned key of its owner if it is still fit; rejecting forgets it. `by` says who
 * decided.
 */
export async function decideOn(
  entry: HarvestedKey,
  decision: "approve" | "reject",
  by: string,
  parts: DecideParts,
): Promise<Decided> {
  const { id, mailbox, key } = entry;
  const decided: Decided = decision === "reject" ? { kind: "rejected" } : await approve(entry, parts);
  if (decided.kind === "undecided") return decided;
  await parts.harvested.remove(id);
  const reason = { taken: by, rejected: by, uploaded: "uploaded-already", unfit: "" }[decided.kind];
  const facts = factsOf(mailbox, key, "reason" in decided ? decided.reason : reason);
  parts.observe.happened(decided.kind === "taken" ? "learned" : "ignored", facts);
  return decided;
}

async function approve(entry: HarvestedKey, { personalKeys, policy, now }: DecideParts): Promise<Decided> {
  const { mailbox, key, signedAt } = entry;
  await policy.ready?.(AbortSignal.timeout(LISTS_READY_MS));
  const verdict = fitness(key, mailbox, now(), policy);
  if (!verdict.fit)
    return { kind: verdict.reason === "revocation-unknown" ? "undecided" : "unfit", reason: verdict.reason };
  const isTaken = await personalKeys.learn(mailbox, key, { origin: "incoming", signedAt, now: now() });
  return { kind: isTaken ? "taken" : "uploaded" };
}
