// Secret key: the file whose 256 bits seal the spool; made once, readable by its owner only.
import { createHmac, createSecretKey, randomBytes, timingSafeEqual, type KeyObject } from "node:crypto";
import { constants, link, mkdir, open, rm, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";

const KEY_BYTES = 32;
/** base64 of 32 octets, one line. Text survives copy and paste and the secret stores of orchestrators. */
const KEY_TEXT = /^[A-Za-z0-9+/]{43}=\n?$/;
const MAX_FILE_BYTES = 64;

/**
 * Reads the secret key; `mayMake` makes it, mode 0600, when there is no file. Pass true only when nothing was sealed yet:
 * a new key beside an old spool would make every waiting message unreadable. Throws a sentence for the operator when the
 * file is missing, not a regular file, readable by group or others, or no key.
 */
export async function loadSecretKey(path: string, mayMake: boolean): Promise<KeyObject> {
  const existing = await readSecretKey(path);
  if (existing !== undefined) return existing;
  if (!mayMake)
    throw new Error(
      `the secret key ${path} is missing and the spool was sealed with it; put it back or set secretKeyFile`,
    );
  await makeSecretKey(path);
  const made = await readSecretKey(path);
  if (made === undefined) throw new Error(`the secret key ${path} was removed while it was made; see secretKeyFile`);
  return made;
}

/** Tells two secret keys apart without telling anything about them; kept in the database. */
export function keyCheckValue(secretKey: KeyObject): string {
  return createHmac("sha256", secretKey).update("sealpost key check 1").digest("hex");
}

export function isKeyOf(secretKey: KeyObject, checkValue: string): boolean {
  const own = Buffer.from(keyCheckValue(secretKey));
  const other = Buffer.from(checkValue);
  return own.length === other.length && timingSafeEqual(own, other);
}

/** The key in this file, undefined when there is no such file. Throws as loadSecretKey does. */
export async function readSecretKey(path: string): Promise<KeyObject | undefined> {
  let file: FileHandle;
  try {
    // O_NONBLOCK: opening a FIFO without a writer would otherwise never return
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new Error(`the secret key ${path} cannot be read; see secretKeyFile`, { cause });
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Error(`the secret key ${path} is not a regular file; see secretKeyFile`);
    if ((stat.mode & 0o077) !== 0)
      throw new Error(
        `the secret key ${path} is open to group or others (mode ${(stat.mode & 0o777).toString(8)}); chmod 600 it, or see secretKeyFile`,
      );
    if (stat.size > MAX_FILE_BYTES) throw notAKey(path);
    const text = await file.readFile("latin1");
    if (!KEY_TEXT.test(text)) throw notAKey(path);
    return createSecretKey(Buffer.from(text, "base64"));
  } finally {
    await file.close();
  }
}

function notAKey(path: string): Error {
  return new Error(`the secret key ${path} is not one line of base64 of ${KEY_BYTES} octets; see secretKeyFile`);
}

/** The file appears under its name only when it is whole; of two makers one wins and both use its key. */
async function makeSecretKey(path: string): Promise<void> {
  const folder = dirname(path);
  const unfinished = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = await open(unfinished, "wx", 0o600);
    try {
      await file.writeFile(`${randomBytes(KEY_BYTES).toString("base64")}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(unfinished, path).catch((cause: unknown) => {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause;
    });
    await rm(unfinished);
    await syncFolder(folder);
  } catch (cause) {
    await rm(unfinished, { force: true });
    throw new Error(`the secret key ${path} cannot be made; see secretKeyFile`, { cause });
  }
}

/** Makes the names in a folder durable, as fsync of a file makes its octets durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
