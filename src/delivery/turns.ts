// Turns: a recipient for whom the upstream is slow must not take all that can be sent at once; mail for others passes it by.
//
// Rules:
//   For one recipient at most `maxEach` messages are in work; the others that are leased for it wait here, in their order.
//   Here wait at most a thousand: beyond that nothing more is leased until one of them had its turn.
//   A lease that has waited for long goes back: it must not run out unseen, and the message be worked on twice.
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

export function createTurns(maxEach: number, monotonic: () => number): Turns {
  const inWork = new Map<string, number>();
  let waiting: { readonly leased: Leased; readonly since: number }[] = [];
  const keysOf = ({ due }: Leased) => new Set(due.map(({ mailbox }) => mailbox.key));
  const hasTurn = ({ due }: Leased) => due.every(({ mailbox }) => (inWork.get(mailbox.key) ?? 0) < maxEach);
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
      for (const key of keysOf(leased)) inWork.set(key, (inWork.get(key) ?? 0) + 1);
    },
    ended(leased) {
      for (const key of keysOf(leased)) {
        const left = (inWork.get(key) ?? 1) - 1;
        if (left === 0) inWork.delete(key);
        else inWork.set(key, left);
      }
    },
    get isFull() {
      return waiting.length >= MAX_WAITING;
    },
    overdue(forMs) {
      const isOverdue = ({ since }: { since: number }) => monotonic() - since >= forMs;
      const overdue = waiting.filter(isOverdue);
      if (overdue.length > 0) waiting = waiting.filter((one) => !isOverdue(one));
      return overdue.map(({ leased }) => leased);
    },
  };
}
