// What a test may tell its upstream to do, and what the upstream has recorded.
import type { Socket } from "node:net";
import type { ServerCertificate } from "./authority.ts";

/** A message whose final dot was answered 2xx. `data` is destuffed: the exact octets that the client meant. */
export type RecordedTransaction = {
  readonly mailFrom: string;
  readonly mailParams: string;
  readonly rcptTo: readonly string[];
  readonly rcptParams: readonly string[];
  readonly data: Buffer;
  readonly tls: boolean;
  readonly auth: Login | undefined;
  /** Number of the connection it came over, from 1. */
  readonly session: number;
};

export type Login = {
  readonly mechanism: string;
  readonly user: string;
  /** The password, or the token of XOAUTH2. */
  readonly password: string;
};

export type Command = {
  /** CONNECT is the greeting, DOT the reply after the final dot; LOGIN is the check of user and password. */
  readonly verb: string;
  readonly line: string;
  readonly session: number;
  readonly tls: boolean;
  readonly login?: Login;
};

/**
 * What to do instead of the normal reply: a text is sent with CRLF, `raw` as it is, DROP closes the connection, HANG never
 * answers; a text whose first digit is not 2 (or 3 for DATA) is a refusal and is treated as one.
 */
export type Answer = string | { readonly raw: string | Buffer } | typeof DROP | typeof HANG;
export const DROP = Symbol("drop the connection");
export const HANG = Symbol("never answer");

/** May be changed at any time; the next command sees the change. */
export type Behaviour = {
  pipelining: boolean;
  eightBitMime: boolean;
  smtpUtf8: boolean;
  dsn: boolean;
  /** The limit offered with SIZE; undefined does not offer SIZE. */
  sizeLimit: number | undefined;
  /** Whether STARTTLS is offered; works only with a certificate. */
  starttls: boolean;
  /** Mechanisms offered: PLAIN, LOGIN, XOAUTH2. Every login is accepted unless `reply` refuses verb LOGIN. */
  auth: readonly string[];
  /** Undefined means the normal reply. */
  reply: (command: Command) => Answer | undefined | Promise<Answer | undefined>;
  /** Called as message octets arrive: `drop` closes the connection, `stall` stops reading. */
  duringData: ((octets: number) => "drop" | "stall" | undefined) | undefined;
};

export type UpstreamOptions = Partial<Behaviour> & {
  readonly port?: number;
  readonly certificate?: ServerCertificate;
  /** TLS from the first octet. */
  readonly implicitTls?: boolean;
  /** false: do not keep raw octets and contents, for load tests. */
  readonly keep?: boolean;
};

/** What all connections of one upstream share. */
export type Recorder = {
  readonly options: UpstreamOptions;
  readonly behaviour: Behaviour;
  readonly transactions: RecordedTransaction[];
  readonly commands: Command[];
  readonly violations: string[];
  readonly raw: Buffer[];
  readonly open: Set<Socket>;
  finalDots: number;
  accepted: number;
  peak: number;
  changed(): void;
};
