// Store: everything that is kept in the data folder, opened together.
import type { KeyObject } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { KeyCache } from "../keys/key-cache.ts";
import { isKeyOf, keyCheckValue, loadSecretKey, readSecretKey } from "../spool/secret-key.ts";
import type { Spool } from "../spool/spool.ts";
import type { SeenUsers } from "../users/seen.ts";
import { Bodies } from "./bodies.ts";
import { sqlKeyCache } from "./cached-keys.ts";
import { sqlChanges, type Changes } from "./changes.ts";
import { closeDatabase, openDatabase, type Database } from "./database.ts";
import { sqlHarvestedKeys, type SqlHarvestedKeys } from "./harvested-keys.ts";
import { migrate } from "./migrations.ts";
import { sqlPersonalKeys, type SqlPersonalKeys } from "./personal-keys.ts";
import { sqlSeenUsers } from "./seen-users.ts";
import { sqliteSpool } from "./spool.ts";
import type { Step } from "./spool-receive.ts";
import { isFull, storageError } from "./storage-error.ts";
import { syncWatch } from "./sync-fault.ts";
import { sqlTries, type Tries } from "./tries.ts";

export type StoreSettings = {
  readonly dataDir: string;
  readonly secretKeyFile: string;
  /** New messages are refused when less is free on the disk of dataDir. */
  readonly reserveBytes?: number;
};

export type Store = {
  readonly spool: Spool;
  readonly personalKeys: SqlPersonalKeys;
  readonly changes: Changes;
  readonly cache: KeyCache;
  readonly harvested: SqlHarvestedKeys;
  readonly seen: SeenUsers;
  readonly tries: Tries;
  /**
   * For the one process that serves: loads the secret key, sees that the disk keeps what is written, and removes what a crash has
   * left. Returns how many orphans. Throws a sentence when this spool cannot be served.
   */
  recover(): Promise<number>;
  /** Fires when an fsync has failed, with the error as its reason: the process must end. */
  readonly failed: AbortSignal;
  /** Forgets finished messages, old notes and keys that nobody came for; call it now and then. */
  prune(): Promise<void>;
  /** Says whether the secret key is there and is the one that the spool was sealed with; makes none. Rejects when it is not. */
  checkKey(): Promise<string>;
  /** Rejects when nothing can be written. */
  checkWritable(): Promise<void>;
  close(): Promise<void>;
};

const DAY_MS = 86_400_000;
const RESERVE_BYTES = 16 * 1024 * 1024;
/** Finished messages can be seen by `queue list` so long. */
const KEEP_FINISHED_MS = 7 * DAY_MS;
const KEEP_REPORTS_MS = 2 * DAY_MS;

/** Opens the data folder; throws a sentence that names the setting. The secret key is not needed before `recover`. */
export async function openStore(settings: StoreSettings, clock: Clock, onStep?: (step: Step) => void): Promise<Store> {
  const watch = syncWatch(settings.dataDir);
  const database = openDatabase(settings.dataDir, "nothing", watch);
  await migrate(database.sql, settings.dataDir);
  const now = () => clock.now();
  const bodies = new Bodies(settings.dataDir, watch);
  let key: KeyObject | undefined;
  const secretKey = () => {
    if (key === undefined) throw new Error("the secret key was not loaded");
    return key;
  };
  const { dataDir, reserveBytes = RESERVE_BYTES } = settings;
  const sleep = (delayMs: number) => clock.sleep(delayMs);
  const parts = {
    database,
    dataDir,
    reserveBytes,
    bodies,
    secretKey,
    now,
    monotonic: () => clock.monotonic(),
    sleep,
    failed: watch.failed,
  };
  const spool = sqliteSpool(onStep === undefined ? parts : { ...parts, onStep });
  // an fsync for each answer of a server would hold up the mail, and an answer that is lost is only asked for again
  const memory = openDatabase(settings.dataDir, "last commits", watch);
  const cache = sqlKeyCache(memory);
  const harvested = sqlHarvestedKeys(database, secretKey, now);
  return {
    ...{ spool, cache, harvested, failed: watch.failed },
    seen: sqlSeenUsers(memory),
    tries: sqlTries(memory),
    personalKeys: sqlPersonalKeys(database, now),
    changes: sqlChanges(database, now),
    recover: () =>
      recover({ database, bodies, settings, now: now(), failed: watch.failed }, (loaded) => (key = loaded)).catch(
        (cause: unknown) => {
          throw storageError(cause);
        },
      ),
    async prune() {
      const { sql } = database;
      await sql
        .deleteFrom("messages")
        .where("finished_at", "<", now() - KEEP_FINISHED_MS)
        .execute();
      await sql
        .deleteFrom("reports")
        .where("sent_at", "<", now() - KEEP_REPORTS_MS)
        .execute();
      await sql
        .deleteFrom("changes")
        .where("at", "<", now() - DAY_MS)
        .execute();
      await cache.prune(now());
      await harvested.prune();
      await sql
        .deleteFrom("tries")
        .where("at", "<", now() - KEEP_FINISHED_MS)
        .execute();
    },
    async checkKey() {
      const key = await readSecretKey(settings.secretKeyFile);
      const checkValue = await keyCheckOf(database);
      if (key === undefined && checkValue === undefined)
        return `${settings.secretKeyFile} is not there yet; the first start makes it`;
      await loadKey(database, settings.secretKeyFile, false);
      return `${settings.secretKeyFile} can be read${checkValue === undefined ? "" : " and opens the spool"}`;
    },
    checkWritable: () => setMeta(database, "written", String(now())),
    async close() {
      await spool.close();
      await closeDatabase(memory);
      await closeDatabase(database);
    },
  };
}

type RecoverParts = {
  readonly database: Database;
  readonly bodies: Bodies;
  readonly settings: StoreSettings;
  readonly now: number;
  readonly failed: AbortSignal;
};

/** See Store.recover. */
async function recover(parts: RecoverParts, onKey: (key: KeyObject) => void): Promise<number> {
  const { database, bodies, settings, now, failed } = parts;
  // removing the bodies that an empty database does not know would make its loss final
  if (bodies.isThere && (await keyCheckOf(database)) === undefined)
    throw new Error(
      `the database in ${settings.dataDir} is empty, but there was a spool: put sealpost.db and sealpost.db-wal back, or move the folder away to begin anew; see dataDir`,
    );
  onKey(await loadKey(database, settings.secretKeyFile, true));
  await settleWal(database, failed, now);
  const known = database.sqlite.prepare("SELECT 1 FROM messages WHERE id = ? AND in_file = 1 AND due_at IS NOT NULL");
  return bodies.removeOrphans((id) => known.get(id) !== undefined);
}

/**
 * What a failed fsync of the last life left in the write-ahead log is perhaps only in the memory of this machine: it is written
 * again, into the database, and the log begins anew. Rejects on a disk that still fails, before mail is sent whose outcome could
 * not be kept; a full one is no reason not to start.
 */
async function settleWal(database: Database, failed: AbortSignal, now: number): Promise<void> {
  try {
    await setMeta(database, "started", String(now));
    database.sqlite.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  } catch (cause) {
    if (!isFull(cause)) throw failed.aborted ? failed.reason : cause;
  }
}

/** A new key is made only beside a spool that nothing was sealed in, and if it may; another key than the spool's is refused. */
async function loadKey(database: Database, file: string, mayMake: boolean): Promise<KeyObject> {
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

async function keyCheckOf(database: Database): Promise<string | undefined> {
  const query = database.sql.selectFrom("meta").select("value").where("name", "=", "key check");
  return (await query.executeTakeFirst())?.value;
}

async function setMeta(database: Database, name: string, value: string): Promise<void> {
  await database.sql
    .insertInto("meta")
    .values({ name, value })
    .onConflict((conflict) => conflict.column("name").doUpdateSet({ value }))
    .execute();
}
