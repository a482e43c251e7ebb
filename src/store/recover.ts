// Recover: what the one process that serves does before it takes mail: the secret key, the log of the last life, orphans.
import type { KeyObject } from "node:crypto";
import type { Clock } from "../clock.ts";
import { isKeyOf, keyCheckValue, loadSecretKey } from "../spool/secret-key.ts";
import type { Bodies } from "./bodies.ts";
import type { Database } from "./database.ts";
import { whenUnlocked } from "./lock-wait.ts";
import { metaIn, setMeta } from "./meta.ts";
import { isFull, lockedError } from "./storage-error.ts";

type RecoverParts = {
  readonly database: Database;
  readonly bodies: Bodies;
  readonly settings: { readonly dataDir: string; readonly secretKeyFile: string };
  readonly clock: Clock;
  readonly failed: AbortSignal;
};

/** How many orphans were removed, and which message was the last to come before this start. */
export type Recovered = { readonly orphans: number; readonly newestSeq: number };

/** See Store.recover. */
export async function recover(parts: RecoverParts, onKey: (key: KeyObject) => void): Promise<Recovered> {
  const { database, bodies, settings } = parts;
  // removing the bodies that an empty database does not know would make its loss final
  if (bodies.isThere && (await keyCheckOf(database)) === undefined)
    throw new Error(
      `the database in ${settings.dataDir} is empty, but there was a spool: put sealpost.db and sealpost.db-wal back, or move the folder away to begin anew; see dataDir`,
    );
  onKey(await loadKey(database, settings.secretKeyFile, true));
  await settleWal(parts);
  const known = database.sqlite.prepare("SELECT 1 FROM messages WHERE id = ? AND in_file = 1 AND due_at IS NOT NULL");
  const orphans = await bodies.removeOrphans((id) => known.get(id) !== undefined);
  const { newestSeq } = database.sqlite.prepare("SELECT coalesce(max(seq), 0) AS newestSeq FROM messages").get() as {
    newestSeq: number;
  };
  return { orphans, newestSeq };
}

/**
 * What a failed fsync of the last life left in the write-ahead log is perhaps only in the memory of this machine: it is written
 * again, into the database, and the log begins anew. Rejects on a disk that still fails, before mail is sent whose outcome could
 * not be kept; a full one is no reason not to start.
 */
async function settleWal({ database, failed, clock }: RecoverParts): Promise<void> {
  const checkpoint = database.sqlite.prepare("PRAGMA wal_checkpoint(TRUNCATE)");
  try {
    await setMeta(database, "started", String(clock.now()));
    await whenUnlocked(
      () => {
        // a reader or writer in another process is no error to SQLite: it says so in the row
        if ((checkpoint.get() as { busy: number }).busy !== 0) throw lockedError();
      },
      (delayMs) => clock.sleep(delayMs),
    );
  } catch (cause) {
    if (!isFull(cause)) throw failed.aborted ? failed.reason : cause;
  }
}

/** A new key is made only beside a spool that nothing was sealed in, and if it may; another key than the spool's is refused. */
export async function loadKey(database: Database, file: string, mayMake: boolean): Promise<KeyObject> {
  const checkValue = await keyCheckOf(database);
  const key = await loadSecretKey(file, mayMake && checkValue === undefined);
  if (checkValue === undefined) {
    if (mayMake) await setMeta(database, "key check", keyCheckValue(key));
  } else if (!isKeyOf(key, checkValue)) {
    throw new Error(
      `the secret key ${file} is not the one that this spool was sealed with; put that one back or set secretKeyFile`,
    );
  }
  return key;
}

export function keyCheckOf(database: Database): Promise<string | undefined> {
  return metaIn(database, "key check");
}
