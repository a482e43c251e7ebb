// Lock wait: another process holds SQLite's write lock now and then; what waits for it lets the process go on meanwhile.
import { isBusy } from "./storage-error.ts";

/** SQLite's own waiting stops the whole process, its sessions and its health too: it gets no longer than this. */
export const LOCK_TRY_MS = 5;
const LOCK_WAIT_MS = 5_000;
const LOCK_SLEEP_MS = 20;

/** Tries again for up to 5 s while `act` throws that the database is locked. */
export async function whenUnlocked<T>(
  act: () => T | Promise<T>,
  sleep: (delayMs: number) => Promise<unknown>,
): Promise<T> {
  for (let waitedMs = 0; ; waitedMs += LOCK_TRY_MS + LOCK_SLEEP_MS) {
    try {
      return await act();
    } catch (cause) {
      if (!isBusy(cause) || waitedMs >= LOCK_WAIT_MS) throw cause;
      await sleep(LOCK_SLEEP_MS);
    }
  }
}
