// The public key of a certificate: which algorithm, how strong, or why nothing can be encrypted to it.
import { ECDH } from "node:crypto";
import { contentOf, DerSequence, Malformed, oidOf, TAG, type Element } from "./der.ts";

export type CertificatePublicKey =
  | { readonly algorithm: "rsa"; readonly bits: number; readonly exponent: bigint }
  | { readonly algorithm: "ec"; readonly curve: "P-256" | "P-384" | "P-521" }
  /** A key that we cannot encrypt to (Ed25519, RSASSA-PSS, brainpool, X25519, DSA …), named for people. */
  | { readonly algorithm: "unsupported"; readonly name: string };

/** Larger moduli are a way to keep the processor busy, not a protection (OpenSSL's own limit). */
const MAX_RSA_BITS = 16_384;
const MAX_EXPONENT_BITS = 64;

const RSA = "1.2.840.113549.1.1.1";
const EC = "1.2.840.10045.2.1";
const CURVES: ReadonlyMap<string, { readonly curve: "P-256" | "P-384" | "P-521"; readonly openssl: string }> = new Map([
  ["1.2.840.10045.3.1.7", { curve: "P-256", openssl: "prime256v1" }],
  ["1.3.132.0.34", { curve: "P-384", openssl: "secp384r1" }],
  ["1.3.132.0.35", { curve: "P-521", openssl: "secp521r1" }],
]);
const OTHER_CURVES: ReadonlyMap<string, string> = new Map([
  ["1.3.132.0.10", "secp256k1"],
  ["1.2.840.10045.3.1.1", "P-192"],
  ["1.3.132.0.33", "P-224"],
  ["1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"],
  ["1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"],
  ["1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"],
]);
const OTHER_ALGORITHMS: ReadonlyMap<string, string> = new Map([
  ["1.2.840.113549.1.1.10", "RSASSA-PSS"],
  ["1.2.840.113549.1.1.7", "RSAES-OAEP"],
  ["1.3.101.110", "X25519"],
  ["1.3.101.111", "X448"],
  ["1.3.101.112", "Ed25519"],
  ["1.3.101.113", "Ed448"],
  ["1.2.840.10040.4.1", "DSA"],
  ["1.2.840.10046.2.1", "Diffie-Hellman"],
  ["1.3.132.1.12", "ECDH-only EC"],
]);

/** Reads a SubjectPublicKeyInfo (RFC 5280 4.1.2.7). Throws Malformed, also for an RSA modulus above 16384 bits. */
export function readPublicKey(spki: Element): CertificatePublicKey {
  const sequence = new DerSequence(spki, "public key");
  const identifier = new DerSequence(sequence.take(TAG.sequence), "algorithm of the public key");
  const bits = contentOf(sequence.take(TAG.bitString));
  sequence.close();
  if (bits[0] !== 0) throw new Malformed("public key is not a whole number of octets");
  const algorithm = oidOf(identifier.take(TAG.oid));
  if (algorithm === RSA) return readRsaKey(bits.subarray(1));
  if (algorithm === EC) return readEcKey(identifier, bits.subarray(1));
  return unsupported(OTHER_ALGORITHMS.get(algorithm) ?? `algorithm ${algorithm}`);
}

function readRsaKey(key: Uint8Array): CertificatePublicKey {
  const whole = new DerSequence(derOf(key), "RSA key");
  const sequence = new DerSequence(whole.take(TAG.sequence), "RSA key");
  whole.close();
  const modulus = positive(contentOf(sequence.take(TAG.integer)));
  const exponent = positive(contentOf(sequence.take(TAG.integer)));
  sequence.close();
  const bits = bitLength(modulus);
  if (bits > MAX_RSA_BITS) throw new Malformed(`RSA modulus of ${bits} bits, more than ${MAX_RSA_BITS}`);
  if (bitLength(exponent) > MAX_EXPONENT_BITS)
    return unsupported(`RSA with an exponent of ${bitLength(exponent)} bits`);
  const value = BigInt(`0x${Buffer.from(exponent).toString("hex")}`);
  // an even modulus or exponent is no RSA key, and an exponent of 1 encrypts nothing
  if (((modulus.at(-1) ?? 0) & 1) === 0 || value < 3n || value % 2n === 0n)
    return unsupported("RSA (not a proper key)");
  return { algorithm: "rsa", bits, exponent: value };
}

function readEcKey(identifier: DerSequence, point: Uint8Array): CertificatePublicKey {
  const parameters = identifier.takeAny();
  if (parameters.tag !== TAG.oid) return unsupported("EC with explicit parameters");
  const oid = oidOf(parameters);
  const known = CURVES.get(oid);
  if (known === undefined) return unsupported(`EC on ${OTHER_CURVES.get(oid) ?? `curve ${oid}`}`);
  try {
    ECDH.convertKey(point, known.openssl);
  } catch {
    return unsupported(`EC on ${known.curve} (the point is not on the curve)`);
  }
  return { algorithm: "ec", curve: known.curve };
}

function unsupported(name: string): CertificatePublicKey {
  return { algorithm: "unsupported", name };
}

/** The bytes as the content of an element, to be read by DerSequence. */
function derOf(bytes: Uint8Array): Element {
  return { bytes, tag: TAG.octetString, start: 0, contentStart: 0, contentEnd: bytes.length, end: bytes.length };
}

function positive(integer: Uint8Array): Uint8Array {
  const [first] = integer;
  if (first === undefined || first >= 0x80) throw new Malformed("RSA key has a number that is not positive");
  const significant = integer.findIndex((octet) => octet !== 0);
  return significant < 0 ? integer.subarray(0, 1) : integer.subarray(significant);
}

function bitLength(magnitude: Uint8Array): number {
  return magnitude.length * 8 - Math.clz32(magnitude[0] ?? 0) + 24;
}
