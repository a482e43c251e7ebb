// Reads the shape of (Auth)EnvelopedData from its first octets: for whom it is and how long. Judges what enveloped-data writes.
//
// Nothing here is shared with the writer. Attributes and originator certificates are refused: they are not encrypted, so a
// structure that has them is more than ciphertext.
import {
  contentOf,
  elementsIn,
  encodingOf,
  Malformed,
  oidOf,
  readElement,
  readElementHeader,
  TAG,
  type Element,
} from "./der.ts";

export type EnvelopedShape = {
  readonly type: "enveloped" | "auth-enveloped";
  /**
   * One for each reader, in order: lower-case hex of the issuer Name, ":", hex of the serial number; or `ski:` and the hex of
   * a subjectKeyIdentifier; or `other` for a key or password that both sides know, and for kinds not known here.
   */
  readonly readerIds: readonly string[];
  /** OID of the content-encryption algorithm. */
  readonly contentEncryption: string;
  /** Octets of the whole structure; undefined when it is of indefinite length. */
  readonly totalSize: number | undefined;
  /** Where the content of encryptedContent begins. */
  readonly contentStart: number;
};

const TYPES: ReadonlyMap<string, EnvelopedShape["type"]> = new Map([
  ["1.2.840.113549.1.7.3", "enveloped"],
  ["1.2.840.113549.1.9.16.1.23", "auth-enveloped"],
]);
const MAX_READERS = 10_000;
/** Tags of AES-GCM, AES-CCM and Poly1305 are not longer; two more octets make it an element. */
const MAX_MAC_BYTES = 16;

/**
 * Reads a ContentInfo in BER or DER (RFC 5652 3, 6.1; RFC 5083 2.1). `head` must reach to the encrypted content and may stop
 * anywhere after. Throws an Error with the reason when it is anything else, or when definite lengths leave room for more than
 * ciphertext; what follows a content of indefinite length is for isWholeEnveloped to see.
 */
export function readEnvelopedShape(head: Uint8Array): EnvelopedShape {
  const contentInfo = open(head, 0, TAG.sequence, "ContentInfo");
  const contentType = readElement(head, contentInfo.start);
  const type = TYPES.get(oidOf(contentType));
  if (type === undefined) throw new Malformed(`content type ${oidOf(contentType)} is not encrypted`);
  const explicit = open(head, contentType.end, 0xa0, "content of ContentInfo");
  const enveloped = open(head, explicit.start, TAG.sequence, "EnvelopedData");
  const version = expectTag(readElement(head, enveloped.start), TAG.integer, "version");
  if (head[version.end] === 0xa0) throw new Malformed("originatorInfo is not encrypted");
  const recipients = expectTag(readElement(head, version.end), TAG.set, "recipientInfos");
  const inner = open(head, recipients.end, TAG.sequence, "EncryptedContentInfo");
  const innerType = expectTag(readElement(head, inner.start), TAG.oid, "contentType");
  const algorithm = expectTag(readElement(head, innerType.end), TAG.sequence, "contentEncryptionAlgorithm");
  const [algorithmOid] = elementsIn(algorithm);
  if (algorithmOid === undefined) throw new Malformed("contentEncryptionAlgorithm is empty");
  const content = open(head, algorithm.end, head[algorithm.end] === 0xa0 ? 0xa0 : 0x80, "encryptedContent");

  endsWith(contentInfo, explicit, 0);
  endsWith(explicit, enveloped, 0);
  endsWith(enveloped, inner, type === "enveloped" ? 0 : 2 + MAX_MAC_BYTES);
  endsWith(inner, content, 0);
  return {
    type,
    readerIds: readReaderIds(recipients),
    contentEncryption: oidOf(algorithmOid),
    totalSize: contentInfo.end,
    contentStart: content.start,
  };
}

/**
 * Whether the octets are one complete (Auth)EnvelopedData with encrypted content in it, and nothing before, after or beside
 * that could be read without a key. False when in doubt.
 */
export function isWholeEnveloped(bytes: Uint8Array): boolean {
  try {
    const { type } = readEnvelopedShape(bytes);
    const contentInfo = readElement(bytes);
    if (contentInfo.end !== bytes.length) return false;
    const [, explicit] = exactly(2, contentInfo);
    const [enveloped] = explicit === undefined ? [] : exactly(1, explicit);
    if (enveloped === undefined) return false;
    const [, , inner, mac] = exactly(type === "enveloped" ? 3 : 4, enveloped);
    if (inner === undefined || (mac !== undefined && !isMac(mac))) return false;
    const [, , content] = exactly(3, inner);
    return content !== undefined && octetsIn(content) > 0;
  } catch (cause) {
    if (cause instanceof Malformed) return false;
    throw cause;
  }
}

/** A constructed element of which the end may not be there yet. */
type Opened = { readonly name: string; readonly start: number; readonly end: number | undefined };

function open(bytes: Uint8Array, at: number, tag: number, name: string): Opened {
  const header = readElementHeader(bytes, at);
  if (header.tag !== tag) throw new Malformed(`no ${name} at octet ${at}`);
  const { contentStart: start, length } = header;
  return { name, start, end: length === undefined ? undefined : start + length };
}

/** The inner element must end where the outer does, `room` octets earlier at most; indefinite lengths cannot tell yet. */
function endsWith(outer: Opened, inner: Opened, room: number): void {
  if (outer.end === undefined || inner.end === undefined) return;
  const left = outer.end - inner.end;
  if (left < 0 || left > room) throw new Malformed(`${outer.name} does not end with ${inner.name}`);
}

function expectTag(element: Element, tag: number, name: string): Element {
  if (element.tag !== tag) throw new Malformed(`no ${name} at octet ${element.start}`);
  return element;
}

/** The elements in `parent`, of which there must be so many. */
function exactly(count: number, parent: Element): Element[] {
  const elements: Element[] = [];
  for (const element of elementsIn(parent)) {
    if (elements.length === count) throw new Malformed("more elements than there should be");
    elements.push(element);
  }
  if (elements.length < count) throw new Malformed("fewer elements than there should be");
  return elements;
}

function isMac(element: Element): boolean {
  return element.tag === TAG.octetString && contentOf(element).length <= MAX_MAC_BYTES;
}

/** Octets of a primitive or, in BER, segmented OCTET STRING. */
function octetsIn(content: Element): number {
  if (content.tag === 0x80) return content.contentEnd - content.contentStart;
  let sum = 0;
  for (const segment of elementsIn(content)) {
    sum += contentOf(expectTag(segment, TAG.octetString, "segment of encryptedContent")).length;
  }
  return sum;
}

function readReaderIds(recipients: Element): string[] {
  const ids: string[] = [];
  for (const recipient of elementsIn(recipients)) {
    ids.push(...idsOfRecipient(recipient));
    if (ids.length > MAX_READERS) throw new Malformed(`more than ${MAX_READERS} readers`);
  }
  if (ids.length === 0) throw new Malformed("no reader");
  return ids;
}

function idsOfRecipient(recipient: Element): string[] {
  if (recipient.tag === TAG.sequence) {
    const [version, reader] = exactly(4, recipient);
    if (version?.tag !== TAG.integer || reader === undefined) throw new Malformed("KeyTransRecipientInfo is malformed");
    return [idOf(reader)];
  }
  if (recipient.tag !== 0xa1) return ["other"];
  // KeyAgreeRecipientInfo: version, originator [0], ukm [1] OPTIONAL, algorithm, recipientEncryptedKeys
  const keys = [...elementsIn(recipient)].at(-1);
  if (keys?.tag !== TAG.sequence) throw new Malformed("KeyAgreeRecipientInfo is malformed");
  const ids = [...elementsIn(keys)].map((key) => {
    const [reader] = exactly(2, key);
    return reader === undefined ? "other" : idOf(reader);
  });
  if (ids.length === 0) throw new Malformed("KeyAgreeRecipientInfo without a reader");
  return ids;
}

function idOf(reader: Element): string {
  if (reader.tag === TAG.sequence) {
    const [issuer, serial] = exactly(2, reader);
    if (issuer?.tag !== TAG.sequence || serial?.tag !== TAG.integer) {
      throw new Malformed("issuerAndSerialNumber is malformed");
    }
    return `${hex(encodingOf(issuer))}:${hex(contentOf(serial))}`;
  }
  if (reader.tag === 0x80) return `ski:${hex(contentOf(reader))}`;
  if (reader.tag === 0xa0) {
    // RecipientKeyIdentifier: subjectKeyIdentifier comes first
    const [identifier] = elementsIn(reader);
    if (identifier?.tag === TAG.octetString) return `ski:${hex(contentOf(identifier))}`;
  }
  throw new Malformed("a reader is named in no known way");
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}
