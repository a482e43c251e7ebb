// Signature schemes: which algorithm with which digest and key counts as a signature, and whether it holds (RFC 5652 5.4, RFC 5280 5).
import { constants, verify, type KeyObject } from "node:crypto";
import { contentOf, DerSequence, Malformed, oidOf, TAG, type Element } from "./der.ts";

export type StrongDigest = "sha256" | "sha384" | "sha512";
/** What a caller may let sign besides: RSA and ECDSA over SHA-224, and Ed448, whose own digest is SHAKE256. */
export type SignatureDigest = StrongDigest | "sha224" | "shake256";

export type SignatureScheme = {
  readonly keyTypes: readonly string[];
  /** Undefined: the algorithm brings its own digest. */
  readonly digest: Exclude<SignatureDigest, "shake256"> | undefined;
  readonly pss?: { readonly padding: number; readonly saltLength: number };
};

const DIGESTS: ReadonlyMap<string, StrongDigest> = new Map([
  ["2.16.840.1.101.3.4.2.1", "sha256"],
  ["2.16.840.1.101.3.4.2.2", "sha384"],
  ["2.16.840.1.101.3.4.2.3", "sha512"],
]);
/** None of them counts in a mail. */
const WEAK_DIGESTS: ReadonlyMap<string, string> = new Map([
  ["1.2.840.113549.2.5", "md5"],
  ["1.3.14.3.2.26", "sha1"],
  ["2.16.840.1.101.3.4.2.4", "sha224"],
]);

const RSA = "1.2.840.113549.1.1.1";
const RSASSA_PSS = "1.2.840.113549.1.1.10";
const MGF1 = "1.2.840.113549.1.1.8";
const PKCS1: ReadonlyMap<string, SignatureDigest> = new Map([
  ["1.2.840.113549.1.1.14", "sha224"],
  ["1.2.840.113549.1.1.11", "sha256"],
  ["1.2.840.113549.1.1.12", "sha384"],
  ["1.2.840.113549.1.1.13", "sha512"],
]);
const ECDSA: ReadonlyMap<string, SignatureDigest> = new Map([
  ["1.2.840.10045.4.3.1", "sha224"],
  ["1.2.840.10045.4.3.2", "sha256"],
  ["1.2.840.10045.4.3.3", "sha384"],
  ["1.2.840.10045.4.3.4", "sha512"],
]);
/** With the digest that goes with each (RFC 8419 3.1). */
const EDDSA: ReadonlyMap<string, { readonly name: string; readonly own: SignatureDigest }> = new Map([
  ["1.3.101.112", { name: "Ed25519", own: "sha512" }],
  ["1.3.101.113", { name: "Ed448", own: "shake256" }],
]);

const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 16_384;
const CURVES: ReadonlySet<string> = new Set([
  ...["prime256v1", "secp384r1", "secp521r1", "secp256k1"],
  ...["brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"],
]);

/** The digest of an AlgorithmIdentifier. Throws Malformed for weak ones and for those that are not known. */
export function readDigest(algorithm: Element): { readonly oid: string; readonly digest: StrongDigest } {
  const sequence = new DerSequence(algorithm, "digest algorithm");
  const oid = oidOf(sequence.take(TAG.oid));
  const digest = DIGESTS.get(oid);
  if (digest !== undefined) return { oid, digest };
  const weak = WEAK_DIGESTS.get(oid);
  throw new Malformed(weak === undefined ? `digest algorithm ${oid} is not known` : `digest ${weak} is weak`);
}

/**
 * The scheme of a signatureAlgorithm together with the digest that the caller lets sign: of the digestAlgorithm beside it, or what
 * readSignatureDigest says of it. Throws Malformed when they do not agree.
 */
export function readSignatureScheme(algorithm: Element, digest: SignatureDigest): SignatureScheme {
  const sequence = new DerSequence(algorithm, "signature algorithm");
  const oid = oidOf(sequence.take(TAG.oid));
  const eddsa = EDDSA.get(oid);
  if (eddsa !== undefined) {
    if (digest !== eddsa.own) throw new Malformed(`${eddsa.name} with digest ${digest}`);
    return { keyTypes: [eddsa.name.toLowerCase()], digest: undefined };
  }
  if (digest === "shake256") throw new Malformed(`signature algorithm ${oid} with digest shake256`);
  if (oid === RSA) return { keyTypes: ["rsa"], digest };
  if (oid === RSASSA_PSS)
    return { keyTypes: ["rsa", "rsa-pss"], digest, pss: readPss(sequence.take(TAG.sequence), digest) };
  const own = PKCS1.get(oid) ?? ECDSA.get(oid);
  if (own === undefined) throw new Malformed(`signature algorithm ${oid} is not known or too weak`);
  if (own !== digest) throw new Malformed(`signature with digest ${own} over attributes with digest ${digest}`);
  return { keyTypes: [ECDSA.has(oid) ? "ec" : "rsa"], digest };
}

/** RSASSA-PSS-params (RFC 4055 3.1), all of whose digests must be the same (RFC 4056 3). */
function readPss(parameters: Element, digest: SignatureDigest): { padding: number; saltLength: number } {
  const sequence = new DerSequence(parameters, "RSASSA-PSS parameters");
  const hash = new DerSequence(sequence.take(0xa0), "RSASSA-PSS digest").take(TAG.sequence);
  const mask = new DerSequence(new DerSequence(sequence.take(0xa1), "RSASSA-PSS mask").take(TAG.sequence), "mask");
  if (oidOf(mask.take(TAG.oid)) !== MGF1) throw new Malformed("RSASSA-PSS mask is not known");
  const isOther = (identifier: Element) => {
    const name = oidOf(new DerSequence(identifier, "RSASSA-PSS digest").take(TAG.oid));
    return (DIGESTS.get(name) ?? WEAK_DIGESTS.get(name)) !== digest;
  };
  if (isOther(hash) || isOther(mask.take(TAG.sequence))) throw new Malformed("RSASSA-PSS with different digests");
  const salt = sequence.takeIf(0xa2);
  const saltLength = salt === undefined ? 20 : smallNumber(new DerSequence(salt, "RSASSA-PSS salt").take(TAG.integer));
  const trailer = sequence.takeIf(0xa3);
  if (trailer !== undefined && smallNumber(new DerSequence(trailer, "RSASSA-PSS trailer").take(TAG.integer)) !== 1)
    throw new Malformed("RSASSA-PSS trailer is not known");
  sequence.close();
  return { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength };
}

/** An INTEGER from 0 to 32767. */
function smallNumber(integer: Element): number {
  const [first = 0x80, second, third] = contentOf(integer);
  if (first >= 0x80 || third !== undefined) throw new Malformed("RSASSA-PSS parameters have a number out of bounds");
  return second === undefined ? first : first * 256 + second;
}

/** Why this key may not make such a signature; undefined: it may. */
export function keyFault(scheme: SignatureScheme, key: KeyObject): string | undefined {
  const type = key.asymmetricKeyType ?? "unknown";
  if (!scheme.keyTypes.includes(type)) return `signature algorithm does not go with a key of type ${type}`;
  const { modulusLength, publicExponent = 0n, namedCurve = "" } = key.asymmetricKeyDetails ?? {};
  if (type === "ec") return CURVES.has(namedCurve) ? undefined : `signature on curve ${namedCurve}`;
  if (type === "ed25519") return undefined;
  if (modulusLength === undefined || modulusLength < MIN_RSA_BITS || modulusLength > MAX_RSA_BITS)
    return `signature with an RSA key of ${modulusLength ?? "unknown"} bits`;
  return publicExponent < 3n || publicExponent % 2n === 0n ? "signature with an improper RSA key" : undefined;
}

/** Whether the signature over `signed` holds. False, never an error, for what OpenSSL cannot read. */
export function isSignature(
  scheme: SignatureScheme,
  signed: Uint8Array,
  key: KeyObject,
  signature: Uint8Array,
): boolean {
  try {
    return verify(scheme.digest ?? null, signed, { key, ...scheme.pss }, signature);
  } catch {
    // a key whose own parameters forbid this signature
    return false;
  }
}
