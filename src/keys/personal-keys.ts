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

export type PersonalKeys = {
  find(mailbox: Mailbox, kind: KeyKind, origin: KeyOrigin): Promise<readonly PersonalKey[]>;
  list(): Promise<readonly PersonalKey[]>;
  /** Adds or, for the same address, kind and fingerprint, replaces. */
  add(mailbox: Mailbox, key: RecipientKey, origin: KeyOrigin, now: number): Promise<void>;
  /**
   * Makes this the one learned key of its kind for an address. A key with the same fingerprint that was uploaded stays an upload;
   * false: for that reason nothing changed.
   */
  learn(mailbox: Mailbox, key: RecipientKey, signedAt: number, now: number): Promise<boolean>;
  /** Removes one key or all of an address; returns what was removed. */
  remove(mailbox: Mailbox, fingerprint?: string): Promise<readonly PersonalKey[]>;
};
