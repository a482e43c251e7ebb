// Due messages: which message of a route is next. One look at the index serves several leases, and what it showed to come later serves
// until something may have become due: what comes in is told here, and what another process does is looked for now and then.
import type { Route } from "../spool/spool.ts";
import type { Leases } from "./leases.ts";
import type { SpoolRows, StoredMessage } from "./spool-rows.ts";

/** A message and when it is due. */
export type Due = { readonly seq: number; readonly due_at: number };
type Later = { readonly dueAt: number; readonly seenAt: number };

/** So many messages are seen ahead; other processes' changes of them show when they are leased. */
const AHEAD = 16;
/** So many that come in are known without a look. */
const MAX_AHEAD = 64;
/** Less than the runner sleeps when nothing is due: each time that it wakes by itself, it looks. */
const TRUSTED_MS = 500;

export type DueMessages = {
  /** The free message that is due first, and at `at`. */
  first(route: Route, at: number): StoredMessage | undefined;
  /** When the first free message is due. */
  nextAt(route: Route): number | undefined;
  /** A new message was committed. */
  arrived(route: Route, message: Due): void;
  /** A message that was not seen ahead may be due sooner than was known. */
  mayComeSooner(): void;
  /** A message that was passed by is free again, or was made due. */
  lookAnew(): void;
};

export type DueParts = {
  readonly rows: Pick<SpoolRows, "next" | "messageAt">;
  readonly leases: Leases;
  readonly monotonic: () => number;
};

export function dueMessages({ rows, leases, monotonic }: DueParts): DueMessages {
  /** Free and due when it was looked, in order. */
  const ahead: Record<Route, Due[]> = { outbound: [], inbound: [] };
  /** When what comes behind all of them is due, and when that was seen. */
  const later: Record<Route, Later | undefined> = { outbound: undefined, inbound: undefined };

  /** Leased messages stay where they are in the index: at most so many stand before the next free one. */
  const look = (route: Route, at: number) => {
    const limit = leases.size + AHEAD;
    const read = rows.next(route, limit);
    const free = read.filter(({ seq }) => !leases.has(seq));
    ahead[route] = free.filter(({ due_at: dueAt }) => dueAt <= at);
    const dueAt = free[ahead[route].length]?.due_at ?? (read.length < limit ? Infinity : undefined);
    later[route] = dueAt === undefined ? undefined : { dueAt, seenAt: monotonic() };
  };
  const trusted = (route: Route) => {
    const seen = later[route];
    return seen !== undefined && monotonic() - seen.seenAt < TRUSTED_MS ? seen : undefined;
  };

  return {
    first(route, at) {
      for (;;) {
        if (ahead[route].length === 0) {
          if ((trusted(route)?.dueAt ?? at) > at) return undefined;
          look(route, at);
        }
        const next = ahead[route].shift();
        if (next === undefined) return undefined;
        // a look may have shown what arrived a moment before that was told
        if (leases.has(next.seq)) continue;
        const stored = rows.messageAt(next.seq);
        // another process may have settled it meanwhile
        if (stored !== undefined && stored.due_at !== null && stored.due_at <= at) return stored;
      }
    },
    nextAt(route) {
      const [first] = ahead[route];
      if (first !== undefined) return first.due_at;
      const seen = trusted(route);
      if (seen !== undefined) return Number.isFinite(seen.dueAt) ? seen.dueAt : undefined;
      return rows.next(route, leases.size + 1).find(({ seq }) => !leases.has(seq))?.due_at;
    },
    arrived(route, message) {
      const seen = trusted(route);
      // the next look shows it
      if (seen === undefined || message.due_at >= seen.dueAt) return;
      if (ahead[route].length < MAX_AHEAD) ahead[route].push(message);
      else later[route] = { ...seen, dueAt: message.due_at };
    },
    mayComeSooner() {
      later.outbound = later.inbound = undefined;
    },
    lookAnew() {
      for (const route of ["outbound", "inbound"] as const) {
        later[route] = undefined;
        ahead[route] = [];
      }
    },
  };
}
