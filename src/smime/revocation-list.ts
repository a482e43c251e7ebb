// Revocation list: one CRL, read once: whose it is, how long it holds, which serial numbers it revokes (RFC 5280 5).
import { setImmediate } from "node:timers/promises";
import { readExtension } from "./certificate-extensions.ts";
import { readTime, type Certificate } from "./certificate.ts";
import { issuerKey } from "./certification-path.ts";
import { contentOf, DerSequence, encodingOf, Malformed, oidOf, readDerElement, TAG, type Element } from "./der.ts";
import { readDistinguishedName } from "./distinguished-name.ts";
import { comparableName } from "./name-constraints.ts";
import { pemBlocks } from "./pem.ts";
import { readSignatureDigest } from "./signature-digest.ts";
import { isSignature, readSignatureScheme, type SignatureDigest, type SignatureScheme } from "./signature-scheme.ts";

/** A full list of one CA's revoked certificates. It keeps the octets that it was read from. Times: ms since 1970. */
export type RevocationList = {
  /** For people, e.g. `CN=Issuing CA,O=Example`. */
  readonly issuer: string;
  /** The issuer's name as it is compared; see comparableName. */
  readonly issuerName: string;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** Serial numbers (see serialKey) to where in `der` their revocation date lies. */
  readonly revoked: ReadonlyMap<string, number>;
  readonly der: Uint8Array;
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
  readonly scheme: SignatureScheme;
};

/** All of a list but whom it revokes. */
export type RevocationListHead = Omit<RevocationList, "revoked">;

type OpenedList = { readonly head: RevocationListHead; readonly entries: Element | undefined };

const WHAT = "revocation list";
const BROKEN_ENTRY = "an entry of it is malformed";
const ISSUING_DISTRIBUTION_POINT = "2.5.29.28";
const DELTA_INDICATOR = "2.5.29.27";
const CERTIFICATE_ISSUER = "2.5.29.29";
/** Reason code, hold instruction, invalidity date, list number, authority key identifier, issuer's other names. */
const HARMLESS: ReadonlySet<string> = new Set(["21", "23", "24", "20", "35", "18"].map((arc) => `2.5.29.${arc}`));
const REFUSALS: ReadonlyMap<string, string> = new Map([
  [ISSUING_DISTRIBUTION_POINT, "may cover a part of the certificates only (issuingDistributionPoint)"],
  [DELTA_INDICATOR, "is a delta, which says nothing without its base"],
  [CERTIFICATE_ISSUER, "speaks for other issuers (indirect)"],
]);

/** Lists are signed by CAs, of which some are older than what mails may be signed with. */
const STRONG_DIGESTS: readonly SignatureDigest[] = ["sha224", "sha256", "sha384", "sha512", "shake256"];

/** So many entries are read before other work has its turn: some 40 ms. */
const ENTRIES_AT_ONCE = 20_000;

/**
 * Reads the list of a DER file, or all lists of a PEM file; at least one. A list that covers not all certificates of its
 * issuer, has no end or a weak signature is refused, and the file with it. Signatures are not verified: see isListOf. `admit`
 * sees the lists before any of their entries is read, and throws when they are not worth it. Rejects with Malformed, whose
 * message is a reason for people, and with what `admit` throws. Large lists give way to other work.
 */
export async function readRevocationLists(
  bytes: Uint8Array,
  admit: (heads: readonly [RevocationListHead, ...RevocationListHead[]]) => void = () => undefined,
): Promise<readonly [RevocationList, ...RevocationList[]]> {
  const [first, ...more] = openLists(bytes);
  admit([first.head, ...more.map(({ head }) => head)]);
  const lists: [RevocationList, ...RevocationList[]] = [await wholeList(first)];
  for (const list of more) lists.push(await wholeList(list));
  return lists;
}

function openLists(bytes: Uint8Array): readonly [OpenedList, ...OpenedList[]] {
  if (bytes[0] === TAG.sequence) return [openList(bytes)];
  const lists: OpenedList[] = [];
  for (const block of pemBlocks(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1"))) {
    if (block.label !== "X509 CRL") continue;
    if (block.der === undefined || !block.isClosed) throw new Malformed("this file is damaged or cut short");
    lists.push(openList(block.der));
  }
  const [first, ...rest] = lists;
  if (first === undefined) throw new Malformed("this is no revocation list, neither DER nor PEM");
  return [first, ...rest];
}

async function wholeList({ head, entries }: OpenedList): Promise<RevocationList> {
  const revoked = new Map<string, number>();
  if (entries === undefined) return { ...head, revoked };
  const { contentEnd } = entries;
  for (let at = entries.contentStart, count = 1; at < contentEnd; count++) {
    at = readEntry(entries.bytes, at, contentEnd, revoked);
    if (count % ENTRIES_AT_ONCE === 0) await setImmediate();
  }
  return { ...head, revoked };
}

function openList(der: Uint8Array): OpenedList {
  const outer = readDerElement(der);
  if (outer.tag !== TAG.sequence) throw new Malformed("this is no revocation list");
  if (outer.end !== der.length) throw new Malformed(`${der.length - outer.end} octets follow the end of the list`);
  const list = new DerSequence(outer, WHAT);
  const signed = list.take(TAG.sequence);
  const algorithm = list.take(TAG.sequence);
  const signature = contentOf(list.take(TAG.bitString));
  list.close();
  if (signature[0] !== 0) throw new Malformed("its signature is not a whole number of octets");

  const tbs = new DerSequence(signed, WHAT);
  tbs.takeIf(TAG.integer); // version
  if (Buffer.compare(encodingOf(tbs.take(TAG.sequence)), encodingOf(algorithm)) !== 0)
    throw new Malformed("it has two different signature algorithms");
  const issuer = tbs.take(TAG.sequence);
  const thisUpdate = readTime(tbs.takeAny(), WHAT);
  const end = tbs.takeIf(TAG.utcTime) ?? tbs.takeIf(TAG.generalizedTime);
  if (end === undefined) throw new Malformed("it does not say until when it holds (nextUpdate)");
  const entries = tbs.takeIf(TAG.sequence);
  const explicit = tbs.takeIf(0xa0);
  tbs.close();
  if (explicit !== undefined) readExtensions(new DerSequence(explicit, WHAT).take(TAG.sequence));
  const head = {
    issuer: readDistinguishedName(issuer).text,
    issuerName: comparableName(encodingOf(issuer)),
    thisUpdate,
    nextUpdate: readTime(end, WHAT),
    der,
    signed: encodingOf(signed),
    signature: signature.subarray(1),
    scheme: readScheme(algorithm),
  };
  return { head, entries };
}

/** `YYMMDDhhmmZ`, the shortest time that an entry may have (X.680 47.3). */
const SHORTEST_TIME = 11;

/**
 * Puts one entry into `revoked` and gives where the next one begins. A few hundred thousand are usual for a large CA: nothing is
 * read of them that is not needed.
 */
function readEntry(bytes: Uint8Array, at: number, limit: number, revoked: Map<string, number>): number {
  const entry = readDerElement(bytes, at, limit);
  const serial = readDerElement(bytes, entry.contentStart, entry.contentEnd);
  const date = readDerElement(bytes, serial.end, entry.contentEnd);
  const isTime = date.tag === TAG.utcTime || date.tag === TAG.generalizedTime;
  if (entry.tag !== TAG.sequence || serial.tag !== TAG.integer || !isTime) throw new Malformed(BROKEN_ENTRY);
  if (date.contentEnd - date.contentStart < SHORTEST_TIME) throw new Malformed(BROKEN_ENTRY);
  revoked.set(serialKey(contentOf(serial)), date.start);
  if (date.end < entry.contentEnd) readExtensions(readDerElement(bytes, date.end, entry.contentEnd));
  return entry.end;
}

/** Refuses what changes the meaning of a list or an entry. */
function readExtensions(extensions: Element): void {
  const list = new DerSequence(extensions, WHAT);
  while (list.hasMore()) {
    const { oid, isCritical } = readExtension(list.take(TAG.sequence));
    const refusal = REFUSALS.get(oid);
    if (refusal !== undefined) throw new Malformed(`it ${refusal}`);
    if (isCritical && !HARMLESS.has(oid)) throw new Malformed(`it has a critical extension that is not known (${oid})`);
  }
}

function readScheme(algorithm: Element): SignatureScheme {
  const name = readSignatureDigest(algorithm);
  const digest = STRONG_DIGESTS.find((one) => one === name);
  if (digest !== undefined) return readSignatureScheme(algorithm, digest);
  if (name !== "unknown") throw new Malformed(`it is signed with the weak digest ${name}`);
  const oid = oidOf(new DerSequence(algorithm, "signature algorithm").take(TAG.oid));
  throw new Malformed(`it is signed with an algorithm that is not known (${oid})`);
}

/** A serial number, INTEGER content octets, as text to compare. */
function serialKey(serial: Uint8Array): string {
  const text = Buffer.from(serial.buffer, serial.byteOffset, serial.length).toString("latin1");
  return text.replace(/^\0+(?=[^])/, "");
}

/** Since when (ms) a certificate of the list's issuer is revoked; undefined when it is not in the list. */
export function revokedSince(list: RevocationList, certificate: Certificate): number | undefined {
  const at = list.revoked.get(serialKey(certificate.serial));
  if (at === undefined) return undefined;
  try {
    return readTime(readDerElement(list.der, at), WHAT);
  } catch (cause) {
    // a broken date takes nothing back
    if (cause instanceof Malformed) return list.thisUpdate;
    throw cause;
  }
}

/**
 * Whether a CA made this list: its name, its right to (cRLSign), its signature (RFC 5280 6.3.3 f, g). Takes time in proportion
 * to the size of the list.
 */
export function isListOf(list: RevocationListHead, issuer: Certificate): boolean {
  if (issuer.keyUsage?.has("cRLSign") === false) return false;
  const key = issuerKey(issuer);
  if (key === undefined || comparableName(issuer.subjectDer) !== list.issuerName) return false;
  const { scheme, signed, signature } = list;
  return scheme.keyTypes.includes(key.asymmetricKeyType ?? "") && isSignature(scheme, signed, key, signature);
}
