// Reads SignedData of a mail, in BER or DER, once from front to back and within bounds (RFC 5652 5.1, 5.2).
import { contentOf, encodingOf, Malformed, oidOf, readElement, readElementHeader, TAG, type Element } from "./der.ts";
import { SIGNED_DATA } from "./p7b.ts";

/** The parts of a SignedData, not read any further. */
export type SignedShape = {
  /** OIDs of the digest algorithms that are announced. */
  readonly digestAlgorithms: readonly string[];
  readonly contentType: string;
  /** Undefined: the content is elsewhere. */
  readonly content: Uint8Array | undefined;
  /** DER of X.509 certificates; attribute certificates and other kinds are left out. */
  readonly certificates: readonly Uint8Array[];
  readonly signerInfos: readonly Element[];
};

/** Octets of everything but the content. */
const MAX_BYTES = 1_048_576;
const MAX_CERTIFICATES = 100;
const MAX_DIGEST_ALGORITHMS = 20;
/** Programs cut a content into pieces of a thousand octets or more. */
const MAX_SEGMENTS = 200_000;
const SEGMENTED_OCTET_STRING = 0x24;

/** Reads a ContentInfo that holds SignedData and nothing after it. Throws Malformed, without reading on, out of bounds. */
export function readSignedShape(contentInfo: Uint8Array): SignedShape {
  const reader = new BerReader(contentInfo);
  reader.enter(TAG.sequence, "ContentInfo");
  const type = oidOf(reader.take(TAG.oid, "contentType"));
  if (type !== SIGNED_DATA) throw new Malformed(`content type ${type} is not SignedData`);
  reader.enter(0xa0, "content of ContentInfo");
  reader.enter(TAG.sequence, "SignedData");
  reader.take(TAG.integer, "version");
  const digestAlgorithms = readDigestAlgorithms(reader);
  const { contentType, content } = readEncapsulated(reader);
  if (contentInfo.length - (content?.length ?? 0) > MAX_BYTES)
    throw new Malformed(`SignedData has more than ${MAX_BYTES} octets beside its content`);
  const certificates = reader.next() === 0xa0 ? readCertificates(reader) : [];
  if (reader.next() === 0xa1) reader.take(0xa1, "revocation lists");
  const signerInfos: Element[] = [];
  reader.enter(TAG.set, "signerInfos");
  // two are enough to refuse
  while (reader.next() !== undefined && signerInfos.length < 2)
    signerInfos.push(reader.take(TAG.sequence, "SignerInfo"));
  if (signerInfos.length < 2) {
    for (let open = 4; open > 0; open -= 1) reader.leave();
    reader.close();
  }
  return { digestAlgorithms, contentType, content, certificates, signerInfos };
}

function readDigestAlgorithms(reader: BerReader): string[] {
  const oids: string[] = [];
  reader.enter(TAG.set, "digestAlgorithms");
  while (reader.next() !== undefined) {
    reader.enter(TAG.sequence, "digest algorithm");
    oids.push(oidOf(reader.take(TAG.oid, "digest algorithm")));
    if (reader.next() !== undefined) reader.take(reader.next(), "parameters of a digest algorithm");
    reader.leave();
    if (oids.length > MAX_DIGEST_ALGORITHMS)
      throw new Malformed(`more than ${MAX_DIGEST_ALGORITHMS} digest algorithms`);
  }
  reader.leave();
  return oids;
}

/** EncapsulatedContentInfo. */
function readEncapsulated(reader: BerReader): { contentType: string; content: Uint8Array | undefined } {
  reader.enter(TAG.sequence, "encapContentInfo");
  const contentType = oidOf(reader.take(TAG.oid, "eContentType"));
  let content: Uint8Array | undefined;
  if (reader.next() !== undefined) {
    reader.enter(0xa0, "eContent");
    content = reader.next() === SEGMENTED_OCTET_STRING ? readSegments(reader) : reader.takeContent();
    reader.leave();
  }
  reader.leave();
  return { contentType, content };
}

function readSegments(reader: BerReader): Uint8Array {
  const segments: Uint8Array[] = [];
  reader.enter(SEGMENTED_OCTET_STRING, "eContent");
  while (reader.next() !== undefined) {
    if (segments.push(reader.takeContent()) > MAX_SEGMENTS)
      throw new Malformed(`content in more than ${MAX_SEGMENTS} pieces`);
  }
  reader.leave();
  return Buffer.concat(segments);
}

function readCertificates(reader: BerReader): Uint8Array[] {
  const certificates: Uint8Array[] = [];
  let count = 0;
  reader.enter(0xa0, "certificates");
  while (reader.next() !== undefined) {
    if ((count += 1) > MAX_CERTIFICATES) throw new Malformed(`more than ${MAX_CERTIFICATES} certificates`);
    const certificate = reader.take(reader.next(), "certificate");
    if (certificate.tag === TAG.sequence) certificates.push(encodingOf(certificate));
  }
  reader.leave();
  return certificates;
}

/** `end` is undefined in an element of indefinite length; nothing in it reaches beyond `limit`. */
type Opened = { readonly what: string; readonly end: number | undefined; readonly limit: number };

/** Reads on from element to element. What is entered is not searched for its end before it is left. */
class BerReader {
  readonly #bytes: Uint8Array;
  readonly #open: Opened[] = [];
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get #limit(): number {
    return this.#open.at(-1)?.limit ?? this.#bytes.length;
  }

  /** The tag of the next element; undefined when there is none in what was entered last. */
  next(): number | undefined {
    const inner = this.#open.at(-1);
    if (this.#at === this.#limit && inner?.end === this.#at) return undefined;
    const tag = this.#at < this.#limit ? this.#bytes[this.#at] : undefined;
    if (tag === undefined) throw new Malformed("ends in the middle of an element");
    return tag === 0 && inner?.end === undefined ? undefined : tag;
  }

  enter(tag: number, what: string): void {
    const header = readElementHeader(this.#bytes, this.#at);
    if (this.next() !== tag || header.tag !== tag) throw new Malformed(`no ${what} at octet ${this.#at}`);
    const end = header.length === undefined ? undefined : header.contentStart + header.length;
    if (header.contentStart > this.#limit || (end ?? 0) > this.#limit)
      throw new Malformed(`${what} is longer than what holds it`);
    this.#open.push({ what, end, limit: end ?? this.#limit });
    this.#at = header.contentStart;
  }

  leave(): void {
    if (this.next() !== undefined) throw new Malformed(`${this.#open.at(-1)?.what} has more elements than it should`);
    const left = this.#open.pop();
    if (left?.end !== undefined) return;
    if (this.#bytes[this.#at + 1] !== 0 || this.#at + 2 > this.#limit)
      throw new Malformed(`end-of-contents with a length at octet ${this.#at}`);
    this.#at += 2;
  }

  /** The next element, whole. */
  take(tag: number | undefined, what: string): Element {
    if (this.next() !== tag) throw new Malformed(`no ${what} at octet ${this.#at}`);
    // an element of indefinite length is searched for its end: not in all of a large content that follows
    const element = readElement(this.#bytes, this.#at, Math.min(this.#limit, this.#at + MAX_BYTES));
    this.#at = element.end;
    return element;
  }

  /** The octets of a primitive OCTET STRING of any size. */
  takeContent(): Uint8Array {
    if (this.next() !== TAG.octetString) throw new Malformed(`no octet string at octet ${this.#at}`);
    const element = readElement(this.#bytes, this.#at, this.#limit);
    this.#at = element.end;
    return contentOf(element);
  }

  close(): void {
    if (this.#at < this.#bytes.length) throw new Malformed(`${this.#bytes.length - this.#at} octets follow its end`);
  }
}
