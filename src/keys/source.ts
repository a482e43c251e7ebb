// KeySource: one place where keys are looked up.
import type { Mailbox } from "../mail/address.ts";
import type { Lookup } from "./lookup.ts";
import type { RecipientKey } from "./recipient-key.ts";

/** What `verify` says of a source after really using it; `detail` is a sentence for an operator. */
export type Probe = { readonly ok: boolean; readonly detail: string };

/** The keys of one source for one mailbox, fit or not, and what is to be known of how they were come by. */
export type Answer<K extends RecipientKey> = Lookup<readonly K[]> & {
  /** From memory: nothing was asked. */
  readonly cached?: boolean;
  /** Of a failure: the server answered well, and only what it has for this address cannot be used. Others may be asked for. */
  readonly isOnlyHere?: boolean;
  /** What was there and is no candidate, each in words: values that cannot be read, keys that may not be used. */
  readonly setAside?: readonly string[];
};

export type KeySource<K extends RecipientKey> = {
  /** As in logs, `explain` and metrics: upload, incoming, keystore, directory:NAME, ldap, keyserver, wkd. */
  readonly name: string;
  /** Nobody outside hears of the address but Jira itself. */
  readonly isKeptHere?: boolean;
  /** Each domain has a server of its own (WKD): a failure of one says nothing of the others. */
  readonly hasManyServers?: boolean;
  /** Why this mailbox must not be asked for here, naming the setting; undefined when it may. */
  withholds?(mailbox: Mailbox): string | undefined;
  /** Candidates for this mailbox, fit or not; the chain judges them. Never throws. */
  find(mailbox: Mailbox, signal: AbortSignal): Promise<Answer<K>>;
  probe(signal: AbortSignal): Promise<Probe>;
};
