// Group commit: everything that arrives while one transaction runs goes into the next one, with one fsync for all.
import { asError } from "../as-error.ts";
import type { DatabaseSync } from "node:sqlite";
import { SpoolFull } from "../spool/spool.ts";
import { isFull } from "./sync-fault.ts";

/** Runs in a transaction; must not wait for anything. */
type Step = () => unknown;
type Pending = { readonly step: Step; resolve(value: unknown): void; reject(cause: Error): void };

export type GroupCommit = {
  /** Resolves with what `step` returns after its transaction is on stable storage; rejects when it was rolled back. */
  run<T>(step: () => T): Promise<T>;
  /** Resolves when nothing is pending. */
  idle(): Promise<void>;
};

/** `failed` has fired when an fsync has failed: from then on every step is refused. */
export function groupCommit(sqlite: DatabaseSync, failed = new AbortController().signal): GroupCommit {
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

  const settleGroup = (group: readonly Pending[]): void => {
    try {
      failed.throwIfAborted();
      sqlite.exec("BEGIN IMMEDIATE");
    } catch (cause) {
      // another process writes for longer than the timeout: waiting once more for each step would stop everything
      for (const one of group) one.reject(storageError(cause));
      return;
    }
    try {
      const results = transaction(group);
      group.forEach((one, index) => one.resolve(results[index]));
    } catch (cause) {
      // one bad step must not take its neighbours with it
      if (group.length > 1) for (const one of group) settleGroup([one]);
      else group[0]?.reject(storageError(cause));
    }
  };

  const flush = async () => {
    while (pending.length > 0) {
      // whatever else this turn of the event loop brings joins the same fsync
      await new Promise((resolve) => setImmediate(resolve));
      const group = pending;
      pending = [];
      settleGroup(group);
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

/** SQLite's "disk full" and the system's become SpoolFull; everything else stays what it is. */
export function storageError(cause: unknown): Error {
  return isFull(cause) ? new SpoolFull("the disk of dataDir is full", { cause }) : asError(cause);
}
