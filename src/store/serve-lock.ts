// Serve lock: one serving process for each data folder; the lock ends with the process, however it ends.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** Takes the lock or throws a sentence. A transaction that is never ended on a small database of its own is the lock. */
export function takeServeLock(dataDir: string): { close(): Promise<void> } {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const file = new DatabaseSync(join(dataDir, "serve.lock"), { timeout: 0 });
  try {
    file.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    file.close();
    throw new Error(`another sealpost serve works on ${dataDir}; stop it first, or set dataDir`, { cause });
  }
  return {
    close: () => {
      file.close();
      return Promise.resolve();
    },
  };
}
