// HarvestedKeys: keys out of incoming mail that are not used yet: they wait for their user, or for a decision.
import type { Mailbox } from "../mail/address.ts";
import type { KeyKind, RecipientKey } from "./recipient-key.ts";

/** `deferred` waits until Jira knows the user; `pending` would replace a valid key and waits for its owner or an operator. */
export type HarvestState = "deferred" | "pending";

export type HarvestedKey = {
  readonly id: number;
  readonly state: HarvestState;
  readonly mailbox: Mailbox;
  readonly key: RecipientKey;
  /** When the mail was signed, when it was seen, when the key is forgotten (ms). */
  readonly signedAt: number;
  readonly seenAt: number;
  readonly expiresAt: number;
  /** Why From was believed, for people. */
  readonly evidence: string;
};

export type NewHarvestedKey = Omit<HarvestedKey, "id">;

export type HarvestedKeys = {
  /**
   * Keeps it; the same key of the same address is renewed in its state, and the time it was signed at does not go back. `full`: too many
   * wait, of all, of the domain or of the address.
   */
  keep(entry: NewHarvestedKey): Promise<"kept" | "full">;
  /** Whether a key is deferred for this address: asked for each recipient of each mail. */
  waits(mailbox: Mailbox): Promise<boolean>;
  /** Everybody whose keys are deferred, once each; read in pieces, no key among it. */
  awaited(): AsyncIterable<Mailbox>;
  /** In the order in which they were first seen. */
  list(state?: HarvestState): Promise<readonly HarvestedKey[]>;
  of(mailbox: Mailbox, kind?: KeyKind): Promise<readonly HarvestedKey[]>;
  byId(id: number): Promise<HarvestedKey | undefined>;
  /**
   * What the link to confirm this key holds: 43 characters that only we can make, the same each time, so that no second mail kills a link
   * that was sent.
   */
  tokenFor(mailbox: Mailbox, key: RecipientKey): string;
  /** The pending key whose link holds this token. */
  byToken(token: string): Promise<HarvestedKey | undefined>;
  /** Puts a newer form of the same key into its place. */
  renew(id: number, key: RecipientKey): Promise<void>;
  /** Those of these people who have this OpenPGP key, learned from incoming mail or waiting. Cheap: no key is read. */
  holders(fingerprint: string, people: readonly Mailbox[]): Promise<readonly Mailbox[]>;
  remove(id: number): Promise<boolean>;
};
