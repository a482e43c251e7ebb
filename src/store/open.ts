// Store: everything that is kept in the data folder, opened together.
import type { KeyObject } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { KeyCache } from "../keys/key-cache.ts";
import { readSecretKey } from "../spool/secret-key.ts";
import type { Spool } from "../spool/spool.ts";
import type { SeenUsers } from "../users/seen.ts";
import { Bodies } from "./bodies.ts";
import { sqlKeyCache } from "./cached-keys.ts";
import { sqlChanges, type Changes } from "./changes.ts";
import { closeDatabase, openDatabase } from "./database.ts";
import { sqlHarvestedKeys, type SqlHarvestedKeys } from "./harvested-keys.ts";
import { metaIn, setMeta } from "./meta.ts";
import { migrate } from "./migrations.ts";
import { sqlPersonalKeys, type SqlPersonalKeys } from "./personal-keys.ts";
import { pruneMail } from "./prune.ts";
import { keyCheckOf, loadKey, recover } from "./recover.ts";
import { sqlSeenUsers } from "./seen-users.ts";
import { sqliteSpool } from "./spool.ts";
import type { Step } from "./spool-receive.ts";
import { storageError } from "./storage-error.ts";
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
  /** Single values that a power cut may lose. */
  readonly note: { read(name: string): Promise<string | undefined>; write(name: string, value: string): Promise<void> };
  /** Rejects when nothing can be written. */
  checkWritable(): Promise<void>;
  close(): Promise<void>;
};

const RESERVE_BYTES = 16 * 1024 * 1024;

/** Opens the data folder; throws a sentence that names the setting. The secret key is not needed before `recover`. */
export async function openStore(settings: StoreSettings, clock: Clock, onStep?: (step: Step) => void): Promise<Store> {
  const watch = syncWatch(settings.dataDir);
  const database = openDatabase(settings.dataDir, "nothing", watch);
  await migrate(database.sql, settings.dataDir);
  const now = () => clock.now();
  const bodies = new Bodies(settings.dataDir, watch);
  let key: KeyObject | undefined;
  let newestAtStart = 0;
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
    wasHereAtStart: (seq: number) => seq <= newestAtStart,
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
    async recover() {
      try {
        const found = await recover(
          { database, bodies, settings, clock, failed: watch.failed },
          (loaded) => (key = loaded),
        );
        newestAtStart = found.newestSeq;
        return found.orphans;
      } catch (cause) {
        throw storageError(cause);
      }
    },
    async prune() {
      await pruneMail(database, now());
      await cache.prune(now());
      await harvested.prune();
    },
    note: {
      read: (name) => metaIn(memory, name),
      write: (name, value) => setMeta(memory, name, value),
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
