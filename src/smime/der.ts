// Reads BER and DER element by element (X.690), within bounds that no input can make it leave.

/** Bytes that are not what they should be. The message is for people; nothing else is thrown for bad input. */
export class Malformed extends Error {}

/** One element inside `bytes`. In the indefinite form two octets of end-of-contents lie between `contentEnd` and `end`. */
export type Element = {
  readonly bytes: Uint8Array;
  readonly tag: number;
  readonly start: number;
  readonly contentStart: number;
  readonly contentEnd: number;
  readonly end: number;
};

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Elements of indefinite length may be nested this deep; certificates and CMS stay below 15. */
const MAX_DEPTH = 32;

/** Identifier and length octets at `at`; `length` is undefined for the indefinite form. The content may lie past the end. */
export function readElementHeader(
  bytes: Uint8Array,
  at: number,
): { readonly tag: number; readonly contentStart: number; readonly length: number | undefined } {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined) throw new Malformed("ends in the middle of an element");
  if ((tag & 0x1f) === 0x1f) throw new Malformed(`unexpected tag number above 30 at octet ${at}`);
  if (first < 0x80) return { tag, contentStart: at + 2, length: first };
  if (first === 0x80) {
    if ((tag & 0x20) === 0) throw new Malformed(`primitive element of indefinite length at octet ${at}`);
    return { tag, contentStart: at + 2, length: undefined };
  }
  const count = first & 0x7f;
  if (count > 6) throw new Malformed(`length of ${count} octets at octet ${at}`);
  let length = 0;
  for (let index = 0; index < count; index += 1) {
    const octet = bytes[at + 2 + index];
    if (octet === undefined) throw new Malformed("ends in the middle of an element");
    length = length * 256 + octet;
  }
  return { tag, contentStart: at + 2 + count, length };
}

/** The complete element at `at`, which must end at or before `limit`. Throws Malformed. */
export function readElement(bytes: Uint8Array, at = 0, limit = bytes.length): Element {
  const { tag, contentStart, length } = readElementHeader(bytes, at);
  if (tag === 0) throw new Malformed(`end-of-contents where an element should be, at octet ${at}`);
  if (length === undefined) {
    const contentEnd = endOfContents(bytes, contentStart, limit, 1);
    return { bytes, tag, start: at, contentStart, contentEnd, end: contentEnd + 2 };
  }
  const end = contentStart + length;
  if (end > limit) throw new Malformed(`element at octet ${at} is ${end - limit} octets longer than what holds it`);
  return { bytes, tag, start: at, contentStart, contentEnd: end, end };
}

/** Where the end-of-contents octets of an indefinite element lie. One pass over the nested headers, no content is read. */
function endOfContents(bytes: Uint8Array, from: number, limit: number, depth: number): number {
  if (depth > MAX_DEPTH) throw new Malformed(`elements nested more than ${MAX_DEPTH} deep`);
  let at = from;
  while (at + 2 <= limit) {
    if (bytes[at] === 0 && bytes[at + 1] === 0) return at;
    const { tag, contentStart, length } = readElementHeader(bytes, at);
    if (tag === 0) throw new Malformed(`end-of-contents with a length at octet ${at}`);
    at = length === undefined ? endOfContents(bytes, contentStart, limit, depth + 1) + 2 : contentStart + length;
  }
  throw new Malformed("ends in the middle of an element");
}

/** The elements inside a constructed element, one after the other. */
export function* elementsIn(parent: Element): Generator<Element, void, void> {
  for (let at = parent.contentStart; at < parent.contentEnd;) {
    const element = readElement(parent.bytes, at, parent.contentEnd);
    yield element;
    at = element.end;
  }
}

export function contentOf(element: Element): Uint8Array {
  return element.bytes.subarray(element.contentStart, element.contentEnd);
}

/** The element with its identifier and length octets. */
export function encodingOf(element: Element): Uint8Array {
  return element.bytes.subarray(element.start, element.end);
}

/** Reads the elements of a DER SEQUENCE or SET in order; `what` names the structure in error texts. */
export class DerSequence {
  readonly #parent: Element;
  readonly #what: string;
  #at: number;

  constructor(parent: Element, what: string) {
    this.#parent = parent;
    this.#what = what;
    this.#at = parent.contentStart;
  }

  hasMore(): boolean {
    return this.#at < this.#parent.contentEnd;
  }

  /** The next element, whatever its tag. */
  takeAny(): Element {
    if (!this.hasMore()) throw new Malformed(`${this.#what} ends too early`);
    const element = readDerElement(this.#parent.bytes, this.#at, this.#parent.contentEnd);
    this.#at = element.end;
    return element;
  }

  take(tag: number): Element {
    const element = this.takeAny();
    if (element.tag !== tag) {
      throw new Malformed(`${this.#what} has tag ${hex(element.tag)} where ${hex(tag)} should be`);
    }
    return element;
  }

  takeIf(tag: number): Element | undefined {
    return this.hasMore() && this.#parent.bytes[this.#at] === tag ? this.takeAny() : undefined;
  }

  close(): void {
    if (this.hasMore()) throw new Malformed(`${this.#what} has more elements than it should`);
  }
}

/** As readElement, but only what DER allows: definite length in its shortest form. */
export function readDerElement(bytes: Uint8Array, at = 0, limit = bytes.length): Element {
  const element = readElement(bytes, at, limit);
  const length = element.contentEnd - element.contentStart;
  const shortest = length < 0x80 ? 2 : length < 0x100 ? 3 : length < 0x1_0000 ? 4 : length < 0x100_0000 ? 5 : 6;
  if (element.end !== element.contentEnd || element.contentStart - at !== shortest) {
    throw new Malformed(`length at octet ${at} is not DER`);
  }
  return element;
}

/** `1.2.840.…` of the content octets of an OBJECT IDENTIFIER (X.690 8.19). */
export function oidText(content: Uint8Array): string {
  if (content.length === 0 || content.length > 64 || (content[content.length - 1] ?? 0) >= 0x80) {
    throw new Malformed("object identifier is malformed");
  }
  let text = "";
  let arc = 0;
  let start = 0;
  for (let at = 0; at < content.length; at += 1) {
    const octet = content[at] ?? 0;
    arc = arc * 128 + (octet & 0x7f);
    if (octet >= 0x80) continue;
    // arcs beyond 2^53 are rare (2.25.UUID); only they pay for BigInt
    const exact = arc <= Number.MAX_SAFE_INTEGER ? arc : bigArc(content.subarray(start, at + 1));
    if (text !== "") text += `.${exact}`;
    else if (arc < 80) text = arc < 40 ? `0.${arc}` : `1.${arc - 40}`;
    else text = `2.${typeof exact === "number" ? exact - 80 : exact - 80n}`;
    arc = 0;
    start = at + 1;
  }
  return text;
}

function bigArc(octets: Uint8Array): bigint {
  return octets.reduce((sum, octet) => sum * 128n + BigInt(octet & 0x7f), 0n);
}

/** The OBJECT IDENTIFIER of an element that must be one. */
export function oidOf(element: Element): string {
  if (element.tag !== TAG.oid) throw new Malformed(`tag ${hex(element.tag)} where an object identifier should be`);
  return oidText(contentOf(element));
}

function hex(tag: number): string {
  return `0x${tag.toString(16).padStart(2, "0")}`;
}
