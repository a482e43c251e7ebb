// What the upstream connection is configured with, and how long each phase of it may last.
import type { Secret } from "../secret.ts";

export type UpstreamTls = "off" | "opportunistic" | "required" | "implicit";

export type UpstreamSection = "upstream" | "inbound.forward";

export type UpstreamAuth =
  | { readonly user: string; readonly password: Secret }
  /** XOAUTH2; the token is asked for afresh at each login. */
  | { readonly user: string; token(): Promise<Secret> };

export type UpstreamSettings = {
  readonly host: string;
  readonly port: number;
  readonly tls: UpstreamTls;
  /** PEM text of the trusted authorities; undefined: the system's. */
  readonly ca: string | undefined;
  /** Where these settings stand, for texts. */
  readonly section: UpstreamSection;
  /** Our name in EHLO. */
  readonly hostname: string;
  readonly auth: UpstreamAuth | undefined;
  /** The most connections that are open at once. */
  readonly connections: number;
  /** Of these for one recipient; all when it is left out. */
  readonly connectionsEach?: number;
  /** Those that are to differ from RFC5321_TIMEOUTS. */
  readonly timeouts?: Partial<UpstreamTimeouts>;
};

/** What the server of these settings is called, as in /readyz. */
export function serverName(section: UpstreamSection): string {
  return section === "upstream" ? "upstream" : "next hop";
}

/** The settings with every timeout known. */
export type TimedSettings = UpstreamSettings & { readonly timeouts: UpstreamTimeouts };

/** Longest waits, each for one reply: MAIL also for EHLO, STARTTLS, AUTH and RSET; `blockMs` until the peer takes a chunk. */
export type UpstreamTimeouts = {
  readonly connectMs: number;
  readonly greetingMs: number;
  readonly mailMs: number;
  readonly rcptMs: number;
  readonly dataMs: number;
  readonly blockMs: number;
  readonly dotMs: number;
  /** How long an unused connection is kept. */
  readonly idleMs: number;
};

const MINUTE_MS = 60_000;

/** RFC 5321 4.5.3.2; it says nothing of connecting and of idle connections. */
export const RFC5321_TIMEOUTS: UpstreamTimeouts = {
  connectMs: MINUTE_MS / 2,
  greetingMs: 5 * MINUTE_MS,
  mailMs: 5 * MINUTE_MS,
  rcptMs: 5 * MINUTE_MS,
  dataMs: 2 * MINUTE_MS,
  blockMs: 3 * MINUTE_MS,
  dotMs: 10 * MINUTE_MS,
  idleMs: MINUTE_MS / 2,
};
