// LDAP connection: one socket, bound once, over which many searches go at a time; once it has ended it is never used again.
import type { Socket } from "node:net";
import type { SecureContext } from "node:tls";
import { BindRequest, SearchRequest, UnbindRequest } from "ldapts";
import { asError } from "../as-error.ts";
import { bindFault, LdapFault, notLdapFault, referralFault, resultFault, serverOf, shown } from "./ldap-fault.ts";
import { frameReader, OversizeMessage } from "./ldap-frames.ts";
import { readReply, TooManyElements, type LdapReply, type LdapResult } from "./ldap-reply.ts";
import type { LdapEntry, LdapSearch, LdapSettings } from "./ldap-directory.ts";
import { openLdapSocket } from "./ldap-socket.ts";

/** What one search may bring; more is no answer to a question after one address. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const MAX_ENTRIES = 1_000;
/** Of BER, in all messages together: an empty one takes two octets and far more memory. */
const MAX_ELEMENTS = 50_000;
const MAX_MESSAGE_ID = 2 ** 31 - 1;
const SERVER_TIME_LIMIT_SECONDS = 5;
const SIZE_LIMIT_EXCEEDED = 4;

export type LdapConnection = {
  /** Rejects with an LdapFault; there is no deadline here. */
  search(search: LdapSearch): Promise<readonly LdapEntry[]>;
  /** Why it has ended; undefined: it has not. */
  readonly fault: LdapFault | undefined;
  /** Ends it now; what is in flight rejects with `fault`. */
  end(fault: LdapFault): void;
  /** When its socket is gone. */
  readonly closed: Promise<void>;
};

type FoundEntry = Extract<LdapReply, { kind: "entry" }>;

/** A request whose result is awaited, and what came before that. */
type Operation = {
  readonly answer: "bound" | "searched";
  readonly entries: FoundEntry[];
  readonly uris: string[];
  bytes: number;
  elements: number;
  settle(result: LdapResult, operation: Operation): void;
  reject(fault: LdapFault): void;
};

/** Connects and binds. Rejects with an LdapFault, and then leaves no socket. */
export async function openLdapConnection(
  settings: LdapSettings,
  trust: () => SecureContext,
  signal: AbortSignal,
): Promise<LdapConnection> {
  const { user, password } = settings;
  // an empty password makes it an unauthenticated bind, which succeeds and is anonymous (RFC 4513 5.1.2)
  if (user !== null && (user === "" || password === null || password.reveal() === ""))
    throw new LdapFault("refused", `bind as ${shown(user)} needs a name and a password`, { setting: "passwordFile" });
  const socket = await openLdapSocket(settings, trust, signal);
  const exchange = startExchange(socket, settings);
  if (user !== null && password !== null) await bind(exchange, settings, user, password.reveal(), signal);
  return {
    get fault() {
      return exchange.fault;
    },
    end: exchange.end,
    closed: exchange.closed,
    search: (search) => runSearch(exchange, settings, search),
  };
}

type Exchange = ReturnType<typeof startExchange>;

/** Requests out, replies in, matched by message id. */
function startExchange(socket: Socket, settings: LdapSettings) {
  const operations = new Map<number, Operation>();
  const frames = frameReader(MAX_ANSWER_BYTES);
  let lastId = 1;
  let fault: LdapFault | undefined;
  let lastError: Error | undefined;

  const end = (reason: LdapFault) => {
    if (fault !== undefined) return;
    fault = reason;
    // for a connection in good order the server is told (RFC 4511 4.3)
    if (operations.size === 0 && socket.writable) socket.write(new UnbindRequest({ messageId: lastId + 1 }).write());
    if (operations.size === 0) socket.destroySoon();
    else socket.destroy();
    for (const operation of operations.values()) operation.reject(reason);
    operations.clear();
  };
  const cut = () => {
    const why = lastError === undefined ? "" : `: ${shown(lastError.message)}`;
    end(
      new LdapFault("cut", `${serverOf(settings)} closed the connection${why}`, { setting: "host", cause: lastError }),
    );
    socket.destroy();
  };
  const take = (message: Buffer) => {
    const reply = readReply(message);
    const operation = operations.get(reply.id);
    if (operation === undefined) {
      // notice of disconnection (RFC 4511 4.4.1), or an answer to nothing that was asked
      if (reply.kind === "extended") lastError = new Error(`${reply.text} (${reply.code})`);
      cut();
      return;
    }
    operation.bytes += message.length;
    operation.elements += reply.elements;
    if (
      operation.bytes > MAX_ANSWER_BYTES ||
      operation.elements > MAX_ELEMENTS ||
      operation.entries.length > MAX_ENTRIES
    ) {
      operations.delete(reply.id);
      operation.reject(tooMuch(settings));
      cut();
      return;
    }
    if (collect(operation, reply)) operations.delete(reply.id);
  };

  socket.on("data", (chunk: Buffer) => {
    try {
      for (const message of frames(chunk)) if (fault === undefined) take(message);
    } catch (cause) {
      const isTooMuch = cause instanceof OversizeMessage || cause instanceof TooManyElements;
      end(isTooMuch ? tooMuch(settings) : notLdapFault(asError(cause), settings));
    }
  });
  socket.on("error", (error) => (lastError = error));
  socket.on("end", cut);
  const closed = new Promise<void>((resolve) => socket.once("close", resolve));
  socket.on("close", cut);
  // it may have gone before anybody listened
  if (socket.destroyed) cut();

  return {
    end,
    closed,
    get fault() {
      return fault;
    },
    /** Sends what `write` makes for a new message id; resolves with the result and what came before it. */
    ask(answer: Operation["answer"], write: (id: number) => Buffer) {
      return new Promise<LdapResult & Pick<Operation, "entries" | "uris">>((resolve, reject) => {
        if (fault !== undefined) {
          reject(fault);
          return;
        }
        lastId = (lastId % MAX_MESSAGE_ID) + 1;
        const settle: Operation["settle"] = (result, { entries, uris }) => resolve({ ...result, entries, uris });
        operations.set(lastId, { answer, entries: [], uris: [], bytes: 0, elements: 0, settle, reject });
        socket.write(write(lastId));
      });
    },
  };
}

/** Adds a reply to its operation; gives whether it was the last. Throws when it does not belong there. */
function collect(operation: Operation, reply: LdapReply): boolean {
  switch (reply.kind) {
    case "entry":
      operation.entries.push(reply);
      break;
    case "reference":
      operation.uris.push(...reply.uris);
      break;
    case "bound":
    case "searched":
    case "extended":
      if (reply.kind !== operation.answer) throw new Error(`an answer of kind ${reply.kind}`);
      operation.settle(reply, operation);
      return true;
  }
  if (operation.answer !== "searched") throw new Error(`an answer of kind ${reply.kind} to a bind`);
  return false;
}

async function bind(exchange: Exchange, settings: LdapSettings, user: string, password: string, signal: AbortSignal) {
  const giveUp = () =>
    exchange.end(
      signal.reason instanceof LdapFault
        ? signal.reason
        : new LdapFault("time-out", `${serverOf(settings)} did not answer to bind in time`, { setting: "host" }),
    );
  signal.addEventListener("abort", giveUp, { once: true });
  try {
    if (signal.aborted) giveUp();
    const result = await exchange.ask("bound", (messageId) =>
      new BindRequest({ messageId, dn: user, password }).write(),
    );
    if (result.code !== 0) throw bindFault(result, settings);
  } catch (cause) {
    exchange.end(cause instanceof LdapFault ? cause : notLdapFault(asError(cause), settings));
    await exchange.closed;
    throw cause;
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}

async function runSearch(exchange: Exchange, settings: LdapSettings, search: LdapSearch) {
  const { base, scope, filter, attributes, atMost } = search;
  const limits = { timeLimit: SERVER_TIME_LIMIT_SECONDS, sizeLimit: atMost ?? 0 };
  const request = { baseDN: base, scope, filter, attributes: [...attributes], ...limits };
  const result = await exchange.ask("searched", (messageId) => new SearchRequest({ messageId, ...request }).write());
  const mayBeCut = atMost !== undefined && result.code === SIZE_LIMIT_EXCEEDED;
  if (result.code !== 0 && !mayBeCut) throw resultFault(result, settings, base);
  const entries = result.entries.map((entry) => entryOf(entry, settings));
  const uris = result.uris.filter((uri) => !HOLDS_NO_PEOPLE.test(uri));
  if (uris.length > 0) throw referralFault(settings, base, uris, entries);
  return entries;
}

/** What Active Directory refers to in every search of a whole domain: zones of DNS, and its own configuration. */
const HOLDS_NO_PEOPLE = /^ldaps?:\/\/[^/]*\/(?:dc=(?:DomainDnsZones|ForestDnsZones)|cn=Configuration),/i;

function tooMuch(settings: LdapSettings): LdapFault {
  const bound = `${MAX_ANSWER_BYTES / 1024 / 1024} MiB or ${MAX_ENTRIES} entries, or in more than ${MAX_ELEMENTS} elements`;
  return new LdapFault("too-much", `${serverOf(settings)} answers with more than ${bound}`, {
    ...{ setting: "filter", isOnlyHere: true },
  });
}

function entryOf({ dn, attributes }: FoundEntry, settings: LdapSettings): LdapEntry {
  const byName = new Map<string, Buffer[]>();
  for (const { name, values } of attributes) {
    // Active Directory gives long attributes in parts (range retrieval): the rest is unknown
    if (/;range=\d+-\d+(?:;|$)/i.test(name))
      throw new LdapFault("too-much", `${serverOf(settings)} gives only a part of ${shown(name)} of ${shown(dn)}`, {
        isOnlyHere: true,
      });
    const plain = plainName(name);
    const known = byName.get(plain);
    if (known === undefined) byName.set(plain, [...values]);
    else for (const value of values) known.push(value);
  }
  return { dn, values: (attribute) => byName.get(plainName(attribute)) ?? [] };
}

function plainName(name: string): string {
  return (name.split(";")[0] ?? "").toLowerCase();
}
