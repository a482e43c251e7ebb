// Storage error: what SQLite and the system say of a full or damaged disk, in the words of the spool.
import { asError } from "../as-error.ts";
import { SpoolFull } from "../spool/spool.ts";

const SQLITE_BUSY = 5;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

const LOCKED = "another process keeps the database in dataDir locked";

/** What SQLite would throw, for where it only returns it. */
export function lockedError(): Error {
  return Object.assign(new Error(LOCKED), { errcode: SQLITE_BUSY });
}

/** A full disk becomes SpoolFull, what an operator can mend a sentence for him; everything else stays what it is. */
export function storageError(cause: unknown): Error {
  if (isFull(cause)) return new SpoolFull("the disk of dataDir is full", { cause });
  const code = resultCode(cause);
  if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB)
    return new Error("the database in dataDir is damaged; stop serve and see docs/SPOOL.md, By hand", { cause });
  if (code === SQLITE_IOERR) return new Error("the disk of dataDir cannot be read or written", { cause });
  if (code === SQLITE_BUSY) return new Error(LOCKED, { cause });
  if (["EMFILE", "ENFILE"].includes(String((cause as { code?: unknown }).code)))
    return new Error("no file can be opened: raise the limit of open files (LimitNOFILE, ulimit -n)", { cause });
  return asError(cause);
}

/** Whether the system or SQLite says that there is no room. */
export function isFull(cause: unknown): boolean {
  const { code } = cause as { code?: unknown };
  return resultCode(cause) === SQLITE_FULL || code === "ENOSPC" || code === "EDQUOT";
}

/** Whether SQLite says it, rather than our own code. */
export function isOfSqlite(cause: unknown): boolean {
  return resultCode(cause) !== undefined;
}

/** Whether another process holds the write lock. */
export function isBusy(cause: unknown): boolean {
  return resultCode(cause) === SQLITE_BUSY;
}

/** SQLite's primary result code; undefined for other errors. */
function resultCode(cause: unknown): number | undefined {
  const { errcode } = cause as { errcode?: unknown };
  return typeof errcode !== "number" ? undefined : errcode & 0xff;
}
