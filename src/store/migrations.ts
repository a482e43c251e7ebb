// Migrations: numbered changes of the schema; a database of a newer Sealpost is refused.
import { sql, type Kysely } from "kysely";
import { Migrator, type Migration } from "kysely/migration";
import type { Tables } from "./tables.ts";

/** Never change one that was released; add the next number. */
const MIGRATIONS: Record<string, Migration> = {
  "0001": { up: (db) => run(FIRST, db) },
  "0002": { up: (db) => run(CACHE, db) },
  "0003": { up: (db) => run(HARVEST, db) },
  "0004": { up: (db) => run(DECISIONS, db) },
  "0005": { up: (db) => run(["ALTER TABLE harvest_tries RENAME TO tries"], db) },
};

async function run(statements: readonly string[], db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const FIRST = [
  "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
  `CREATE TABLE messages (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, route TEXT NOT NULL, class TEXT NOT NULL,
     reverse_path TEXT NOT NULL, smtp_utf8 INTEGER NOT NULL, is_8bit INTEGER NOT NULL, accepted_at INTEGER NOT NULL,
     size INTEGER NOT NULL, in_file INTEGER NOT NULL, due_at INTEGER, finished_at INTEGER) STRICT`,
  "CREATE INDEX messages_due ON messages (due_at, seq) WHERE due_at IS NOT NULL",
  "CREATE INDEX messages_waiting ON messages (accepted_at) WHERE due_at IS NOT NULL",
  "CREATE INDEX messages_finished ON messages (finished_at) WHERE finished_at IS NOT NULL",
  // apart from messages: an UPDATE writes its whole row again, and a body is large
  "CREATE TABLE bodies (seq INTEGER PRIMARY KEY REFERENCES messages ON DELETE CASCADE, sealed BLOB NOT NULL) STRICT",
  `CREATE TABLE recipients (seq INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE, idx INTEGER NOT NULL,
     address TEXT NOT NULL, address_key TEXT NOT NULL, notify TEXT, state TEXT NOT NULL, attempts INTEGER NOT NULL,
     next_attempt_at INTEGER, held_since INTEGER, last_reply TEXT NOT NULL, treatment TEXT,
     PRIMARY KEY (seq, idx)) STRICT, WITHOUT ROWID`,
  "CREATE INDEX recipients_held ON recipients (address_key, seq) WHERE state = 'held'",
  "CREATE INDEX recipients_queued ON recipients (seq) WHERE state = 'queued'",
  "CREATE TABLE reports (key TEXT PRIMARY KEY, sent_at INTEGER NOT NULL) STRICT, WITHOUT ROWID",
  `CREATE TABLE personal_keys (address_key TEXT NOT NULL, kind TEXT NOT NULL, fingerprint TEXT NOT NULL,
     address TEXT NOT NULL, origin TEXT NOT NULL, bytes BLOB NOT NULL, added_at INTEGER NOT NULL,
     PRIMARY KEY (address_key, kind, fingerprint)) STRICT, WITHOUT ROWID`,
  "CREATE TABLE changes (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, address TEXT, at INTEGER NOT NULL) STRICT",
];

const CACHE = [
  "ALTER TABLE changes ADD COLUMN source TEXT",
  "CREATE TABLE cache_epochs (source TEXT PRIMARY KEY, epoch INTEGER NOT NULL) STRICT, WITHOUT ROWID",
  // an answer without keys says that there are none
  `CREATE TABLE cached_keys (source TEXT NOT NULL, kind TEXT NOT NULL, settings TEXT NOT NULL, address_key TEXT NOT NULL,
     epoch INTEGER NOT NULL, asked_at INTEGER NOT NULL, until INTEGER NOT NULL, keys BLOB) STRICT`,
  "CREATE UNIQUE INDEX cached_keys_address ON cached_keys (address_key, source, kind, settings)",
  "CREATE INDEX cached_keys_until ON cached_keys (until)",
];

const HARVEST = [
  // each route is leased for itself: an upstream that is down must not hold up incoming mail
  "DROP INDEX messages_due",
  "CREATE INDEX messages_due ON messages (route, due_at, seq) WHERE due_at IS NOT NULL",
  "ALTER TABLE personal_keys ADD COLUMN signed_at INTEGER",
  // companions and what the owner's program announced, as JSON
  "ALTER TABLE personal_keys ADD COLUMN extras BLOB",
  `CREATE TABLE harvested_keys (id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, address_key TEXT NOT NULL,
     address TEXT NOT NULL, domain TEXT NOT NULL, kind TEXT NOT NULL, fingerprint TEXT NOT NULL, bytes BLOB NOT NULL, extras BLOB,
     signed_at INTEGER NOT NULL, seen_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, evidence TEXT NOT NULL,
     token_digest TEXT) STRICT`,
  "CREATE UNIQUE INDEX harvested_keys_key ON harvested_keys (address_key, kind, fingerprint)",
  "CREATE INDEX harvested_keys_domain ON harvested_keys (domain)",
  "CREATE INDEX harvested_keys_expires ON harvested_keys (expires_at)",
  "CREATE TABLE seen_users (address_key TEXT PRIMARY KEY, seen_at INTEGER NOT NULL) STRICT, WITHOUT ROWID",
  // how often a message was begun to be harvested: one that kills the process is passed on without
  "CREATE TABLE harvest_tries (id TEXT PRIMARY KEY, tries INTEGER NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID",
];

/** Which key a change is about. */
const DECISIONS = ["kind", "fingerprint", "reason"].map((column) => `ALTER TABLE changes ADD COLUMN ${column} TEXT`);

/** Brings the schema up to date. Throws when the database was written by a newer version. */
export async function migrate(db: Kysely<Tables>, dataDir: string): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve(MIGRATIONS) } });
  const { error } = await migrator.migrateToLatest();
  if (error === undefined) return;
  const isNewer = error instanceof Error && error.message.includes("missing");
  throw new Error(
    isNewer
      ? `the database in ${dataDir} was written by a newer Sealpost; use that version`
      : `the database in ${dataDir} cannot be brought up to date`,
    { cause: error },
  );
}
