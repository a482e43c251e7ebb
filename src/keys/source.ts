// KeySource: one place where keys are looked up.
import type { Mailbox } from "../mail/address.ts";
import type { Lookup } from "./lookup.ts";
import type { RecipientKey } from "./recipient-key.ts";

/** What `verify` says of a source after really using it; `detail` is a sentence for an operator. */
export type Probe = { readonly ok: boolean; readonly detail: string };

export type KeySource<K extends RecipientKey> = {
  /** As in logs, `explain` and metrics: upload, incoming, keystore, directory:NAME, ldap, keyserver, wkd. */
  readonly name: string;
  /** Candidates for this mailbox, fit or not; the chain judges them. Never throws. */
  find(mailbox: Mailbox, signal: AbortSignal): Promise<Lookup<readonly K[]>>;
  probe(signal: AbortSignal): Promise<Probe>;
};
