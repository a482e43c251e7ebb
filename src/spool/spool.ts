// Spool: what the mail's way needs from stable storage; the states are a table in docs/SPOOL.md.
import type { Mailbox } from "../mail/address.ts";
import type { StoredContent } from "./sealed-file.ts";

export type Route = "outbound" | "inbound";
/**
 * `mail` came in by SMTP; so did `copy`, which is learned from and sent to nobody: that is settled when it comes in, for whatever the
 * settings are later, mail on its way must never be taken for a copy. `report` and `dsn` are our own notices, without content, which
 * leave in clear.
 */
export type MessageClass = "mail" | "copy" | "report" | "dsn";
export type RecipientState = "queued" | "held" | "delivered" | "failed";

/** The envelope of one mail transaction as it came in. `reversePath` undefined is the null reverse-path `<>`. */
export type SpooledEnvelope = {
  readonly route: Route;
  readonly class: MessageClass;
  readonly reversePath: Mailbox | undefined;
  readonly recipients: readonly SpooledForwardPath[];
  /** MAIL said SMTPUTF8 / BODY=8BITMIME. */
  readonly smtpUtf8: boolean;
  readonly is8bit: boolean;
};

/** A recipient with the DSN wish of RFC 3461; `notify` undefined is the default (FAILURE). */
export type SpooledForwardPath = {
  readonly mailbox: Mailbox;
  readonly notify?: readonly ("NEVER" | "SUCCESS" | "FAILURE" | "DELAY")[];
};

/**
 * A message on its way in. Bytes are sealed as they arrive; nothing is promised before `commit` resolves: then the sealed
 * message and its recipients are on stable storage (group commit). `abort` removes every trace; calling neither leaves an
 * orphan that the next start removes.
 */
export type Receiving = {
  readonly id: string;
  /** Await each write before the next: that is the back-pressure. Rejects with SpoolFull when the storage is full. */
  write(chunk: Uint8Array): Promise<void>;
  /** Rejects with SpoolFull when the storage is full; then, as after any error, nothing is kept. */
  commit(envelope: SpooledEnvelope): Promise<void>;
  abort(): Promise<void>;
};

export type LeasedRecipient = {
  readonly index: number;
  readonly mailbox: Mailbox;
  readonly notify: SpooledForwardPath["notify"];
  /** Attempts made before this lease. */
  readonly attempts: number;
  readonly state: "queued" | "held";
  /** When the hold began; undefined when the recipient was never held. */
  readonly heldSince: number | undefined;
};

/** Proof of one lease: `token` differs each time a message is leased, so that a worker that lost its lease is recognised. */
export type Lease = { readonly id: string; readonly token: string };

/**
 * A message whose due recipients this process may work on until `leaseUntil`; the clear content is opened as it is read:
 * reading throws `DamagedMessage` (seal.ts) when the stored body is missing or its seal does not open.
 */
export type Leased = Lease & {
  readonly envelope: Omit<SpooledEnvelope, "recipients">;
  /** All envelope recipients, final ones too: hidden ones are told from visible ones by header and envelope together. */
  readonly allRecipients: readonly Mailbox[];
  readonly due: readonly LeasedRecipient[];
  readonly acceptedAt: number;
  /** Whether it was in the spool before this process began to serve. */
  readonly wasHereAtStart: boolean;
  readonly leaseUntil: number;
  readonly content: StoredContent;
};

export type RecipientOutcome = {
  readonly index: number;
  readonly state: RecipientState;
  /** Only for queued and held: when to look again. */
  readonly nextAttemptAt?: number;
  readonly lastReply: string;
  readonly treatment: string | undefined;
  /** Whether this attempt counts for the back-off. */
  readonly countsAsAttempt: boolean;
};

/** A notice of our own, complete RFC 5322 bytes; stored in the same transaction as the outcomes that caused it. */
export type Notice = {
  readonly class: "report" | "dsn";
  readonly reversePath: undefined;
  readonly recipient: Mailbox;
  readonly message: Uint8Array;
  /** For reports: at most one per key within a day; a second one is silently not stored. */
  readonly onceADay?: string;
};

export type Settled = { readonly stored: readonly Notice[]; readonly leaseLost: boolean };

export type QueueEntry = {
  readonly id: string;
  readonly route: Route;
  readonly class: MessageClass;
  readonly reversePath: string;
  readonly acceptedAt: number;
  readonly size: number;
  readonly recipients: readonly {
    readonly address: string;
    readonly state: RecipientState;
    readonly attempts: number;
    readonly nextAttemptAt: number | undefined;
    readonly lastReply: string;
    readonly treatment: string | undefined;
  }[];
};

export type Spool = {
  /** Begins a message; refuses with SpoolFull when the storage is full or a limit is reached (the client gets 452 4.3.1). */
  receive(): Receiving;
  /** The next due message of a route that is not leased, oldest due first; null when there is none. */
  lease(now: number, leaseForMs: number, route: Route): Promise<Leased | null>;
  /** Keeps a lease that takes long; false when it ran out and the message was leased again or finished meanwhile. */
  renew(lease: Lease, leaseForMs: number): Promise<boolean>;
  /**
   * Writes the outcomes of a lease and the notices they cause in one transaction and ends the lease. The body goes when every
   * recipient is final. `stored` are the notices that were really stored (see `onceADay`). When the lease was lost
   * (`leaseLost`), only `delivered` is written, for recipients that still wait, so that nobody sends to them again; the other
   * outcomes and the notices are left to the newer lease. A final state is never changed.
   */
  settle(lease: Lease, outcomes: readonly RecipientOutcome[], notices: readonly Notice[]): Promise<Settled>;
  /**
   * Writes which recipients of a lease were delivered while others are still worked on, so that a crash does not send to them
   * again; the lease goes on, and `settle` names them once more.
   */
  keepDelivered(lease: Lease, delivered: readonly RecipientOutcome[]): Promise<void>;
  /** Gives a lease back unchanged, due again at once: for shutdown. */
  release(lease: Lease): Promise<void>;
  /** When the next recipient of a route is due: epoch ms, or undefined when nothing waits. */
  nextDueAt(route: Route): Promise<number | undefined>;
  /**
   * Makes recipients of a route due now whose next attempt is after `latest`: no schedule put it so far off, the clock was set
   * back. Returns how many.
   */
  pullIn(now: number, latest: number, route: Route): Promise<number>;
  /** Makes held recipients due now: all, or those with this address key. Returns how many. */
  wakeHeld(now: number, addressKeys?: readonly string[]): Promise<number>;
  /** Recipients that wait, and when the oldest message of theirs was accepted. */
  counts(): Promise<{ states: Record<"queued" | "held", number>; oldestAcceptedAt: number | undefined }>;

  /** For operators: what waits, then what is finished, each newest first, at most `limit`. Final recipients of finished messages are kept for a while without body. */
  list(limit: number): Promise<readonly QueueEntry[]>;
  show(id: string): Promise<QueueEntry | null>;
  /** Makes waiting recipients due now: of one message, or of all. Returns how many. */
  retry(now: number, id?: string): Promise<number>;
  /** Ends every waiting recipient of a message as `failed` with reply "dropped by the operator"; no DSN. */
  drop(id: string): Promise<number>;
  close(): Promise<void>;
};

/** The storage cannot take more now; the client is told to come again. */
export class SpoolFull extends Error {}
