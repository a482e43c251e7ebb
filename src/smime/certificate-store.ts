// Reads certificates out of a file of any known format, told by its content and never by its name.
import { setImmediate } from "node:timers/promises";
import { readBks, readBksHeader } from "./bks.ts";
import { derKind, looksLikeDer, onlyElement, PRIVATE_KEY } from "./der-kind.ts";
import { Malformed, type Element } from "./der.ts";
import { jksFormat, readJks } from "./jks.ts";
import { readP7b } from "./p7b.ts";
import { fromBase64, pemBlocks, type PemBlock } from "./pem.ts";
import {
  MAX_STORE_BYTES,
  parseStore,
  StoreEntries,
  UnreadableStore,
  type OpenedStore,
  type ReadStore,
  type StoreContents,
} from "./store-contents.ts";

export type { ReadStore, StoreContents };

/**
 * Reads PKCS#7 (DER, BER, PEM, base64), certificates (DER, PEM, base64), BKS, JKS and JCEKS. A broken certificate becomes a
 * fault; a file whose frame is broken or cut short is unreadable, so that a half-written file never looks like a shorter one.
 * The password serves to verify the integrity of BKS, JKS and JCEKS; none is needed to read them.
 */
export function readCertificateStore(bytes: Uint8Array, password?: string): StoreContents {
  try {
    const parsing = parseStore(open(bytes, password));
    for (;;) {
      const step = parsing.next();
      if (step.done === true) return step.value;
    }
  } catch (cause) {
    return unreadable(cause);
  }
}

/** So many certificates are parsed before other work has its turn: some 2 ms. */
const PARSED_AT_ONCE = 50;

/** As readCertificateStore, giving way to other work: a store of 100,000 certificates takes seconds. */
export async function readLargeCertificateStore(bytes: Uint8Array, password?: string): Promise<StoreContents> {
  try {
    const parsing = parseStore(open(bytes, password));
    for (let count = 1; ; count++) {
      const step = parsing.next();
      if (step.done === true) return step.value;
      if (count % PARSED_AT_ONCE === 0) await setImmediate();
    }
  } catch (cause) {
    return unreadable(cause);
  }
}

function unreadable(cause: unknown): StoreContents {
  if (cause instanceof UnreadableStore) return { kind: "unreadable", reason: cause.message };
  throw cause;
}

function open(bytes: Uint8Array, password: string | undefined): OpenedStore {
  if (bytes.length > MAX_STORE_BYTES) {
    throw new UnreadableStore(`this file has ${bytes.length} octets, more than ${MAX_STORE_BYTES}`);
  }
  if (bytes.every((octet) => octet === 0x20 || (octet >= 0x09 && octet <= 0x0d))) {
    throw new UnreadableStore("this file is empty");
  }
  if (jksFormat(bytes) !== undefined) return readJks(bytes, password);
  if (readBksHeader(bytes) !== undefined) return readBks(bytes, password);
  if (looksLikeDer(bytes)) return readDer(bytes, undefined);
  // without the byte order mark that some editors put before UTF-8
  const text = Buffer.from(bytes)
    .toString("latin1")
    .replace(/^\xef\xbb\xbf/, "");
  if (text.startsWith("-----BEGIN ") || text.includes("\n-----BEGIN ")) return readPem(text);
  const decoded = fromBase64(text);
  if (decoded !== undefined && looksLikeDer(decoded)) return readDer(decoded, "base64");
  throw new UnreadableStore(unknownReason(bytes));
}

function readDer(bytes: Uint8Array, encoding: "base64" | undefined): OpenedStore {
  let outer: Element;
  try {
    outer = onlyElement(bytes);
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause;
    throw new UnreadableStore(`this file is damaged or cut short: ${cause.message}`, { cause });
  }
  const kind = derKind(outer);
  if (typeof kind === "object") throw new UnreadableStore(kind.refusal);
  const entries = new StoreEntries();
  if (kind === "pkcs7") readP7b(bytes, "", entries);
  else entries.addCertificate("certificate", bytes);
  const written = encoding ?? (outer.end === outer.contentEnd ? "DER" : "BER");
  return entries.contents(`${kind === "pkcs7" ? "PKCS#7" : "certificate"} (${written})`);
}

function readPem(text: string): OpenedStore {
  const entries = new StoreEntries();
  let isPkcs7 = false;
  let number = 0;
  let unclosed: string | undefined;
  for (const block of pemBlocks(text)) {
    number += 1;
    if (block.label.startsWith("PGP ")) throw new UnreadableStore(OPENPGP);
    if (unclosed !== undefined) entries.addFault(unclosed, "its END line is missing");
    unclosed = block.isClosed ? undefined : `block ${number}`;
    if (block.isClosed) isPkcs7 = addBlock(block, `block ${number}`, entries) || isPkcs7;
  }
  // not a fault: the rest of the file may be missing too
  if (unclosed !== undefined) throw new UnreadableStore(`this PEM file is cut short: ${unclosed} has no END line`);
  if (entries.privateKeys > 0 && entries.count === 0) {
    throw new UnreadableStore(PRIVATE_KEY);
  }
  if (number === 0) throw new UnreadableStore(UNKNOWN);
  return entries.contents(`${isPkcs7 ? "PKCS#7" : "certificates"} (PEM)`);
}

/** Gives whether the block is PKCS#7: its label says little, for everything is seen under every label. */
function addBlock(block: PemBlock, name: string, entries: StoreEntries): boolean {
  if (block.label.endsWith("PRIVATE KEY")) {
    entries.addPrivateKey();
    return false;
  }
  if (block.der === undefined) {
    entries.addFault(name, "its text is not base64");
    return false;
  }
  try {
    const kind = derKind(onlyElement(block.der));
    if (kind === "pkcs7") readP7b(block.der, `${name}, `, entries);
    else if (kind === "certificate") entries.addCertificate(name, block.der);
    else entries.addFault(name, kind.refusal);
    return kind === "pkcs7";
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause;
    entries.addFault(name, `damaged: ${cause.message}`);
    return false;
  }
}

const OPENPGP = "this is an OpenPGP key ring, which holds no certificates for S/MIME; it belongs into pgp.keyStore";
const KEYBOX = "this is a GnuPG keybox; export its certificates with gpgsm --armor --export";
const UNKNOWN = "this is no file of certificates known here: PKCS#7 (DER, PEM, base64), PEM, BKS, JKS";

function unknownReason(bytes: Uint8Array): string {
  if (Buffer.from(bytes.subarray(8, 12)).toString("latin1") === "KBXf") return KEYBOX;
  // packet headers of a public or secret key, old and new format (RFC 9580 4.2)
  if ([0x94, 0x95, 0x98, 0x99, 0xc5, 0xc6].includes(bytes[0] ?? 0)) return OPENPGP;
  return UNKNOWN;
}
