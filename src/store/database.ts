// Database: node:sqlite opened for durability, and Kysely over the same connection.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { Kysely, SqliteDialect, type SqliteDatabase } from "kysely";
import type { Tables } from "./tables.ts";

/**
 * `sqlite` is for the spool's hot statements, which run in transactions that never wait; `sql` for everything else, one
 * statement at a time. Both are one connection, so a transaction over several awaits must not be opened at run time.
 */
export type Database = { readonly sqlite: DatabaseSync; readonly sql: Kysely<Tables> };

/** Opens DATADIR/sealpost.db; the folder is made with mode 0700. Throws a sentence that names dataDir. */
export function openDatabase(dataDir: string): Database {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const sqlite = new DatabaseSync(join(dataDir, "sealpost.db"), { timeout: 5_000 });
    // FULL: in WAL mode NORMAL would lose the last commits when the power goes
    sqlite.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384",
    );
    return { sqlite, sql: new Kysely<Tables>({ dialect: new SqliteDialect({ database: adapted(sqlite) }) }) };
  } catch (cause) {
    throw new Error(`the database in ${dataDir} cannot be opened; see dataDir`, { cause });
  }
}

/** What Kysely wants to see of better-sqlite3. */
function adapted(sqlite: DatabaseSync): SqliteDatabase {
  return {
    close: () => sqlite.close(),
    prepare: (text) => {
      const statement = sqlite.prepare(text);
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
