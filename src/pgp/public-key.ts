// The body of a public-key packet (RFC 9580 5.5.2): version, creation time, algorithm and its fields.
import { createHash, createVerify } from "node:crypto";

/** Public-key algorithm numbers of RFC 9580 9.1 that mail can be encrypted to, or that a primary key may have. */
export const ALGORITHM = {
  rsa: 1,
  rsaEncryptOnly: 2,
  rsaSignOnly: 3,
  elgamal: 16,
  dsa: 17,
  ecdh: 18,
  ecdsa: 19,
  eddsaLegacy: 22,
  x25519: 25,
  x448: 26,
  ed25519: 27,
  ed448: 28,
} as const;

export type PublicKey = {
  readonly version: 4 | 6;
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly algorithm: number;
  /** In the order of the packet: integers without their bit count, object identifiers without their length, KDF octets, native points. */
  readonly fields: readonly Uint8Array[];
  /** Number of octets that are public; in a secret-key packet the secret part follows. */
  readonly publicSize: number;
};

type Field = "integer" | "counted" | number;

const FIELDS: ReadonlyMap<number, readonly Field[]> = new Map<number, readonly Field[]>([
  [ALGORITHM.rsa, ["integer", "integer"]],
  [ALGORITHM.rsaEncryptOnly, ["integer", "integer"]],
  [ALGORITHM.rsaSignOnly, ["integer", "integer"]],
  [ALGORITHM.elgamal, ["integer", "integer", "integer"]],
  [ALGORITHM.dsa, ["integer", "integer", "integer", "integer"]],
  [ALGORITHM.ecdh, ["counted", "integer", "counted"]],
  [ALGORITHM.ecdsa, ["counted", "integer"]],
  [ALGORITHM.eddsaLegacy, ["counted", "integer"]],
  [ALGORITHM.x25519, [32]],
  [ALGORITHM.x448, [56]],
  [ALGORITHM.ed25519, [32]],
  [ALGORITHM.ed448, [57]],
]);

/** Reads the public part of a public- or secret-key packet; undefined for other versions, unknown algorithms and bad lengths. */
export function readPublicKey(body: Uint8Array): PublicKey | undefined {
  const view = Buffer.from(body.buffer, body.byteOffset, body.length);
  const version = view[0];
  if ((version !== 4 && version !== 6) || view.length < 10) return undefined;
  const algorithm = view[5] ?? 0;
  const layout = FIELDS.get(algorithm);
  if (layout === undefined) return undefined;
  const fields: Uint8Array[] = [];
  let at = version === 6 ? 10 : 6;
  for (const field of layout) {
    const read = fieldAt(view, at, field);
    if (read === undefined || read.end > view.length) return undefined;
    fields.push(view.subarray(read.start, read.end));
    at = read.end;
  }
  if (version === 6 && view.readUInt32BE(6) !== at - 10) return undefined;
  return { version, created: view.readUInt32BE(1) * 1000, algorithm, fields, publicSize: at };
}

function fieldAt(view: Buffer, at: number, field: Field): { start: number; end: number } | undefined {
  if (typeof field === "number") return { start: at, end: at + field };
  if (at + 2 > view.length) return undefined;
  if (field === "integer") return { start: at + 2, end: at + 2 + Math.ceil(view.readUInt16BE(at) / 8) };
  const count = view.readUInt8(at);
  return { start: at + 1, end: at + 1 + count };
}

/** OpenSSL reads no larger modulus, and none of more than 3072 bits with an exponent beyond 64. */
const MAX_RSA_BITS = 16_384;
const MAX_RSA_EXPONENT_BITS = 32;
/** FIPS 186-4 4.2 knows no larger ones, and openpgp.js reckons with them in JavaScript: each bit more costs. */
const MAX_DSA_BITS = 3072;
const MAX_DSA_GROUP_BITS = 256;

/** What makes one look at a signature by this key block the relay, e.g. "RSA with 65535 bits"; undefined for any sound key. */
export function excessOf({ algorithm, fields }: PublicKey): string | undefined {
  const [first = 0, second = 0] = fields.slice(0, 2).map(bitLength);
  switch (algorithm) {
    case ALGORITHM.rsa:
    case ALGORITHM.rsaEncryptOnly:
    case ALGORITHM.rsaSignOnly:
      if (first > MAX_RSA_BITS) return `RSA with ${first} bits`;
      return second > MAX_RSA_EXPONENT_BITS ? `RSA with an exponent of ${second} bits` : undefined;
    case ALGORITHM.dsa:
      if (first > MAX_DSA_BITS) return `DSA with ${first} bits`;
      return second > MAX_DSA_GROUP_BITS ? `DSA with a group of ${second} bits` : undefined;
    default:
      return undefined;
  }
}

/** Of an unsigned integer, big-endian. */
export function bitLength(integer: Uint8Array): number {
  const start = integer.findIndex((octet) => octet !== 0);
  return start < 0 ? 0 : (integer.length - start) * 8 - (Math.clz32(integer[start] ?? 0) - 24);
}

/** Lower-case hex; `publicBody` is the body of a public-key packet, or the public part of a secret one (RFC 9580 5.5.4). */
export function fingerprintOf(publicBody: Uint8Array): string {
  const isV6 = publicBody[0] === 6;
  const head = Buffer.alloc(isV6 ? 5 : 3);
  head[0] = isV6 ? 0x9b : 0x99;
  head.writeUIntBE(publicBody.length, 1, isV6 ? 4 : 2);
  return createHash(isV6 ? "sha256" : "sha1")
    .update(head)
    .update(publicBody)
    .digest("hex");
}

/** The 16 hex digits of the key ID: the end of a v4 fingerprint, the beginning of a v6 one. */
export function keyIdOf(fingerprint: string): string {
  return fingerprint.length === 40 ? fingerprint.slice(-16) : fingerprint.slice(0, 16);
}

/** OBJECT IDENTIFIER of id-ecPublicKey, DER (RFC 5480 2.1.1). */
const EC_PUBLIC_KEY = Buffer.from("06072a8648ce3d0201", "hex");
const DIGEST_NAMES: ReadonlyMap<number, string> = new Map([
  [2, "sha1"],
  [8, "sha256"],
  [9, "sha384"],
  [10, "sha512"],
]);

/**
 * Whether `r` and `s`, big-endian, are an ECDSA signature by `key` over `content` (RFC 9580 5.2.3.2, 9.5). False also for digests
 * other than SHA-1 and SHA-2 of at least 256 bits, and for curves that OpenSSL does not know. Never throws.
 */
export function isEcdsaSignature(
  key: PublicKey,
  hashAlgorithm: number,
  { r, s }: { readonly r?: Uint8Array; readonly s?: Uint8Array },
  content: Uint8Array,
): boolean {
  const [oid, point] = key.fields;
  const digest = DIGEST_NAMES.get(hashAlgorithm);
  if (key.algorithm !== ALGORITHM.ecdsa || oid === undefined || point === undefined || digest === undefined)
    return false;
  const size = (point.length - 1) / 2;
  if (r === undefined || s === undefined || r.length > size || s.length > size) return false;
  const signature = Buffer.alloc(2 * size);
  signature.set(r, size - r.length);
  signature.set(s, 2 * size - s.length);
  const curve = der(0x30, EC_PUBLIC_KEY, der(0x06, oid));
  const spki = der(0x30, curve, der(0x03, Buffer.from([0]), point));
  try {
    return createVerify(digest)
      .update(content)
      .verify({ key: spki, format: "der", type: "spki", dsaEncoding: "ieee-p1363" }, signature);
  } catch {
    return false;
  }
}

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  // in the fewest octets (X.690 10.1)
  const { length } = body;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
}
