// A file of OpenPGP keys, whatever its form: armored, binary, legacy with trust packets, keybox. Recognised by content.
import { setImmediate } from "node:timers/promises";
import { asError } from "../as-error.ts";
import { decodeArmor } from "./armor.ts";
import { claimedIn, readPgpCertificate, type PgpCertificate } from "./certificate.ts";
import { isKeybox, readKeybox } from "./keybox.ts";
import { readPacket, TAG } from "./packets.ts";
import { findPrimaryKey, splitRing } from "./ring.ts";
import { isPrimaryKey, mergedKey, minimalKey, primaryFingerprint, UselessKey } from "./transferable-key.ts";

export type KeyringContents =
  | {
      readonly kind: "ring";
      /** For people: "armored", "binary", "keybox". */
      readonly format: string;
      readonly certificates: readonly PgpCertificate[];
      /** DER of the X.509 certificates in a keybox. */
      readonly x509: readonly Uint8Array[];
      /** Number of secret keys, which were not used. */
      readonly secretKeys: number;
      readonly faults: readonly KeyringFault[];
      readonly notes: readonly string[];
    }
  /** `reason` is a sentence saying what it is and how to make a key store of it. */
  | { readonly kind: "unreadable"; readonly reason: string };

export type KeyringFault = {
  readonly entry: string;
  readonly reason: string;
  /** Nothing that cannot be read of this key could matter: it serves nobody here. */
  readonly isSettled?: true;
  /** Of a key that is not used for this reason, although another copy of it could be read. */
  readonly droppedKey?: string;
  /** Addresses that such a key claims, of which it is not known whether it serves them. Not verified. */
  readonly claimedAddresses?: readonly string[];
};

type WhyNot = Pick<KeyringFault, "reason" | "isSettled">;

/** Why a copy of a key cannot be read, and the addresses in its User IDs as far as they can be. */
type LostCopy = { readonly reason: string; readonly addresses: readonly string[] };

/** All readable copies of one key as one, in minimal form; `entry` is the place of the first. */
type Copies = { readonly entry: string; readonly bytes: Uint8Array; readonly isMerged: boolean };

const MAX_FILE_BYTES = 64 * 1024 * 1024;
const MAX_KEYS = 100_000;
const EXPORT = "export the keys with gpg --export --armor";
const RENAME = "write the keys to a new file and rename that to this one when it is whole";

/**
 * Reads every key that can be read and names every one that cannot; one bad key never hides another. Copies of one key are made
 * one, so that a revocation in either counts; when one of them cannot be read, it may hold a revocation: the key is not used.
 * A file that ends within a key, as one that is being written does, is unreadable: what is missing of it is not absent. Keys are judged at `now`. Gives way to other work after each key and each of its signatures. Never throws.
 */
export async function readKeyring(bytes: Uint8Array, now: number): Promise<KeyringContents> {
  if (bytes.length === 0) return unreadable(`the file is empty; ${EXPORT}`);
  if (bytes.length > MAX_FILE_BYTES) return unreadable(`the file has ${bytes.length} octets; at most 64 MiB are read`);
  const reading = new Reading(now);
  if (isKeybox(bytes)) {
    const keybox = readKeybox(bytes);
    if (keybox.isCutShort) return cutShort("its last blob is not whole");
    reading.faults.push(...keybox.faults);
    for (const keyblock of keybox.keyblocks) await reading.ring(keyblock.bytes, keyblock.entry);
    return reading.contents("keybox", keybox.x509);
  }
  const first = readPacket(bytes, 0);
  if (!("fault" in first) && isPrimaryKey(first.tag) && (bytes[first.bodyStart] ?? 255) <= 6)
    return readBinary(bytes, reading);
  const text = textOf(bytes);
  if (/^-----BEGIN PGP /m.test(text)) return readArmored(text, reading);
  if (findPrimaryKey(bytes, 0) === bytes.length) return unreadable(whatItIs(bytes, text));
  return readBinary(bytes, reading);
}

async function readBinary(bytes: Uint8Array, reading: Reading): Promise<KeyringContents> {
  const { isCutShort } = await reading.ring(bytes, "");
  return isCutShort ? cutShort("its last packet is not whole") : reading.contents("binary", []);
}

async function readArmored(text: string, reading: Reading): Promise<KeyringContents> {
  const { blocks, faults, isCutShort } = decodeArmor(text);
  const all = [...blocks, ...faults].sort((a, b) => a.line - b.line);
  const isOfKeys = (type: string) => type === "PUBLIC KEY BLOCK" || type === "PRIVATE KEY BLOCK";
  if (!all.some(({ type }) => isOfKeys(type)))
    return unreadable(`the file holds an OpenPGP ${all[0]?.type.toLowerCase() ?? "armor"} and no key; ${EXPORT}`);
  if (isCutShort) return cutShort("its last block has no END line");
  for (const block of all) {
    const entry = `block at line ${block.line}`;
    if ("reason" in block) reading.faults.push({ entry, reason: block.reason });
    if (!isOfKeys(block.type)) {
      if (!("reason" in block))
        reading.faults.push({ entry, reason: `it is a ${block.type.toLowerCase()} and not a key` });
    } else if (block.bytes !== undefined) await reading.ring(block.bytes, entry);
    else if ("reason" in block) reading.loseAll(remnantOf(text, block.line), block.reason);
  }
  return reading.contents("armored", []);
}

/** What the damaged block at this line holds, as far as it is base64: good enough to say whose keys are lost. */
function remnantOf(text: string, line: number): Uint8Array {
  const [body = ""] = text.split("\n").slice(line).join("\n").split("-----", 1);
  return Buffer.from(body.replace(/^.*:.*$/gm, "").replace(/^=.*$/gm, ""), "base64");
}

/** What has been read so far of one file. */
class Reading {
  readonly faults: KeyringFault[] = [];
  /** By fingerprint. */
  readonly #copies = new Map<string, Copies>();
  /** By fingerprint. */
  readonly #lost = new Map<string, LostCopy>();
  readonly #now: number;
  #keys = 0;
  #secretKeys = 0;

  constructor(now: number) {
    this.#now = now;
  }

  /** Takes in the keys of one binary ring. `where` tells its place in the file. `isCutShort`: it ends within a packet. */
  async ring(bytes: Uint8Array, where: string): Promise<{ readonly isCutShort: boolean }> {
    let isCutShort = false;
    for (const part of splitRing(bytes)) {
      const entry = [where, `key at octet ${part.start}`].filter((text) => text !== "").join(", ");
      if (this.#keys >= MAX_KEYS) {
        this.faults.push({ entry, reason: `at most ${MAX_KEYS} keys are read` });
        break;
      }
      isCutShort = part.kind === "fault" && part.isCutShort === true;
      const own = bytes.subarray(part.start, part.end);
      const fault = part.kind === "fault" ? { reason: part.reason } : await this.#key(own, entry);
      if (fault !== undefined) this.#lose(own, { entry, ...fault });
      if (part.kind === "key") await this.#swallowed(bytes, part.start + 1, part.end, entry);
    }
    return { isCutShort };
  }

  /** A damaged length can make one key swallow the next: takes in the keys that begin within another, from `from` to `to`. */
  async #swallowed(bytes: Uint8Array, from: number, to: number, entry: string): Promise<void> {
    const start = findPrimaryKey(bytes, from, to);
    if (start === to) return;
    for (const part of splitRing(bytes.subarray(start))) {
      if (start + part.start >= to) return;
      if (part.kind === "key") await this.#key(bytes.subarray(start + part.start, start + part.end), entry);
    }
  }

  /** Takes in one copy of a key; gives the reason when it cannot be read. */
  async #key(keyBytes: Uint8Array, entry: string): Promise<WhyNot | undefined> {
    await setImmediate();
    this.#keys++;
    if (isSecretKey(keyBytes)) this.#secretKeys++;
    try {
      const { bytes, fingerprint } = minimalKey(keyBytes);
      const known = this.#copies.get(fingerprint);
      if (known === undefined) this.#copies.set(fingerprint, { entry, bytes, isMerged: false });
      else if (Buffer.compare(known.bytes, bytes) !== 0)
        this.#copies.set(fingerprint, { ...known, bytes: mergedKey(known.bytes, bytes), isMerged: true });
      return undefined;
    } catch (cause) {
      return whyNot(cause);
    }
  }

  /** Marks all keys in a ring that is not to be trusted. */
  loseAll(bytes: Uint8Array, reason: string) {
    for (const { start, end } of splitRing(bytes)) {
      this.#mark(bytes.subarray(start, end), reason);
    }
  }

  #lose(keyBytes: Uint8Array, fault: KeyringFault) {
    this.faults.push(fault);
    this.#mark(keyBytes, fault.reason);
  }

  #mark(keyBytes: Uint8Array, reason: string) {
    const fingerprint = primaryFingerprint(keyBytes);
    if (fingerprint === undefined) return;
    const before = this.#lost.get(fingerprint)?.addresses ?? [];
    this.#lost.set(fingerprint, { reason, addresses: [...before, ...claimedIn(keyBytes)] });
  }

  async contents(format: string, x509: readonly Uint8Array[]): Promise<KeyringContents> {
    const notes =
      this.#secretKeys === 0
        ? []
        : [
            `the file contains secret keys (${this.#secretKeys}); only their public halves are used; take them out of the relay's reach`,
          ];
    const certificates: PgpCertificate[] = [];
    for (const [fingerprint, { entry, bytes, isMerged }] of this.#copies) {
      await setImmediate();
      const lost = this.#lost.get(fingerprint);
      if (lost !== undefined) {
        const reason = `another copy of key ${fingerprint} cannot be read: ${lost.reason}`;
        const claimedAddresses = [...claimedIn(bytes), ...lost.addresses];
        this.faults.push({ entry, reason, droppedKey: fingerprint, claimedAddresses });
        continue;
      }
      try {
        certificates.push(await readPgpCertificate(bytes, this.#now));
      } catch (cause) {
        const dropped = { droppedKey: fingerprint, claimedAddresses: claimedIn(bytes) };
        this.faults.push({ entry, ...whyNot(cause), ...(isMerged ? dropped : {}) });
      }
    }
    return { kind: "ring", format, certificates, x509, secretKeys: this.#secretKeys, faults: this.faults, notes };
  }
}

function whyNot(cause: unknown): WhyNot {
  const reason = asError(cause).message;
  return cause instanceof UselessKey ? { reason, isSettled: true } : { reason };
}

function isSecretKey(keyBytes: Uint8Array): boolean {
  const first = readPacket(keyBytes, 0);
  return !("fault" in first) && first.tag === TAG.secretKey;
}

function unreadable(reason: string): KeyringContents {
  return { kind: "unreadable", reason };
}

function cutShort(what: string): KeyringContents {
  return unreadable(`the file is cut short: ${what}; ${RENAME}`);
}

function textOf(bytes: Uint8Array): string {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  // PowerShell's redirection writes UTF-16
  const isUtf16 = view[0] === 0xff && view[1] === 0xfe;
  return isUtf16 ? view.toString("utf16le", 2) : view.toString("latin1").replace(/^\u00ef\u00bb\u00bf/, "");
}

function whatItIs(bytes: Uint8Array, text: string): string {
  if (text.startsWith("SQLite format 3")) return `the file is an SQLite database, perhaps GnuPG's (keyboxd); ${EXPORT}`;
  if (text.startsWith("\u0001gpg")) return `the file is GnuPG's trust database, which holds no keys; ${EXPORT}`;
  if (/^-----BEGIN (?:CERTIFICATE|PKCS7|CMS)-----/m.test(text))
    return `the file holds X.509 certificates, which belong into the S/MIME key store; for OpenPGP, ${EXPORT}`;
  if (/^\s*<(?:!doctype|html)/i.test(text.slice(0, 200))) return `the file is a web page; ${EXPORT}`;
  const first = readPacket(bytes, 0);
  if (!("fault" in first) && [1, 2, 3, 4, 8, 9, 11, 18, 20].includes(first.tag))
    return `the file is an OpenPGP message or signature and not a key; ${EXPORT}`;
  return `the file is no OpenPGP key store: neither armored nor binary keys nor a keybox; ${EXPORT}`;
}
