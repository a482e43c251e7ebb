// Pending: what an owner or an operator decides about a key that would replace another one.
import { fitness } from "../keys/fitness.ts";
import type { HarvestedKey } from "../keys/harvested-keys.ts";
import { factsOf, type HarvestObserver } from "./harvest-observer.ts";
import type { KeepParts } from "./keep.ts";

export type DecideParts = Pick<KeepParts, "personalKeys" | "harvested" | "policy" | "now"> & {
  readonly observe: HarvestObserver;
};

/**
 * Approving makes a waiting key, pending or deferred, the learned key of its owner if it is still fit; rejecting forgets it. `by` says who
 * decided. False when the key is not fit any more: then it is forgotten too.
 */
export async function decideOn(
  entry: HarvestedKey,
  decision: "approve" | "reject",
  by: string,
  { personalKeys, harvested, policy, now, observe }: DecideParts,
): Promise<boolean> {
  const { id, mailbox, key, signedAt } = entry;
  await policy.ready?.(AbortSignal.timeout(READY_MS));
  const verdict = fitness(key, mailbox, now(), policy);
  const isTaken =
    decision === "approve" &&
    verdict.fit &&
    (await personalKeys.learn(mailbox, key, { origin: "incoming", signedAt, now: now() }));
  await harvested.remove(id);
  const reason = decision === "reject" || verdict.fit ? by : verdict.reason;
  observe.happened(isTaken ? "learned" : "ignored", factsOf(mailbox, key, reason));
  return isTaken || decision === "reject";
}

/** For revocation lists to be loaded. */
const READY_MS = 5_000;
