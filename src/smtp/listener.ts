// Listener: accepts connections for one door, turns away those who may not come in, and ends those who take too long.
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { randomBytes } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import type { Clock } from "../clock.ts";
import type { DialogSettings, TlsMode } from "./dialog-state.ts";
import type { BeginIntake } from "./intake.ts";
import { isLoopback, networkMatcher, plainAddress } from "./networks.ts";
import type { ListenerObserver, RefusedPeer } from "./observer.ts";
import type { LineEndings } from "./reception.ts";
import { reply } from "./server-reply.ts";
import { failureDelayMs, type User } from "./sasl.ts";
import { ServerSession } from "./session.ts";
import type { Deadlines } from "./session-host.ts";

export type ListenerTls =
  { readonly mode: "off" } | { readonly mode: Exclude<TlsMode, "off">; readonly cert: Buffer; readonly key: Buffer };

export type ListenerLimits = Deadlines & {
  readonly connections: number;
  readonly connectionsPerAddress: number;
};

export type ListenerSettings = {
  /** Name of the configuration section, for what is said to the operator. */
  readonly section: "outbound" | "inbound";
  readonly hostname: string;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly tls: ListenerTls;
  readonly allowNetworks: readonly string[];
  /** Not empty: AUTH is required. */
  readonly users: readonly User[];
  readonly maxMessageBytes: number;
  readonly maxRecipients: number;
  readonly lineEndings: LineEndings;
  readonly limits?: Partial<ListenerLimits>;
};

export type ListenerOwner = {
  readonly begin: BeginIntake;
  /** Refuses a well-formed recipient that this door does not take. */
  readonly mayReceive?: DialogSettings["mayReceive"];
  readonly observer: ListenerObserver;
};

export const DEFAULT_LIMITS: ListenerLimits = {
  connections: 1_000,
  connectionsPerAddress: 200,
  idleMs: 600_000,
  commandLineMs: 300_000,
  contentMs: 600_000,
  transactionMs: 1_800_000,
  fruitlessMs: 3_600_000,
  tlsHandshakeMs: 30_000,
  lingerMs: 2_000,
};

const SWEEP_EVERY_MS = 1_000;
const FORGET_FAILURES_AFTER_MS = 900_000;
const FEW_CONNECTIONS = 4;

export class Listener {
  #settings: ListenerSettings;
  readonly #owner: ListenerOwner;
  readonly #clock: Clock;
  readonly #limits: ListenerLimits;
  #isAllowed: (address: string) => boolean;
  #secureContext: SecureContext | undefined;
  readonly #server: Server;
  readonly #sessions = new Set<ServerSession>();
  readonly #sessionsByAddress = new Map<string, number>();
  readonly #loginFailures = new Map<string, { count: number; answeredAt: number }>();
  readonly #stopped = new AbortController();
  #whenEmpty: (() => void) | undefined;

  /** Throws when a network, a certificate or a key in the settings cannot be read; opens nothing yet. */
  constructor(settings: ListenerSettings, owner: ListenerOwner, clock: Clock) {
    this.#settings = settings;
    this.#owner = owner;
    this.#clock = clock;
    this.#limits = { ...DEFAULT_LIMITS, ...settings.limits };
    this.#isAllowed = networkMatcher(settings.allowNetworks);
    this.#secureContext = secureContextOf(settings);
    // half-open: a client that has said all and closed its side still gets its replies
    this.#server = createServer({ noDelay: true, keepAlive: true, allowHalfOpen: true }, (socket) =>
      this.#accept(socket),
    );
  }

  /** Opens the port; rejects when it cannot be had. Resolves to the port. */
  async listen(): Promise<number> {
    const { host, port } = this.#settings;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host, port, backlog: 511 }, () => {
        this.#server.off("error", reject);
        this.#server.on("error", (error) => this.#owner.observer.onFault(error));
        resolve();
      });
    });
    void this.#sweep();
    return (this.#server.address() as AddressInfo).port;
  }

  /**
   * Other settings for every session that begins from now on; the open ones keep theirs, host and port stay. Throws as the
   * constructor does, and then nothing has changed.
   */
  use(settings: ListenerSettings): void {
    const isAllowed = networkMatcher(settings.allowNetworks);
    this.#secureContext = secureContextOf(settings);
    this.#isAllowed = isAllowed;
    this.#settings = settings;
  }

  get connections(): number {
    return this.#sessions.size;
  }

  /** Takes no new connections, ends idle ones at once with 421, and gives arriving messages `graceMs` to come to their end. */
  async close(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions) session.shutDown();
    const empty = new Promise<void>((resolve) => {
      this.#whenEmpty = resolve;
      if (this.#sessions.size === 0) resolve();
    });
    const ended = new AbortController();
    await Promise.race([empty, this.#clock.sleep(graceMs, ended.signal)]);
    ended.abort();
    this.#stopped.abort();
    for (const session of this.#sessions) session.destroy();
    await closed;
  }

  #accept(socket: Socket): void {
    const peerAddress = plainAddress(socket.remoteAddress ?? "");
    if (peerAddress === "") {
      socket.destroy();
      return;
    }
    const count = this.#sessionsByAddress.get(peerAddress) ?? 0;
    if (!this.#isAllowed(peerAddress)) this.#turnAway(socket, peerAddress, "network");
    else if (this.#sessions.size >= this.#mostSessions(count)) this.#turnAway(socket, peerAddress, "connections");
    else if (count >= this.#limits.connectionsPerAddress)
      this.#turnAway(socket, peerAddress, "connections-per-address");
    else {
      this.#sessionsByAddress.set(peerAddress, count + 1);
      this.#open(socket, peerAddress);
    }
  }

  /** A tenth more for addresses that have only a few connections, as Jira's has: a flood from others leaves room for it. */
  #mostSessions(ofThisAddress: number): number {
    const { connections } = this.#limits;
    return ofThisAddress < FEW_CONNECTIONS ? connections + Math.floor(connections / 10) : connections;
  }

  #open(socket: Socket, peerAddress: string): void {
    const { hostname, tls, users, maxMessageBytes, maxRecipients, lineEndings } = this.#settings;
    const session = new ServerSession(socket, randomBytes(6).toString("hex"), peerAddress, {
      dialog: {
        hostname,
        tlsMode: tls.mode,
        isLoopback: isLoopback(peerAddress),
        users,
        maxMessageBytes,
        maxRecipients,
        mayReceive: this.#owner.mayReceive,
      },
      reception: { maxMessageBytes, lineEndings },
      deadlines: this.#limits,
      secureContext: this.#secureContext,
      clock: this.#clock,
      observer: this.#owner.observer,
      begin: this.#owner.begin,
      authFailed: () => this.#loginFailed(peerAddress),
      authSucceeded: () => this.#loginFailures.delete(peerAddress),
      closed: () => this.#forget(session, peerAddress),
    });
    this.#sessions.add(session);
  }

  #forget(session: ServerSession, peerAddress: string): void {
    this.#sessions.delete(session);
    const count = (this.#sessionsByAddress.get(peerAddress) ?? 1) - 1;
    if (count === 0) this.#sessionsByAddress.delete(peerAddress);
    else this.#sessionsByAddress.set(peerAddress, count);
    if (this.#sessions.size === 0) this.#whenEmpty?.();
  }

  /** Which setting it was is for the operator's eyes only. */
  #turnAway(socket: Socket, peerAddress: string, reason: RefusedPeer): void {
    const setting = reason === "network" ? { setting: `${this.#settings.section}.allowNetworks` } : {};
    this.#owner.observer.onSessionRefused({ peerAddress, reason, ...setting });
    socket.on("error", () => socket.destroy());
    // a client that expects TLS could not read it
    if (this.#settings.tls.mode === "implicit") socket.destroy();
    else socket.end(reason === "network" ? NOT_ALLOWED : TOO_MANY, () => socket.destroy());
  }

  /** One after the other for each address: many sessions at once try no faster than one. */
  #loginFailed(peerAddress: string): number {
    const now = this.#clock.monotonic();
    const before = this.#loginFailures.get(peerAddress);
    const count = (before?.count ?? 0) + 1;
    const answeredAt = Math.max(now, before?.answeredAt ?? now) + failureDelayMs(count);
    this.#loginFailures.set(peerAddress, { count, answeredAt });
    return answeredAt - now;
  }

  async #sweep(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      await this.#clock.sleep(SWEEP_EVERY_MS, this.#stopped.signal);
      const now = this.#clock.monotonic();
      for (const session of this.#sessions) session.expire(now);
      for (const [address, failures] of this.#loginFailures)
        if (now - failures.answeredAt > FORGET_FAILURES_AFTER_MS) this.#loginFailures.delete(address);
    }
  }
}

const NOT_ALLOWED = reply(554, "5.7.1", "you may not connect to this server");
const TOO_MANY = reply(421, "4.7.0", "too many connections, try again later");

function secureContextOf(settings: ListenerSettings): SecureContext | undefined {
  if (settings.tls.mode === "off") return undefined;
  const { cert, key } = settings.tls;
  try {
    return createSecureContext({ cert, key, minVersion: "TLSv1.2" });
  } catch (cause) {
    throw new Error(`the certificate or its key cannot be used; see ${settings.section}.tls`, { cause });
  }
}
