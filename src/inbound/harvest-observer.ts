// What harvesting is told to the log: which key of whom, and what became of it.
import type { KeyKind, RecipientKey } from "../keys/recipient-key.ts";
import type { Mailbox } from "../mail/address.ts";

export type HarvestEvent = "seen" | "learned" | "deferred" | "promoted" | "pending" | "ignored";

export type HarvestFacts = {
  readonly address?: Mailbox | undefined;
  readonly kind?: KeyKind | undefined;
  readonly fingerprint?: string | undefined;
  readonly reason?: string | undefined;
  /** More than the reason says; it may name people and holds no advice, for a stranger sent what it is about. */
  readonly detail?: string | undefined;
};

export type HarvestObserver = {
  happened(event: HarvestEvent, facts: HarvestFacts, queueId?: string): void;
  /** A fault of ours or of the store: the mail goes on, nothing was learned from it. */
  failed(cause: Error, queueId?: string): void;
};

export function factsOf(address: Mailbox, key: RecipientKey, reason?: string): HarvestFacts {
  return { address, kind: key.kind, fingerprint: key.fingerprint, reason };
}
