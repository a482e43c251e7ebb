// Group commit: everything that arrives while one transaction runs goes into the next one, with one fsync for all.
import type { DatabaseSync } from "node:sqlite";
import { withoutWaiting } from "./database.ts";
import { isBusy, storageError } from "./storage-error.ts";

/** Runs in a transaction; must not wait for anything. */
type Step = () => unknown;
type Pending = { readonly step: Step; resolve(value: unknown): void; reject(cause: Error): void };

export type GroupCommit = {
  /** Resolves with what `step` returns after its transaction is on stable storage; rejects when it was rolled back. */
  run<T>(step: () => T): Promise<T>;
  /** Resolves when nothing is pending. */
  idle(): Promise<void>;
};

/** So long a transaction waits while another process holds the write lock. */
const LOCK_WAIT_MS = 5_000;
const LOCK_TRY_MS = 5;
const LOCK_SLEEP_MS = 20;

export type GroupCommitParts = {
  readonly sqlite: DatabaseSync;
  /** Fires when an fsync has failed: from then on every step is refused. */
  readonly failed: AbortSignal;
  readonly sleep: (delayMs: number) => Promise<void>;
};

export function groupCommit({ sqlite, failed, sleep }: GroupCommitParts): GroupCommit {
  let pending: Pending[] = [];
  let flushing: Promise<void> | undefined;

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

  /** SQLite's own waiting would stop the whole process, its sessions and its health too. */
  const begun = async (group: readonly Pending[]): Promise<readonly Pending[] | undefined> => {
    for (let waitedMs = 0; ; waitedMs += LOCK_TRY_MS + LOCK_SLEEP_MS) {
      failed.throwIfAborted();
      try {
        withoutWaiting(sqlite, () => sqlite.exec("BEGIN IMMEDIATE"), LOCK_TRY_MS);
      } catch (cause) {
        if (!isBusy(cause) || waitedMs >= LOCK_WAIT_MS) throw cause;
        await sleep(LOCK_SLEEP_MS);
        continue;
      }
      // in the same turn: nobody else's statement may get into the transaction
      return settled(group);
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
      for (const one of (await begun(group)) ?? []) await settleGroup([one]);
    } catch (cause) {
      // waiting once more for each step would stop everything
      for (const one of group) one.reject(storageError(cause));
    }
  };

  const flush = async () => {
    while (pending.length > 0) {
      // whatever else this turn of the event loop brings joins the same fsync
      await new Promise((resolve) => setImmediate(resolve));
      const group = pending;
      pending = [];
      await settleGroup(group);
    }
    flushing = undefined;
  };

  return {
    run<T>(step: () => T) {
      return new Promise<T>((resolve, reject) => {
        pending.push({ step, resolve: resolve, reject });
        flushing ??= flush();
      });
    },
    async idle() {
      await flushing;
    },
  };
}
