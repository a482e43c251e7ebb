// Cached source: a network source with a memory, asked once for many mails at a time, and left alone while it is down.
//
// Rules:
//   found and absent are kept, in memory and in the database; failed never is.
//   Keys that serve nobody count as absent: what is put in their place must be found as soon as what was never there.
//   Look-ups of one address at the same time are one look-up.
//   After three failures of the server in a row the source rests, 5 s and then twice as long each time; then one look-up finds out whether it is back.
//   An answer that was asked for before an expiry is not kept after it.
import {
  BrokenCircuitError,
  circuitBreaker,
  type CircuitBreakerPolicy,
  ConsecutiveBreaker,
  ExponentialBackoff,
  handleWhenResult,
  noJitterGenerator,
} from "cockatiel";
import { LRUCache } from "lru-cache";
import { asError } from "../as-error.ts";
import type { Clock } from "../clock.ts";
import type { Mailbox } from "../mail/address.ts";
import { notAfter } from "./fitness.ts";
import type { CacheShelf, KeptAnswer, KeyCache } from "./key-cache.ts";
import { failed } from "./lookup.ts";
import type { RecipientKey } from "./recipient-key.ts";
import type { Answer, KeySource } from "./source.ts";

export type CacheTimes = { readonly ttlMs: number; readonly absentTtlMs: number };

/** Whether mail to this mailbox may be encrypted with this key at `now` (ms). */
export type FitnessTest = (key: RecipientKey, mailbox: Mailbox, now: number) => boolean;

export type CachedSource<K extends RecipientKey> = KeySource<K> & {
  /** Forgets what this process remembers. */
  forget(): void;
  /** The same source with the same memory, under another policy. */
  under(isFit: FitnessTest): CachedSource<K>;
};

export type CacheParts = {
  readonly cache: KeyCache;
  readonly shelf: CacheShelf;
  readonly times: CacheTimes;
  readonly clock: Clock;
  /** Decides how long an answer is believed, and nothing else. */
  readonly isFit: FitnessTest;
  /** What goes wrong with the database: the look-up goes on without it. */
  readonly cacheFailed: (cause: Error) => void;
  /** Which server an address leads to, when the source asks several (WKD): each rests for itself. */
  readonly serverOf?: (mailbox: Mailbox) => string;
};

/** A source was not asked: it failed so often that it rests. The cause is its last failure. */
export class SourceAtRest extends Error {}

const MAX_ADDRESSES = 20_000;
const MAX_KEY_BYTES = 32 * 1024 * 1024;
const MAX_SERVERS = 1_000;
/** Each look-up of the source; as the caller's own deadline may end sooner, others may still wait for the same answer. */
const LOOKUP_DEADLINE_MS = 8_000;
const FAILURES_BEFORE_REST = 3;
const REST_FIRST_MS = 5_000;
const REST_MAX_MS = 60_000;

type Memory<K extends RecipientKey> = { readonly answer: Answer<K>; readonly from: number; readonly until: number };

export function cachedSource<K extends RecipientKey>(source: KeySource<K>, parts: CacheParts): CachedSource<K> {
  const { clock, times } = parts;
  const memory = new LRUCache<string, Memory<K>>({
    max: MAX_ADDRESSES,
    maxSize: MAX_KEY_BYTES,
    sizeCalculation: ({ answer }) => sizeBytes(answer),
  });
  const flights = new Map<string, Promise<Answer<K>>>();
  const askServer = restingServers<K>(source, parts.serverOf ?? (() => ""), clock);
  let generation = 0;

  const remember = (key: string, answer: KeptAnswer<K>, from: number, until: number) => {
    if (until > from) memory.set(key, { answer: { ...answer, cached: true }, from, until });
  };
  const lookUp = async (mailbox: Mailbox, isFit: FitnessTest): Promise<Answer<K>> => {
    const askedAt = clock.now();
    const mine = generation;
    // a database in trouble must not keep mail from a server that answers
    const reading = await parts.cache
      .read<K>(parts.shelf, mailbox.key, askedAt)
      .catch((cause: unknown) => parts.cacheFailed(asError(cause)));
    const kept = reading?.kept;
    if (kept !== undefined && isBelieved(kept, mailbox, askedAt, times, isFit)) {
      if (mine === generation) remember(mailbox.key, kept.answer, askedAt, kept.until);
      return { ...kept.answer, cached: true };
    }
    const answer = await askServer(mailbox);
    if (answer.kind === "failed") return answer;
    const until = believedUntil(answer, mailbox, askedAt, times, isFit);
    if (mine === generation && until > askedAt) {
      remember(mailbox.key, answer, askedAt, until);
      if (reading !== undefined) {
        const time = { askedAt, until, epoch: reading.epoch };
        await parts.cache
          .write(parts.shelf, mailbox.key, answer, time)
          .catch((cause: unknown) => parts.cacheFailed(asError(cause)));
      }
    }
    return answer;
  };

  const under = (isFit: FitnessTest): CachedSource<K> => ({
    name: source.name,
    ...(source.hasManyServers === true ? { hasManyServers: true } : {}),
    ...(source.withholds === undefined ? {} : { withholds: (mailbox) => source.withholds?.(mailbox) }),
    probe: (signal) => source.probe(signal),
    async find(mailbox) {
      const now = clock.now();
      const known = memory.get(mailbox.key);
      // a clock that was set back makes no answer live longer
      if (known !== undefined && known.from <= now && isBelieved(known, mailbox, now, times, isFit))
        return known.answer;
      let flight = flights.get(mailbox.key);
      if (flight === undefined) {
        const started = lookUp(mailbox, isFit).finally(() => {
          if (flights.get(mailbox.key) === started) flights.delete(mailbox.key);
        });
        flights.set(mailbox.key, started);
        flight = started;
      }
      return flight;
    },
    forget() {
      generation++;
      memory.clear();
      flights.clear();
    },
    under,
  });
  return under(parts.isFit);
}

/** A key that was revoked meanwhile, or is trusted no more, serves nobody: nothing says so before it is judged again. */
function isBelieved<K extends RecipientKey>(
  { answer, until }: { readonly answer: Answer<K>; readonly until: number },
  mailbox: Mailbox,
  now: number,
  { absentTtlMs }: CacheTimes,
  isFit: FitnessTest,
): boolean {
  if (now >= until) return false;
  if (answer.kind !== "found" || until - now <= absentTtlMs) return true;
  return answer.value.some((key) => isFit(key, mailbox, now));
}

/** Until the first fit key ends, and never for longer than `times` say; without a fit key as long as an absence. */
function believedUntil<K extends RecipientKey>(
  answer: KeptAnswer<K>,
  mailbox: Mailbox,
  askedAt: number,
  { ttlMs, absentTtlMs }: CacheTimes,
  isFit: FitnessTest,
): number {
  if (answer.kind === "absent") return askedAt + absentTtlMs;
  const fit = answer.value.filter((key) => isFit(key, mailbox, askedAt));
  if (fit.length === 0) return askedAt + Math.min(ttlMs, absentTtlMs);
  // at notAfter itself a key is still fit
  return Math.min(askedAt + ttlMs, ...fit.map((key) => (notAfter(key) ?? Infinity) + 1));
}

/** One server behind its circuit breaker; `restsSince` is its latest rest, which may be over. */
type Server = { breaker: CircuitBreakerPolicy; lastFailure: Error | undefined; restsSince: number | undefined };

function newServer(clock: Clock): Server {
  const breaker = circuitBreaker(
    handleWhenResult((said) => isServerFault(said as Answer<RecipientKey>)),
    {
      breaker: new ConsecutiveBreaker(FAILURES_BEFORE_REST),
      halfOpenAfter: new ExponentialBackoff({
        initialDelay: REST_FIRST_MS,
        maxDelay: REST_MAX_MS,
        // one look-up of one process comes back: there is no crowd to spread
        generator: noJitterGenerator,
      }),
    },
  );
  const server: Server = { breaker, lastFailure: undefined, restsSince: undefined };
  breaker.onBreak(() => (server.restsSince = clock.now()));
  return server;
}

/** The source behind a circuit breaker for each of its servers. */
function restingServers<K extends RecipientKey>(
  source: KeySource<K>,
  serverOf: (mailbox: Mailbox) => string,
  clock: Clock,
) {
  const servers = new LRUCache<string, Server>({ max: MAX_SERVERS });
  const serverNamed = (name: string): Server => {
    const known = servers.get(name);
    // the breaker counts by the time of day: a clock that was set back would make the rest last until it is that time again
    if (known !== undefined && clock.now() >= (known.restsSince ?? -Infinity)) return known;
    const server = newServer(clock);
    servers.set(name, server);
    return server;
  };
  return async (mailbox: Mailbox): Promise<Answer<K>> => {
    const server = serverNamed(serverOf(mailbox));
    try {
      const answer = await server.breaker.execute(() => source.find(mailbox, AbortSignal.timeout(LOOKUP_DEADLINE_MS)));
      if (isServerFault(answer)) server.lastFailure = answer.cause;
      return answer;
    } catch (thrown) {
      if (!(thrown instanceof BrokenCircuitError)) return failed(asError(thrown));
      return failed(
        new SourceAtRest("not asked again yet, for it keeps failing", { cause: server.lastFailure ?? thrown }),
      );
    }
  };
}

/** One person's broken key must not make the server rest for everybody. */
function isServerFault(answer: Answer<RecipientKey>): answer is Extract<Answer<RecipientKey>, { kind: "failed" }> {
  return answer.kind === "failed" && answer.isOnlyHere !== true;
}

function sizeBytes<K extends RecipientKey>(answer: Answer<K>): number {
  const keys: readonly RecipientKey[] = answer.kind === "found" ? answer.value : [];
  const bytes = keys.map((key) =>
    key.kind === "smime"
      ? [key.certificate, ...(key.companions ?? [])].reduce((sum, { der }) => sum + der.length, 0)
      : key.certificate.bytes.length,
  );
  return bytes.reduce((sum, one) => sum + one, 256);
}
