// Serve lock: one serving process for each data folder; the lock ends with the process, however it ends.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { makePrivate } from "./database.ts";

const SQLITE_BUSY = 5;

/** Takes the lock or throws a sentence. A transaction that is never ended on a small database of its own is the lock. */
export function takeServeLock(dataDir: string): { close(): Promise<void> } {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const path = join(dataDir, "serve.lock");
  let file: DatabaseSync | undefined;
  try {
    makePrivate(path);
    file = new DatabaseSync(path, { timeout: 0 });
    file.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    file?.close();
    const isTaken = (cause as { errcode?: number }).errcode === SQLITE_BUSY;
    throw new Error(
      isTaken
        ? `another sealpost serve works on ${dataDir}; stop it first, or set dataDir`
        : `the lock ${path} cannot be taken; see dataDir`,
      { cause },
    );
  }
  const held = file;
  return {
    close: () => {
      held.close();
      return Promise.resolve();
    },
  };
}
