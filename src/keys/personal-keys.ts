// PersonalKeys: keys that belong to one address because its owner uploaded them or an administrator added them.
import type { Mailbox } from "../mail/address.ts";
import type { KeyKind, KeyOrigin, RecipientKey } from "./recipient-key.ts";

export type PersonalKey = {
  readonly address: string;
  readonly key: RecipientKey;
  readonly origin: KeyOrigin;
  readonly addedAt: number;
};

export type PersonalKeys = {
  find(mailbox: Mailbox, kind: KeyKind, origin: KeyOrigin): Promise<readonly PersonalKey[]>;
  list(): Promise<readonly PersonalKey[]>;
  /** Adds or, for the same address, kind and fingerprint, replaces. */
  add(mailbox: Mailbox, key: RecipientKey, origin: KeyOrigin, now: number): Promise<void>;
  /** Removes one key or all of an address; returns what was removed. */
  remove(mailbox: Mailbox, fingerprint?: string): Promise<readonly PersonalKey[]>;
};
