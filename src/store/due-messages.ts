// Due messages: which message of a route is next. One look at the index serves several leases, and what it showed to come
// later serves until something may have become due: by this process, which is counted, or by another, which is looked for now and then.
import type { Route } from "../spool/spool.ts";
import type { Leases } from "./leases.ts";
import type { SpoolRows, StoredMessage } from "./spool-rows.ts";

type Seen = { readonly seq: number; readonly due_at: number };
type Later = { readonly dueAt: number; readonly changes: number; readonly seenAt: number };

/** So many messages are seen ahead; other processes' changes of them show when they are leased. */
const AHEAD = 16;
/** Less than the runner sleeps when nothing is due: each time that it wakes by itself, it looks. */
const TRUSTED_MS = 500;

export type DueMessages = {
  /** The free message that is due first, and at `at`. */
  first(route: Route, at: number): StoredMessage | undefined;
  /** When the first free message is due. */
  nextAt(route: Route): number | undefined;
  /** A message that was passed by is free again, or was made due. */
  lookAnew(): void;
};

export type DueParts = {
  readonly rows: Pick<SpoolRows, "next" | "messageAt" | "changes">;
  readonly leases: Leases;
  readonly monotonic: () => number;
};

export function dueMessages({ rows, leases, monotonic }: DueParts): DueMessages {
  /** Free and due when it was looked, in order. */
  const ahead: Record<Route, Seen[]> = { outbound: [], inbound: [] };
  /** When what comes behind all of them is due, and how things stood then. */
  const later: Record<Route, Later | undefined> = { outbound: undefined, inbound: undefined };

  /** Leased messages stay where they are in the index: at most so many stand before the next free one. */
  const look = (route: Route, at: number) => {
    const { changes } = rows;
    const limit = leases.size + AHEAD;
    const read = rows.next(route, limit);
    const free = read.filter(({ seq }) => !leases.has(seq));
    ahead[route] = free.filter(({ due_at: dueAt }) => dueAt <= at);
    const dueAt = free[ahead[route].length]?.due_at ?? (read.length < limit ? Infinity : undefined);
    later[route] = dueAt === undefined ? undefined : { dueAt, changes, seenAt: monotonic() };
  };
  const trusted = (route: Route) => {
    const seen = later[route];
    return seen?.changes === rows.changes && monotonic() - seen.seenAt < TRUSTED_MS ? seen : undefined;
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
    lookAnew() {
      for (const route of ["outbound", "inbound"] as const) {
        later[route] = undefined;
        ahead[route] = [];
      }
    },
  };
}
