// Writes DER (X.690): what CMS structures are made of.

/** Identifier and length octets of an element whose content has `length` octets. */
export function derHeader(tag: number, length: number): Buffer {
  if (length < 0x80) return Buffer.of(tag, length);
  let digits = length.toString(16);
  if (digits.length % 2 === 1) digits = `0${digits}`;
  return Buffer.concat([Buffer.of(tag, 0x80 | (digits.length / 2)), Buffer.from(digits, "hex")]);
}

/** An element of the given contents, one after the other. */
export function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const length = contents.reduce((sum, content) => sum + content.length, 0);
  return Buffer.concat([derHeader(tag, length), ...contents]);
}

export const sequence = (...contents: readonly Uint8Array[]): Buffer => der(0x30, ...contents);
export const octetString = (content: Uint8Array): Buffer => der(0x04, content);

/** A SET OF, its elements in the order that DER asks for (X.690 11.6). */
export function setOf(...elements: readonly Uint8Array[]): Buffer {
  return der(0x31, ...elements.toSorted((a, b) => Buffer.compare(a, b)));
}

/** An INTEGER from 0 to 127. */
export function smallInteger(value: number): Buffer {
  return Buffer.of(0x02, 0x01, value);
}

/** An OBJECT IDENTIFIER from `1.2.840.…`; arcs below 2^31, the first two below 40 together. */
export function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  return der(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

export const NULL = Buffer.of(0x05, 0x00);

function base128(arc: number): number[] {
  const octets = [arc & 0x7f];
  for (let rest = arc >>> 7; rest > 0; rest >>>= 7) octets.unshift(0x80 | (rest & 0x7f));
  return octets;
}
