// Promote: deferred keys of people whom Jira has come to know become their personal keys; every check is made again.
import { asError } from "../as-error.ts";
import type { HarvestedKey } from "../keys/harvested-keys.ts";
import type { Mailbox } from "../mail/address.ts";
import { factsOf, type HarvestObserver } from "./harvest-observer.ts";
import { keepKey, LISTS_READY_MS, type KeepParts } from "./keep.ts";

export type PromoteParts = KeepParts & {
  readonly observe: HarvestObserver;
  /** Whether Jira knows this person now. */
  isKnown(mailbox: Mailbox, signal: AbortSignal): Promise<boolean>;
};

/**
 * Jira writes to this person, so there is an account. Gives why a key of theirs goes on waiting, if one does: it cannot be told now
 * whether it was revoked, and nobody may say meanwhile that there is no key. Rejects when the store fails: then the mail waits.
 */
export async function promoteFor(mailbox: Mailbox, parts: PromoteParts): Promise<Error | undefined> {
  if (!(await parts.harvested.waits(mailbox))) return undefined;
  let undecided: Error | undefined;
  for (const entry of await parts.harvested.of(mailbox))
    if (entry.state === "deferred") undecided = (await promote(entry, parts)) ?? undecided;
  return undecided;
}

/** Asks Jira about everybody whose key is deferred; for housekeeping. No key is read before. Faults are told and end the round. */
export async function promoteKnown(parts: PromoteParts, signal: AbortSignal): Promise<void> {
  try {
    for await (const mailbox of parts.harvested.awaited()) {
      if (signal.aborted) return;
      if (await parts.isKnown(mailbox, signal)) await promoteFor(mailbox, parts);
    }
  } catch (cause) {
    parts.observe.failed(asError(cause));
  }
}

async function promote(entry: HarvestedKey, parts: PromoteParts): Promise<Error | undefined> {
  const { mailbox, key, signedAt, evidence, id } = entry;
  await parts.policy.ready?.(AbortSignal.timeout(LISTS_READY_MS));
  const { acceptance } = await keepKey({ author: mailbox, key, signedAt, evidence }, true, parts);
  const { observe } = parts;
  switch (acceptance.kind) {
    case "learn":
      observe.happened("promoted", factsOf(mailbox, key, acceptance.reason));
      break;
    case "pend":
      // it stays in its row, as pending; its owner is asked when they sign with it again
      observe.happened("pending", factsOf(mailbox, key, "another-key-in-use"));
      return undefined;
    case "ignore":
      observe.happened("ignored", factsOf(mailbox, key, acceptance.reason));
      break;
    case "undecided":
      return new Error(
        `the key that waits for ${mailbox.address} cannot be judged (${acceptance.reason}); see ${LISTS}`,
      );
    case "defer":
      return undefined;
  }
  await parts.harvested.remove(id);
  return undefined;
}

const LISTS = "smime.trust.crls";
