// JKS and JCEKS: Java's old key stores. Certificates lie in clear; a password only proves integrity.
//
//   u32 magic . i32 version 2 . i32 count . ENTRIES . 20 octets SHA-1 over password, "Mighty Aphrodite" and all before
//   ENTRY: i32 tag . text alias . i64 date . tag 1: counted private key, i32 n, n certificate records; tag 2: one record
import { createHash, timingSafeEqual } from "node:crypto";
import { Malformed } from "./der.ts";
import { JavaStoreCursor, shownAlias, takeCertificate } from "./java-store.ts";
import { StoreEntries, UnreadableStore, type OpenedStore } from "./store-contents.ts";

const FORMATS: ReadonlyMap<number, "JKS" | "JCEKS"> = new Map([
  [0xfeedfeed, "JKS"],
  [0xcececece, "JCEKS"],
]);
const HEADER_BYTES = 12;
const DIGEST_BYTES = 20;
const TAG_PRIVATE_KEY = 1;
const TAG_CERTIFICATE = 2;
const TAG_SECRET_KEY = 3;

/** `JKS`, `JCEKS` or undefined, from the first octets. */
export function jksFormat(bytes: Uint8Array): "JKS" | "JCEKS" | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  return FORMATS.get(new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(0));
}

/**
 * Reads the certificates of a JKS or JCEKS store, those of private keys' chains included. With a password the integrity is
 * verified; without one the notes say that it was not. A secret key in JCEKS is a serialised Java object of unknown length:
 * what follows it is a fault. Throws UnreadableStore, also when the password is wrong.
 */
export function readJks(bytes: Uint8Array, password?: string): OpenedStore {
  const format = jksFormat(bytes);
  if (format === undefined) throw new UnreadableStore("this is not a JKS key store");
  const entries = new StoreEntries();
  try {
    readEntries(bytes, format, entries);
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause;
    throw new UnreadableStore(`this ${format} key store is damaged or cut short: ${cause.message}`, { cause });
  }
  if (password === undefined) entries.notes.push("integrity not checked, for no password is set");
  else verifyIntegrity(bytes, format, password);
  return entries.contents(format);
}

function readEntries(bytes: Uint8Array, format: string, entries: StoreEntries): void {
  const cursor = new JavaStoreCursor(bytes.subarray(0, Math.max(bytes.length - DIGEST_BYTES, HEADER_BYTES)), 4);
  const version = cursor.int32();
  if (version !== 2) throw new Malformed(`version ${version} is not known`);
  const count = cursor.int32();
  if (count < 0) throw new Malformed(`${count} entries announced`);
  for (let index = 0; index < count; index += 1) {
    const tag = cursor.int32();
    const alias = shownAlias(cursor.text());
    cursor.take(8); // date
    if (tag === TAG_SECRET_KEY && format === "JCEKS") {
      const rest = `this and the ${count - index - 1} entries after it cannot be read`;
      entries.addFault(alias, `a secret key; ${rest}; export the certificates as PKCS#7`);
      return;
    }
    if (tag === TAG_CERTIFICATE) addCertificate(cursor, alias, entries);
    else if (tag === TAG_PRIVATE_KEY) readPrivateKeyEntry(cursor, alias, entries);
    else throw new Malformed(`${alias} is of the unknown type ${tag}`);
  }
  if (cursor.left > 0) throw new Malformed(`${cursor.left} octets follow the last entry`);
}

function readPrivateKeyEntry(cursor: JavaStoreCursor, alias: string, entries: StoreEntries): void {
  cursor.takeCounted();
  entries.addPrivateKey();
  const chainLength = cursor.int32();
  if (chainLength < 0 || chainLength > cursor.left) throw new Malformed(`${alias} has a chain of ${chainLength}`);
  for (let index = 0; index < chainLength; index += 1) addCertificate(cursor, alias, entries);
}

function addCertificate(cursor: JavaStoreCursor, alias: string, entries: StoreEntries): void {
  const { type, der } = takeCertificate(cursor);
  if (type === "X.509") entries.addCertificate(alias, der);
  else entries.addFault(alias, `certificate of type ${JSON.stringify(type.slice(0, 40))}, not X.509`);
}

function verifyIntegrity(bytes: Uint8Array, format: string, password: string): void {
  const end = bytes.length - DIGEST_BYTES;
  const digest = createHash("sha1")
    .update(Buffer.from(password, "utf16le").swap16())
    .update("Mighty Aphrodite")
    .update(bytes.subarray(0, end))
    .digest();
  if (!timingSafeEqual(digest, bytes.subarray(end))) {
    throw new UnreadableStore(
      `the integrity check of this ${format} key store failed: its password is wrong or it was changed`,
    );
  }
}
