// BKS: BouncyCastle's key store, versions 1 and 2. Certificates lie in clear; a password only proves integrity.
//
//   i32 version . i32 saltLength . salt . i32 iterations . ENTRIES . u8 0 . 20 octets HMAC-SHA1 over ENTRIES and the 0
//   ENTRY: u8 type . text alias . i64 date . i32 chainLength . chainLength certificate records . body
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { Malformed } from "./der.ts";
import { JavaStoreCursor, shownAlias, takeCertificate } from "./java-store.ts";
import { StoreEntries, UnreadableStore, type OpenedStore } from "./store-contents.ts";

const MAC_BYTES = 20;
const MAX_SALT_BYTES = 1024;
/** BouncyCastle writes 1024 to 2047; more would only keep the processor busy. */
const MAX_ITERATIONS = 65_536;
const ENTRY = { certificate: 1, key: 2, secret: 3, sealed: 4 } as const;

type BksHeader = {
  readonly version: 1 | 2;
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly size: number;
};

/** The header, or undefined when these octets are no BKS store (nor UBER, which starts the same way). */
export function readBksHeader(bytes: Uint8Array): BksHeader | undefined {
  try {
    const cursor = new JavaStoreCursor(bytes, 0);
    const version = cursor.int32();
    if (version !== 1 && version !== 2) return undefined;
    const saltLength = cursor.int32();
    if (saltLength < 1 || saltLength > MAX_SALT_BYTES) return undefined;
    const salt = cursor.take(saltLength);
    const iterations = cursor.int32();
    return iterations < 1 ? undefined : { version, salt, iterations, size: cursor.position };
  } catch (cause) {
    if (cause instanceof Malformed) return undefined;
    throw cause;
  }
}

/**
 * Reads the certificates of a BKS store, those of private keys' chains included. With a password the integrity is verified;
 * without one the notes say that it was not. Throws UnreadableStore, also when the password is wrong.
 */
export function readBks(bytes: Uint8Array, password?: string): OpenedStore {
  const header = readBksHeader(bytes);
  if (header === undefined) throw new UnreadableStore("this is not a BKS key store");
  const entries = new StoreEntries();
  const end = readEntries(bytes, header, entries);
  if (password === undefined) entries.notes.push("integrity not checked, for no password is set");
  else verifyIntegrity(bytes, header, end, password);
  if (header.version === 1) {
    // the MAC key of version 1 has 16 bits: the size in bits was taken for octets (CVE-2018-5382)
    entries.notes.push("BKS version 1 cannot prove integrity; export it as PKCS#7 or BKS version 2");
  }
  return entries.contents(`BKS version ${header.version}`);
}

/** Gives the position behind the 0 that ends the entries. */
function readEntries(bytes: Uint8Array, header: BksHeader, entries: StoreEntries): number {
  const cursor = new JavaStoreCursor(bytes, header.size);
  let count = 0;
  try {
    for (let type = cursor.uint8(); type !== 0; type = cursor.uint8()) {
      readEntry(cursor, type, entries);
      count += 1;
    }
    if (cursor.left !== MAC_BYTES) throw new Malformed(`has ${cursor.left} octets where the MAC should be`);
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause;
    if (header.version === 1 && count === 0) {
      throw new UnreadableStore(
        "this is a BouncyCastle UBER key store, which is encrypted as a whole, or a damaged BKS key store; export it with " +
          "keytool -importkeystore -srcstoretype UBER -deststoretype BKS",
        { cause },
      );
    }
    const where = `after entry ${count}: ${cause.message}`;
    throw new UnreadableStore(`this BKS key store is damaged or cut short ${where}`, { cause });
  }
  return cursor.position;
}

function readEntry(cursor: JavaStoreCursor, type: number, entries: StoreEntries): void {
  const alias = shownAlias(cursor.text());
  cursor.take(8); // date
  const chainLength = cursor.int32();
  if (chainLength < 0 || chainLength > cursor.left) throw new Malformed(`${alias} has a chain of ${chainLength}`);
  for (let index = 0; index < chainLength; index += 1) addCertificate(cursor, alias, entries);
  switch (type) {
    case ENTRY.certificate:
      addCertificate(cursor, alias, entries);
      return;
    case ENTRY.key:
      cursor.take(1); // private, public or secret
      cursor.text(); // format
      cursor.text(); // algorithm
      break;
    case ENTRY.secret:
    case ENTRY.sealed:
      break;
    default:
      throw new Malformed(`${alias} is of the unknown type ${type}`);
  }
  cursor.takeCounted();
  entries.addPrivateKey();
}

function addCertificate(cursor: JavaStoreCursor, alias: string, entries: StoreEntries): void {
  const { type, der } = takeCertificate(cursor);
  if (type === "X.509") entries.addCertificate(alias, der);
  else entries.addFault(alias, `certificate of type ${JSON.stringify(type.slice(0, 40))}, not X.509`);
}

function verifyIntegrity(bytes: Uint8Array, header: BksHeader, end: number, password: string): void {
  if (header.iterations > MAX_ITERATIONS) {
    throw new UnreadableStore(
      `this BKS key store asks for ${header.iterations} iterations, more than ${MAX_ITERATIONS}`,
    );
  }
  const key = macKey(password, header).subarray(0, header.version === 1 ? 2 : MAC_BYTES);
  const mac = createHmac("sha1", key).update(bytes.subarray(header.size, end)).digest();
  if (!timingSafeEqual(mac, bytes.subarray(end))) {
    throw new UnreadableStore(
      "the integrity check of this BKS key store failed: its password is wrong or it was changed",
    );
  }
}

/** PKCS#12 key derivation with SHA-1 for MAC keys (RFC 7292 B.2, id 3): the first block, which is all that is needed. */
function macKey(password: string, header: BksHeader): Buffer {
  const blockBytes = 64;
  const repeated = (value: Uint8Array) =>
    Buffer.alloc(Math.ceil(value.length / blockBytes) * blockBytes, Buffer.from(value));
  const bmpPassword = Buffer.from(`${password}\0`, "utf16le").swap16();
  let digest = createHash("sha1")
    .update(Buffer.alloc(blockBytes, 3))
    .update(repeated(header.salt))
    .update(repeated(bmpPassword))
    .digest();
  for (let round = 1; round < header.iterations; round += 1) digest = createHash("sha1").update(digest).digest();
  return digest;
}
