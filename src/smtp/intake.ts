// What the listener and its owner agree on: the session, the envelope, and the place a message goes to.
import type { SpooledEnvelope } from "../spool/spool.ts";

/** The envelope of one mail transaction; its owner adds the route. */
export type Envelope = Omit<SpooledEnvelope, "route" | "class">;

/** Who is speaking: all that a Received field needs to know (RFC 5321 4.4). */
export type Session = {
  readonly id: string;
  /** IP address; an IPv4 address that came mapped into IPv6 is shown as IPv4. */
  readonly peerAddress: string;
  /** What the client called itself; "" before EHLO. Only letters, digits and `. - _ : [ ]`. */
  readonly heloName: string;
  /** EHLO, not HELO. */
  readonly isExtended: boolean;
  readonly tls: { readonly protocol: string; readonly cipher: string } | undefined;
  readonly user: string | undefined;
};

/**
 * Takes one message. `write` gets octets without dot-stuffing, at most 64 KiB at once; nothing more is read from the client
 * until it resolves. Exactly one of `commit` and `abort` is called, after the last `write` has settled. The client hears 250
 * only after `commit` resolved. Each may reject: MessageRefused and SpoolFull give the client their reply, all else is 451.
 */
export type Intake = {
  write(chunk: Uint8Array): Promise<void>;
  commit(envelope: Envelope): Promise<{ readonly id: string }>;
  abort(): Promise<void>;
};

/** Begins a message when the client has said DATA; a throw here refuses it before a single octet of it is read. */
export type BeginIntake = (session: Session, envelope: Envelope) => Intake;

/** Why a message is not taken; code, status and text are the reply to the client, reason is for log and metrics. */
export type Refusal = {
  readonly code: number;
  readonly status: string;
  readonly text: string;
  readonly reason: string;
};

/** The owner does not take this message. Its text is shown to the client as it is. */
export class MessageRefused extends Error {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.text);
    this.refusal = refusal;
  }
}
