// What an SMTP dialog remembers between two lines, what holds it, and what comes out of each line.
import type { AddressFault, Mailbox } from "../mail/address.ts";
import type { SpooledForwardPath } from "../spool/spool.ts";
import type { Envelope, Refusal, Session } from "./intake.ts";
import { reply } from "./server-reply.ts";
import type { SaslExchange, User } from "./sasl.ts";

export type TlsMode = "off" | "starttls" | "required" | "implicit";

/** What a dialog is held by; the same for every session of a listener but for `isLoopback`. */
export type DialogSettings = {
  readonly hostname: string;
  readonly tlsMode: TlsMode;
  /** The peer is this machine: a password in clear goes over no network. */
  readonly isLoopback: boolean;
  /** Not empty: AUTH is required before MAIL. */
  readonly users: readonly User[];
  readonly maxMessageBytes: number;
  readonly maxRecipients: number;
  /** Refuses a well-formed recipient, e.g. one that is not ours. */
  readonly mayReceive: ((mailbox: Mailbox) => AddressFault | undefined) | undefined;
};

type Transaction = {
  readonly reversePath: Mailbox | undefined;
  readonly smtpUtf8: boolean;
  readonly is8bit: boolean;
  /** By address. Grows in place: a copy for each RCPT would make many recipients quadratic. */
  readonly recipients: Map<string, SpooledForwardPath>;
};

/** Everything that is remembered between two lines. A state that was handed in must not be used again. */
export type DialogState = {
  readonly client: { readonly name: string; readonly isExtended: boolean } | undefined;
  readonly isSecure: boolean;
  readonly user: string | undefined;
  readonly exchange: SaslExchange | undefined;
  readonly authFailures: number;
  /** 5xx replies, and commands that move nothing, since the last accepted message. */
  readonly errors: number;
  readonly idleCommands: number;
  readonly transaction: Transaction | undefined;
};

export type Effect =
  | { readonly kind: "none" }
  | { readonly kind: "close" }
  | { readonly kind: "start-tls" }
  /** Content follows; the reply is 354 and stands only if the message can be begun. */
  | { readonly kind: "receive"; readonly envelope: Envelope }
  /** The reply must be held back; `user` only when it is a name we know: a stranger's may be a mistyped password. */
  | { readonly kind: "auth-failed"; readonly user: string | undefined; readonly isLast: boolean }
  | { readonly kind: "auth-succeeded" };

export type Step = {
  readonly state: DialogState;
  readonly reply: string;
  readonly effect: Effect;
  /** A MAIL, RCPT or DATA that was refused, for log and metrics. */
  readonly refused?: { readonly code: number; readonly reason: string };
};

/** How every session begins; `isSecure` when TLS stands already. */
export function openingState(isSecure: boolean): DialogState {
  return {
    client: undefined,
    isSecure,
    user: undefined,
    exchange: undefined,
    authFailures: 0,
    errors: 0,
    idleCommands: 0,
    transaction: undefined,
  };
}

/** What the client has said of itself. */
export function introduced({ client, user }: DialogState): Pick<Session, "heloName" | "isExtended" | "user"> {
  return { heloName: client?.name ?? "", isExtended: client?.isExtended ?? false, user };
}

/** The state behind a message: its transaction is over; an accepted one shows that the client does real work. */
export function afterMessage(state: DialogState, isAccepted: boolean): DialogState {
  const junk = isAccepted ? { errors: 0, idleCommands: 0 } : { errors: state.errors + 1 };
  return { ...state, ...junk, transaction: undefined };
}

export const NONE: Effect = { kind: "none" };
export const CLOSE: Effect = { kind: "close" };

/** A step that is a reply and nothing else. */
export function said(state: DialogState, code: number, status: string, text: string): Step {
  return { state, reply: reply(code, status, text), effect: NONE };
}

/** A step that refuses a part of a transaction. */
export function refused(state: DialogState, refusal: Refusal): Step {
  const { code, status, text, reason } = refusal;
  return { ...said(state, code, status, text), refused: { code, reason } };
}
