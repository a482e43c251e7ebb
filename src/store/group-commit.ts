// Group commit: everything that arrives while one transaction runs goes into the next one, with one fsync for all.
import { systemClock } from "../clock.ts";
import type { Database } from "./database.ts";
import { whenUnlocked } from "./lock-wait.ts";
import { storageError } from "./storage-error.ts";

/** Runs in a transaction; must not wait for anything. */
type Step = () => unknown;
type Pending = { readonly step: Step; resolve(value: unknown): void; reject(cause: Error): void };

export type GroupCommit = {
  /** Resolves with what `step` returns after its transaction is on stable storage; rejects when it was rolled back. */
  run<T>(step: () => T): Promise<T>;
  /** As `run`, but nobody waits for it: it joins the next transaction, which begins within 5 ms. */
  runSoon<T>(step: () => T): Promise<T>;
  /** Resolves when nothing is pending. */
  idle(): Promise<void>;
};

const SOON_MS = 5;
/** So many begin at once: whoever settles a mail holds a connection's turn. */
const SOON_AT_MOST = 2;
/** So long a transaction waits while more comes. */
const MOST_TURNS = 4;

export type GroupCommitParts = {
  readonly database: Pick<Database, "sqlite" | "checkpoint">;
  /** Fires when an fsync has failed: from then on every step is refused. */
  readonly failed: AbortSignal;
  readonly sleep: (delayMs: number) => Promise<void>;
};

export function groupCommit({ database, failed, sleep }: GroupCommitParts): GroupCommit {
  const { sqlite } = database;
  let pending: Pending[] = [];
  let flushing: Promise<void> | undefined;
  let isUrgent = false;
  let cancelSoon: (() => void) | undefined;

  const transaction = (group: readonly Pending[]): unknown[] => {
    try {
      const results = group.map(({ step }) => step());
      sqlite.exec("COMMIT");
      return results;
    } catch (cause) {
      if (sqlite.isTransaction) sqlite.exec("ROLLBACK");
      throw cause;
    }
  };

  /** Gives those that are to be tried one by one: a bad step must not take its neighbours with it. */
  const settled = (group: readonly Pending[]): readonly Pending[] | undefined => {
    try {
      const results = transaction(group);
      group.forEach((one, index) => one.resolve(results[index]));
    } catch (cause) {
      if (group.length > 1) return group;
      group[0]?.reject(storageError(cause));
    }
    return undefined;
  };

  const settleGroup = async (group: readonly Pending[]): Promise<void> => {
    try {
      const apart = await whenUnlocked(() => {
        failed.throwIfAborted();
        sqlite.exec("BEGIN IMMEDIATE");
        // in the same turn: nobody else's statement may get into the transaction
        return settled(group);
      }, sleep);
      database.checkpoint();
      for (const one of apart ?? []) await settleGroup([one]);
    } catch (cause) {
      // waiting once more for each step would stop everything
      for (const one of group) one.reject(storageError(cause));
    }
  };

  const flush = async () => {
    while (isUrgent) {
      // whatever else this turn of the event loop brings joins the same fsync, and so on while each brings more
      for (let had = 0, turns = 0; pending.length > had && turns < MOST_TURNS; turns++) {
        had = pending.length;
        await new Promise((resolve) => setImmediate(resolve));
      }
      isUrgent = false;
      const group = pending;
      pending = [];
      await settleGroup(group);
    }
    flushing = undefined;
    if (pending.length > 0) beginSoon();
  };

  const begin = () => {
    isUrgent = true;
    cancelSoon?.();
    cancelSoon = undefined;
    flushing ??= flush();
  };
  const beginSoon = () => {
    if (pending.length >= SOON_AT_MOST) begin();
    else if (flushing === undefined) cancelSoon ??= systemClock.after(SOON_MS, begin);
  };
  const add = <T>(step: () => T): Promise<T> =>
    new Promise<T>((resolve, reject) => pending.push({ step, resolve: resolve, reject }));

  return {
    run(step) {
      const done = add(step);
      begin();
      return done;
    },
    runSoon(step) {
      const done = add(step);
      beginSoon();
      return done;
    },
    async idle() {
      while (pending.length > 0 || flushing !== undefined) {
        if (pending.length > 0) begin();
        await flushing;
      }
    },
  };
}
