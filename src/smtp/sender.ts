// Sender: hands messages to the upstream over a few kept-open connections; one outcome for each recipient.
import { setMaxListeners } from "node:events";
import type { SecureContext } from "node:tls";
import type { Clock } from "../clock.ts";
import { Slots } from "./slots.ts";
import { openSession, type OpenedSession, type UpstreamSession } from "./upstream-session.ts";
import { trustOf, type Protection } from "./upstream-protection.ts";
import { RFC5321_TIMEOUTS, serverName, type TimedSettings, type UpstreamSettings } from "./upstream-settings.ts";
import { transact, type RecipientResult, type Transaction, type TransactionEnd } from "./upstream-transaction.ts";

export type { Protection, RecipientResult, Transaction, UpstreamSettings };

export type SendResult =
  | { readonly kind: "transaction"; readonly results: readonly RecipientResult[] }
  /** Connection, TLS or login: says nothing about the message. `reply` names the setting that mends it. */
  | { readonly kind: "unreachable"; readonly reply: string };

export type Sender = {
  /** Sends one message, waiting for a free connection if need be. Never rejects. */
  send(transaction: Transaction): Promise<SendResult>;
  /** Opens a connection of its own, logs in and says QUIT. `detail` is for an operator. */
  probe(): Promise<{ readonly ok: boolean; readonly detail: string }>;
  /** Ends all connections at once; what is still being sent ends deferred, what waits or comes later is unreachable. */
  close(): Promise<void>;
  /** Whether the last attempt to reach the upstream worked; undefined before the first. */
  readonly isUp: boolean | undefined;
  /** How the newest connection is protected; undefined before the first. An unverified certificate is worth a warning. */
  readonly protection: Protection | undefined;
};

/** What a sender says that has been closed. */
export const SHUTTING_DOWN = "the relay is shutting down";

/** Nothing is connected before the first `send`. Throws when a setting cannot be used at all. */
export function createSender(settings: UpstreamSettings, clock: Clock): Sender {
  checkSettings(settings);
  return new PooledSender({ ...settings, timeouts: { ...RFC5321_TIMEOUTS, ...settings.timeouts } }, clock);
}

/** Throws when a setting cannot be used at all. */
export function checkSettings(settings: UpstreamSettings): void {
  if (!/^[\w.:[\]-]+$/.test(settings.hostname)) throw new Error("hostname: holds characters that EHLO cannot carry");
  if (settings.ca !== undefined) trustOf(settings);
}

class PooledSender implements Sender {
  readonly #settings: TimedSettings;
  readonly #clock: Clock;
  #trust: SecureContext | undefined;
  readonly #closing = new AbortController();
  /** Sessions at rest, the one used last at the end, each with what ends its rest. */
  readonly #idle = new Map<UpstreamSession, () => void>();
  /** As many sessions as there are slots may be in use; one is opened only when none is at rest, so that is the bound. */
  readonly #slots: Slots;
  isUp: boolean | undefined;
  protection: Protection | undefined;

  constructor(settings: TimedSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
    this.#slots = new Slots(settings.connections, settings.connectionsEach ?? settings.connections);
    setMaxListeners(0, this.#closing.signal);
  }

  async send(transaction: Transaction): Promise<SendResult> {
    // the same mailbox may stand twice
    const recipients = [...new Set(transaction.recipients.map(({ mailbox }) => mailbox.key))];
    await this.#slots.take(recipients);
    const { result, session, isClean } = await this.#sendOnSome(transaction);
    // the slot is free again only behind RSET, the result need not wait for that
    void this.#rest(session, isClean).finally(() => this.#slots.give(recipients));
    return result;
  }

  async probe(): Promise<{ ok: boolean; detail: string }> {
    const opened = await this.#open();
    if (opened.kind === "unreachable") return { ok: false, detail: opened.reply };
    opened.session.connection.quit();
    const { host, port, auth, section } = this.#settings;
    const login = auth ? `logged in as ${auth.user}` : "no login";
    return {
      ok: true,
      detail: `${serverName(section)} ${host}:${port} answers, ${shownProtection(opened.session)}, ${login}`,
    };
  }

  async close(): Promise<void> {
    for (const session of this.#idle.keys()) session.connection.quit();
    this.#closing.abort();
    // whoever has all slots knows that nothing is being sent any more
    const { connections } = this.#settings;
    for (let taken = 0; taken < connections; taken++) await this.#slots.take([]);
    for (let given = 0; given < connections; given++) this.#slots.give([]);
  }

  async #sendOnSome(transaction: Transaction): Promise<Sent> {
    const rested = this.#takeIdle();
    if (rested) {
      const end = await transact(rested, transaction, this.#settings.timeouts);
      // the peer had closed it before it saw MAIL: nothing was sent, a fresh connection may take the message
      if (end.kind !== "unanswered") return this.#sent(rested, transaction, end);
    }
    const opened = await this.#open();
    if (opened.kind === "unreachable") return { result: opened, session: undefined, isClean: false };
    const { session } = opened;
    return this.#sent(session, transaction, await transact(session, transaction, this.#settings.timeouts));
  }

  #sent(session: UpstreamSession, transaction: Transaction, end: TransactionEnd): Sent {
    switch (end.kind) {
      case "ended":
        return { result: { kind: "transaction", results: end.results }, session, isClean: end.isClean };
      case "unwelcome":
        this.isUp = false;
        return { result: { kind: "unreachable", reply: end.reply }, session, isClean: false };
      case "unanswered": {
        const { reply } = end;
        const results = transaction.recipients.map(({ mailbox }) => ({ mailbox, outcome: "deferred" as const, reply }));
        return { result: { kind: "transaction", results }, session, isClean: false };
      }
    }
  }

  async #open(): Promise<OpenedSession> {
    if (this.#closing.signal.aborted) return { kind: "unreachable", reply: SHUTTING_DOWN };
    const trust = () => (this.#trust ??= trustOf(this.#settings));
    const session: { current?: UpstreamSession } = {};
    const onEnd = () => {
      const endRest = session.current && this.#idle.get(session.current);
      endRest?.();
    };
    const opened = await openSession(this.#settings, trust, this.#clock, this.#closing.signal, onEnd);
    this.isUp = opened.kind === "open";
    if (opened.kind === "open") {
      session.current = opened.session;
      this.protection = opened.session.protection;
    }
    return opened;
  }

  #takeIdle(): UpstreamSession | undefined {
    const session = [...this.#idle.keys()].at(-1);
    if (session) this.#idle.get(session)?.();
    return session;
  }

  /** Puts a session back, on a clean transaction; one that cannot be cleaned is closed. */
  async #rest(session: UpstreamSession | undefined, isClean: boolean): Promise<void> {
    if (!session) return;
    if (!isClean && !session.connection.isOver && !(await isReset(session, this.#settings))) return;
    // with the reply to RSET its end may have come: nobody would end this rest
    if (session.connection.isOver) return;
    const cancel = this.#clock.after(this.#settings.timeouts.idleMs, () => session.connection.quit());
    this.#idle.set(session, () => {
      cancel();
      this.#idle.delete(session);
    });
  }
}

type Sent = {
  readonly result: SendResult;
  readonly session: UpstreamSession | undefined;
  readonly isClean: boolean;
};

async function isReset({ connection }: UpstreamSession, { timeouts }: TimedSettings): Promise<boolean> {
  try {
    connection.command("RSET");
    const reply = await connection.reply(timeouts.mailMs);
    if (reply.code === 250) return true;
  } catch {
    return false;
  }
  connection.quit();
  return false;
}

function shownProtection({ protection, section }: UpstreamSession): string {
  switch (protection.kind) {
    case "clear":
      return "in clear";
    case "unverified":
      return `${protection.protocol} with a certificate that is not verified (${protection.why}), see ${section}.ca`;
    case "verified":
      return `${protection.protocol} with a verified certificate`;
  }
}
