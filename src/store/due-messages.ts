// Due messages: which message of a route is next. One look at the index serves several leases, and what it showed to come
// later serves until something is written.
import type { Route } from "../spool/spool.ts";
import type { GroupCommit } from "./group-commit.ts";
import type { Leases } from "./leases.ts";
import type { SpoolRows, StoredMessage } from "./spool-rows.ts";

type Seen = { readonly seq: number; readonly due_at: number };

/** So many messages are seen ahead; other processes' changes of them show when they are leased. */
const AHEAD = 16;

export type DueMessages = {
  /** The free message that is due first, and at `at`. */
  first(route: Route, at: number): StoredMessage | undefined;
  /** When the first free message is due. */
  nextAt(route: Route): number | undefined;
  /** A message that was passed by is free again. */
  lookAnew(): void;
};

export function dueMessages(rows: SpoolRows, leases: Leases, commits: Pick<GroupCommit, "count">): DueMessages {
  /** Free and due when it was looked, in order. */
  const ahead: Record<Route, Seen[]> = { outbound: [], inbound: [] };
  /** What comes behind them, and what had been written by then. */
  let later: { readonly route: Route; readonly dueAt: number | undefined; readonly written: number } | undefined;

  /** Leased messages stay where they are in the index: at most so many stand before the next free one. */
  const free = (route: Route) => rows.next(route, leases.size + AHEAD).filter(({ seq }) => !leases.has(seq));
  const look = (route: Route, at: number) => {
    const written = commits.count;
    const seen = free(route);
    ahead[route] = seen.filter(({ due_at: dueAt }) => dueAt <= at);
    if (ahead[route].length === 0) later = { route, dueAt: seen[0]?.due_at, written };
  };

  return {
    first(route, at) {
      for (;;) {
        if (ahead[route].length === 0) look(route, at);
        const next = ahead[route].shift();
        if (next === undefined) return undefined;
        const stored = rows.messageAt(next.seq);
        // another process may have settled it meanwhile
        if (stored !== undefined && stored.due_at !== null && stored.due_at <= at) return stored;
      }
    },
    nextAt(route) {
      if (later?.route === route && later.written === commits.count) return later.dueAt;
      return ahead[route][0]?.due_at ?? free(route)[0]?.due_at;
    },
    lookAnew() {
      later = undefined;
      ahead.outbound = [];
      ahead.inbound = [];
    },
  };
}
