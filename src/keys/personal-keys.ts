// PersonalKeys: keys that belong to one address because its owner uploaded them or an administrator added them.
import type { Mailbox } from "../mail/address.ts";
import type { KeyKind, KeyOrigin, RecipientKey } from "./recipient-key.ts";

export type PersonalKey = {
  readonly address: string;
  readonly key: RecipientKey;
  readonly origin: KeyOrigin;
  readonly addedAt: number;
  /** Of a learned key: when the mail that taught it was signed (ms). */
  readonly signedAt?: number;
};

export type Learned = {
  readonly origin: Exclude<KeyOrigin, "upload">;
  readonly signedAt: number;
  readonly now: number;
};

export type PersonalKeys = {
  find(mailbox: Mailbox, kind: KeyKind, origin: KeyOrigin): Promise<readonly PersonalKey[]>;
  list(): Promise<readonly PersonalKey[]>;
  /** Adds or, for the same address, kind and fingerprint, replaces. */
  add(mailbox: Mailbox, key: RecipientKey, origin: KeyOrigin, now: number): Promise<void>;
  /**
   * Makes this the one learned key of its kind and origin for an address. A key with the same fingerprint of a higher origin (upload,
   * then incoming, then autocrypt) stays what it is; false: for that reason nothing changed.
   */
  learn(mailbox: Mailbox, key: RecipientKey, learned: Learned): Promise<boolean>;
  /** Removes one key or all of an address; returns what was removed. */
  remove(mailbox: Mailbox, fingerprint?: string): Promise<readonly PersonalKey[]>;
};
