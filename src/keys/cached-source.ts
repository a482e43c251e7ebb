// Cached source: a network source with a memory, asked once for many mails at a time, and left alone while it is down.
//
// Rules:
//   found and absent are kept, in memory and in the database; failed never is.
//   Look-ups of one address at the same time are one look-up.
//   After three failures in a row the source rests, longer each time; then one look-up finds out whether it is back.
//   An answer that was asked for before an expiry is not kept after it.
import {
  BrokenCircuitError,
  circuitBreaker,
  ConsecutiveBreaker,
  ExponentialBackoff,
  handleWhenResult,
} from "cockatiel";
import { LRUCache } from "lru-cache";
import { asError } from "../as-error.ts";
import type { Clock } from "../clock.ts";
import type { Mailbox } from "../mail/address.ts";
import type { CacheShelf, KeptAnswer, KeyCache } from "./key-cache.ts";
import { failed, type Lookup } from "./lookup.ts";
import type { RecipientKey } from "./recipient-key.ts";
import type { Answer, KeySource } from "./source.ts";

export type CacheTimes = { readonly ttlMs: number; readonly absentTtlMs: number };

export type CachedSource<K extends RecipientKey> = KeySource<K> & {
  /** Forgets what this process remembers. */
  forget(): void;
};

export type CacheParts = {
  readonly cache: KeyCache;
  readonly shelf: CacheShelf;
  readonly times: CacheTimes;
  readonly clock: Clock;
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
  const askServer = restingServers<K>(source, parts.serverOf ?? (() => ""));
  let generation = 0;

  const remember = (key: string, answer: KeptAnswer<K>, from: number, until: number) => {
    if (until > from) memory.set(key, { answer: { ...answer, cached: true }, from, until });
  };
  const lookUp = async (mailbox: Mailbox): Promise<Answer<K>> => {
    const askedAt = clock.now();
    const mine = generation;
    // a database in trouble must not keep mail from a server that answers
    const reading = await parts.cache
      .read<K>(parts.shelf, mailbox.key, askedAt)
      .catch((cause: unknown) => parts.cacheFailed(asError(cause)));
    if (reading?.kept !== undefined) {
      if (mine === generation) remember(mailbox.key, reading.kept.answer, askedAt, reading.kept.until);
      return { ...reading.kept.answer, cached: true };
    }
    const answer = await askServer(mailbox);
    // what was set aside is only known to whoever asks: such an answer is not kept
    if (answer.kind === "failed" || answer.setAside !== undefined) return answer;
    const until = askedAt + (answer.kind === "found" ? times.ttlMs : times.absentTtlMs);
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

  return {
    name: source.name,
    ...(source.withholds === undefined ? {} : { withholds: (mailbox) => source.withholds?.(mailbox) }),
    probe: (signal) => source.probe(signal),
    async find(mailbox) {
      const now = clock.now();
      const known = memory.get(mailbox.key);
      // a clock that was set back makes no answer live longer
      if (known !== undefined && known.from <= now && now < known.until) return known.answer;
      let flight = flights.get(mailbox.key);
      if (flight === undefined) {
        const started = lookUp(mailbox).finally(() => {
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
  };
}

/** The source behind a circuit breaker for each of its servers. */
function restingServers<K extends RecipientKey>(source: KeySource<K>, serverOf: (mailbox: Mailbox) => string) {
  const newServer = () => ({
    lastFailure: undefined as Error | undefined,
    breaker: circuitBreaker(
      handleWhenResult((said) => (said as Lookup<unknown>).kind === "failed"),
      {
        breaker: new ConsecutiveBreaker(FAILURES_BEFORE_REST),
        halfOpenAfter: new ExponentialBackoff({ initialDelay: REST_FIRST_MS, maxDelay: REST_MAX_MS }),
      },
    ),
  });
  const servers = new LRUCache<string, ReturnType<typeof newServer>>({ max: MAX_SERVERS });
  return async (mailbox: Mailbox): Promise<Answer<K>> => {
    const name = serverOf(mailbox);
    const server = servers.get(name) ?? newServer();
    servers.set(name, server);
    try {
      const answer = await server.breaker.execute(() => source.find(mailbox, AbortSignal.timeout(LOOKUP_DEADLINE_MS)));
      if (answer.kind === "failed") server.lastFailure = answer.cause;
      return answer;
    } catch (thrown) {
      if (!(thrown instanceof BrokenCircuitError)) return failed(asError(thrown));
      return failed(
        new SourceAtRest("not asked again yet, for it keeps failing", { cause: server.lastFailure ?? thrown }),
      );
    }
  };
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
