// Database: node:sqlite opened for durability, and Kysely over the same connection.
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import {
  Kysely,
  SqliteAdapter,
  SqliteDialect,
  SqliteDriver,
  type DatabaseConnection,
  type SqliteDatabase,
  type SqliteDialectConfig,
} from "kysely";
import { LOCK_TRY_MS, whenUnlocked } from "./lock-wait.ts";
import { isBusy, isFull } from "./storage-error.ts";
import { syncWatch, type SyncWatch } from "./sync-fault.ts";
import type { Tables } from "./tables.ts";

/**
 * `sqlite` is for the spool's hot statements, which run in transactions that never wait; `sql` for everything else, one
 * statement at a time, that waits while another process writes. Both are one connection, so a transaction over several awaits must
 * not be opened at run time.
 */
export type Database = {
  readonly sqlite: DatabaseSync;
  readonly sql: Kysely<Tables>;
  /** Brings a log that has grown long into the database; call it after a commit. A disk that fails then is a failed fsync. */
  checkpoint(): void;
};

/** While it is opened another process may do the same; nothing else waits yet. */
const OPEN_WAIT_MS = 5_000;
/** So many pages of the write-ahead log are worth a checkpoint; SQLite's own number. */
const LONG_LOG_PAGES = 1000;
/** How long it is costs as much to ask as a few statements. */
const LOOK_EVERY_COMMITS = 8;

/**
 * Opens DATADIR/sealpost.db; the folder is made with mode 0700. `lost` is what the last moments before a power cut may cost:
 * nothing, or what was committed over this connection. Throws a sentence that names dataDir.
 */
export function openDatabase(
  dataDir: string,
  lost: "nothing" | "last commits" = "nothing",
  watch = syncWatch(dataDir),
): Database {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const path = join(dataDir, "sealpost.db");
    makePrivate(path);
    const sqlite = new WatchedDatabase(path, watch);
    // 8 KiB pages: of 4, 8 and 16 KiB the least CPU for a mail of 32 KiB received and settled
    // FULL: in WAL mode NORMAL would lose the last commits when the power goes, and needs no fsync for each
    const synchronous = lost === "nothing" ? "FULL" : "NORMAL";
    sqlite.exec(
      `PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous}; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384`,
    );
    // SQLite's own checkpoint says nothing of a disk that fails
    sqlite.exec(`PRAGMA wal_autocheckpoint = 0; PRAGMA busy_timeout = ${LOCK_TRY_MS}`);
    return {
      sqlite,
      sql: new Kysely<Tables>({ dialect: new PatientDialect({ database: adapted(sqlite) }) }),
      checkpoint: checkpointer(sqlite, watch),
    };
  } catch (cause) {
    throw new Error(`the database in ${dataDir} cannot be opened; see dataDir`, { cause });
  }
}

/** No statement's failed fsync is overlooked. */
class WatchedDatabase extends DatabaseSync {
  readonly #watch: SyncWatch;

  constructor(path: string, watch: SyncWatch) {
    super(path, { timeout: OPEN_WAIT_MS });
    this.#watch = watch;
  }

  override exec(text: string): void {
    noting(this.#watch, () => super.exec(text));
  }

  override prepare(text: string): StatementSync {
    const statement = super.prepare(text);
    for (const name of ["get", "all", "run"] as const) {
      const method = statement[name].bind(statement) as (...values: unknown[]) => never;
      statement[name] = (...values: unknown[]) => noting(this.#watch, () => method(...values));
    }
    return statement;
  }
}

function noting<T>(watch: SyncWatch, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    watch.note(cause);
    throw cause;
  }
}

function checkpointer(sqlite: DatabaseSync, watch: SyncWatch): () => void {
  const size = sqlite.prepare("PRAGMA wal_checkpoint(NOOP)");
  let commits = 0;
  return () => {
    if (commits++ % LOOK_EVERY_COMMITS !== 0) return;
    try {
      const { log, checkpointed } = size.get() as { log: number; checkpointed: number };
      if (log >= LONG_LOG_PAGES && log > checkpointed) sqlite.exec("PRAGMA wal_checkpoint(PASSIVE)");
    } catch (cause) {
      // a full disk or another process only leaves the log as it is, until the next commit
      if (!isFull(cause) && !isBusy(cause)) watch.fail(cause);
    }
  };
}

export async function closeDatabase({ sql, sqlite }: Database): Promise<void> {
  // Kysely closes only what it has used
  await sql.destroy();
  if (sqlite.isOpen) sqlite.close();
}

/**
 * Makes an empty file of mode 0600 for SQLite, which gives -wal and -shm the same mode. An existing one is not even opened:
 * closing it would end the POSIX locks that this process holds on it through SQLite.
 */
export function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause;
  }
}

/** Statements wait for other processes; and a crash in the middle of a migration leaves the schema as it was, whatever Kysely says. */
class PatientDialect extends SqliteDialect {
  readonly #config: SqliteDialectConfig;

  constructor(config: SqliteDialectConfig) {
    super(config);
    this.#config = config;
  }

  override createAdapter(): SqliteAdapter {
    return new (class extends SqliteAdapter {
      override get supportsTransactionalDdl() {
        return true;
      }
    })();
  }

  override createDriver(): SqliteDriver {
    return new (class extends SqliteDriver {
      override async acquireConnection(): Promise<DatabaseConnection> {
        const connection = await super.acquireConnection();
        return {
          executeQuery: (query, options) => whenUnlocked(() => connection.executeQuery(query, options), sleep),
          streamQuery: (query, size) => connection.streamQuery(query, size),
        };
      }
    })(this.#config);
  }
}

/** What Kysely wants to see of better-sqlite3. */
function adapted(sqlite: DatabaseSync): SqliteDatabase {
  return {
    close: () => sqlite.close(),
    prepare: (text) => {
      // immediate: of two processes that start together the second waits here, and then sees what the first has done
      const statement = sqlite.prepare(text === "begin" ? "begin immediate" : text);
      return {
        reader: statement.columns().length > 0,
        all: (values) => statement.all(...(values as SQLInputValue[])),
        run: (values) => {
          const { changes, lastInsertRowid } = statement.run(...(values as SQLInputValue[]));
          return { changes: Number(changes), lastInsertRowid: Number(lastInsertRowid) };
        },
        iterate: (values) => statement.iterate(...(values as SQLInputValue[])),
      };
    },
  };
}
