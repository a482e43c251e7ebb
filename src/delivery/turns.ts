// Turns: a recipient for whom the upstream is slow must not take all that can be sent at once; mail for others passes it by.
//
// Rules:
//   For one recipient so many messages are in work, fewer when they take long; the others that are leased for it wait here, in their order.
//   Here wait few, for what waits makes the next lease dearer; for recipients whose mail takes long, up to a thousand. Beyond that
//   nothing more is leased until one of them had its turn.
//   A lease that has waited for long goes back: it must not run out unseen, and the message be worked on twice.
import { LRUCache } from "lru-cache";
import type { Leased } from "../spool/spool.ts";

export type Turns = {
  /** The first of those that wait whose turn has come. */
  next(): Leased | undefined;
  /** Whether it may go on; otherwise it waits here. */
  mayBegin(leased: Leased): boolean;
  begun(leased: Leased): void;
  ended(leased: Leased): void;
  readonly isFull: boolean;
  /** Takes out what has waited for `forMs` and longer, to be released. */
  overdue(forMs: number): Leased[];
};

const MAX_WAITING = 1000;
const MAX_WAITING_QUICK = 16;
/** Mail that takes so long is slow; a recipient is remembered for it for a while. */
export const SLOW_MS = 250;
const SLOW_REMEMBERED = 10_000;
const SLOW_FOR_MS = 10 * 60_000;

/** How many messages of one recipient may be in work at once. */
export type MaxEach = { readonly quick: number; readonly slow: number };

export function createTurns(maxEach: MaxEach, monotonic: () => number): Turns {
  /** When each of a recipient's messages in work was begun. */
  const inWork = new Map<string, number[]>();
  const slow = new LRUCache<string, true>({
    max: SLOW_REMEMBERED,
    ttl: SLOW_FOR_MS,
    ttlResolution: 0,
    perf: { now: monotonic },
  });
  let waiting: { readonly leased: Leased; readonly since: number }[] = [];
  const keysOf = ({ due }: Leased) => new Set(due.map(({ mailbox }) => mailbox.key));
  const isSlow = (key: string) => slow.has(key) || monotonic() - (inWork.get(key)?.[0] ?? Infinity) >= SLOW_MS;
  const isBusy = (key: string) => {
    const count = inWork.get(key)?.length ?? 0;
    return count >= maxEach.quick || (count >= maxEach.slow && isSlow(key));
  };
  const hasTurn = ({ due }: Leased) => !due.some(({ mailbox }) => isBusy(mailbox.key));
  const waitsForSlow = ({ due }: Leased) => due.some(({ mailbox: { key } }) => isBusy(key) && isSlow(key));
  return {
    next() {
      const index = waiting.findIndex(({ leased }) => hasTurn(leased));
      return index < 0 ? undefined : waiting.splice(index, 1)[0]?.leased;
    },
    mayBegin(leased) {
      if (hasTurn(leased)) return true;
      waiting.push({ leased, since: monotonic() });
      return false;
    },
    begun(leased) {
      for (const key of keysOf(leased)) inWork.set(key, [...(inWork.get(key) ?? []), monotonic()]);
    },
    ended(leased) {
      for (const key of keysOf(leased)) {
        const [first = Infinity, ...others] = inWork.get(key) ?? [];
        if (monotonic() - first >= SLOW_MS) slow.set(key, true);
        if (others.length === 0) inWork.delete(key);
        else inWork.set(key, others);
      }
    },
    get isFull() {
      if (waiting.length < MAX_WAITING_QUICK) return false;
      const quick = waiting.filter(({ leased }) => !waitsForSlow(leased));
      return quick.length >= MAX_WAITING_QUICK || waiting.length >= MAX_WAITING;
    },
    overdue(forMs) {
      const isOverdue = ({ since }: { since: number }) => monotonic() - since >= forMs;
      // in the order in which they came: the first has waited for the longest
      if (waiting[0] === undefined || !isOverdue(waiting[0])) return [];
      const overdue = waiting.filter(isOverdue);
      waiting = waiting.filter((one) => !isOverdue(one));
      return overdue.map(({ leased }) => leased);
    },
  };
}
