// Sync fault: an fsync that failed, after which this process must promise nothing more.
//
// The kernel reports a failed write-back once and may then call the pages clean that it has dropped. The next fsync succeeds over
// a hole, and what was acknowledged behind the hole is lost with the power. PostgreSQL ends itself for that reason and recovers
// from what the disk really has; so do we.

import { isFull } from "./storage-error.ts";

/** SQLite's extended result codes SQLITE_IOERR_FSYNC and SQLITE_IOERR_DIR_FSYNC. */
const SYNC_CODES: readonly unknown[] = [10 | (4 << 8), 10 | (5 << 8)];

export type SyncWatch = {
  /** Fires, with the error to be told as its reason, when the first fsync fails. */
  readonly failed: AbortSignal;
  /** Any error of SQLite: fires when it is a failed fsync. */
  note(cause: unknown): void;
  /** The disk did not keep what was to be on it. */
  fail(cause: unknown): void;
  /** An fsync of our own: fires when it rejects, and rejects with what it rejected with. */
  around(sync: Promise<void>): Promise<void>;
};

export function syncWatch(dataDir: string): SyncWatch {
  const watch = new AbortController();
  const fail = (cause: unknown) => {
    const text = `the disk of ${dataDir} did not keep what was written to it (fsync failed): look after the disk, then start again; see dataDir`;
    if (!watch.signal.aborted) watch.abort(new Error(text, { cause }));
  };
  return {
    failed: watch.signal,
    fail,
    note(cause) {
      if (SYNC_CODES.includes((cause as { errcode?: unknown }).errcode)) fail(cause);
    },
    async around(sync) {
      try {
        await sync;
      } catch (cause) {
        // a quota or a thin disk may tell of its end as late as here; the file goes, nothing else is concerned
        if ((cause as NodeJS.ErrnoException).syscall === "fsync" && !isFull(cause)) fail(cause);
        throw cause;
      }
    },
  };
}
