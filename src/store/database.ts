// Database: node:sqlite opened for durability, and Kysely over the same connection.
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { Kysely, SqliteAdapter, SqliteDialect, type SqliteDatabase } from "kysely";
import { syncWatch, type SyncWatch } from "./sync-fault.ts";
import type { Tables } from "./tables.ts";

/**
 * `sqlite` is for the spool's hot statements, which run in transactions that never wait; `sql` for everything else, one
 * statement at a time. Both are one connection, so a transaction over several awaits must not be opened at run time.
 */
export type Database = { readonly sqlite: DatabaseSync; readonly sql: Kysely<Tables> };

/** So long a statement waits while another process holds the write lock; until then this process does nothing else. */
const WAIT_MS = 5_000;
const SHORT_WAIT_MS = 50;

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
    return {
      sqlite,
      sql: new Kysely<Tables>({ dialect: new TransactionalDialect({ database: adapted(sqlite, watch) }) }),
    };
  } catch (cause) {
    throw new Error(`the database in ${dataDir} cannot be opened; see dataDir`, { cause });
  }
}

/** Whatever ends a transaction goes through here or through Kysely: no failed fsync is overlooked. */
class WatchedDatabase extends DatabaseSync {
  readonly #watch: SyncWatch;

  constructor(path: string, watch: SyncWatch) {
    super(path, { timeout: WAIT_MS });
    this.#watch = watch;
  }

  override exec(text: string): void {
    noting(this.#watch, () => super.exec(text));
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

/** Runs what may as well fail: it throws after `waitMs` when another process holds the write lock, and holds up no mail for it. */
export function withoutWaiting<T>(sqlite: DatabaseSync, run: () => T, waitMs = SHORT_WAIT_MS): T {
  sqlite.exec(`PRAGMA busy_timeout = ${waitMs}`);
  try {
    return run();
  } finally {
    sqlite.exec(`PRAGMA busy_timeout = ${WAIT_MS}`);
  }
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

/** A crash in the middle of a migration leaves the schema as it was; SQLite can, though Kysely's own adapter says not. */
class TransactionalDialect extends SqliteDialect {
  override createAdapter(): SqliteAdapter {
    return new (class extends SqliteAdapter {
      override get supportsTransactionalDdl() {
        return true;
      }
    })();
  }
}

/** What Kysely wants to see of better-sqlite3. */
function adapted(sqlite: DatabaseSync, watch: SyncWatch): SqliteDatabase {
  return {
    close: () => sqlite.close(),
    prepare: (text) => {
      // immediate: of two processes that start together the second waits here, and then sees what the first has done
      const statement = sqlite.prepare(text === "begin" ? "begin immediate" : text);
      return {
        reader: statement.columns().length > 0,
        all: (values) => noting(watch, () => statement.all(...(values as SQLInputValue[]))),
        run: (values) => {
          const { changes, lastInsertRowid } = noting(watch, () => statement.run(...(values as SQLInputValue[])));
          return { changes: Number(changes), lastInsertRowid: Number(lastInsertRowid) };
        },
        iterate: (values) => statement.iterate(...(values as SQLInputValue[])),
      };
    },
  };
}
