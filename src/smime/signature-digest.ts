// Which digest a signature algorithm uses, for people and for policy.
import { DerSequence, oidOf, TAG, type Element } from "./der.ts";

const DIGEST_OF_SIGNATURE: ReadonlyMap<string, string> = new Map([
  ["1.2.840.113549.1.1.2", "md2"],
  ["1.2.840.113549.1.1.3", "md4"],
  ["1.2.840.113549.1.1.4", "md5"],
  ["1.2.840.113549.1.1.5", "sha1"],
  ["1.3.14.3.2.29", "sha1"],
  ["1.2.840.113549.1.1.14", "sha224"],
  ["1.2.840.113549.1.1.11", "sha256"],
  ["1.2.840.113549.1.1.12", "sha384"],
  ["1.2.840.113549.1.1.13", "sha512"],
  ["1.2.840.10040.4.3", "sha1"],
  ["2.16.840.1.101.3.4.3.1", "sha224"],
  ["2.16.840.1.101.3.4.3.2", "sha256"],
  ["2.16.840.1.101.3.4.3.14", "sha3-256"],
  ["2.16.840.1.101.3.4.3.15", "sha3-384"],
  ["2.16.840.1.101.3.4.3.16", "sha3-512"],
  ["1.2.840.10045.4.1", "sha1"],
  ["1.2.840.10045.4.3.1", "sha224"],
  ["1.2.840.10045.4.3.2", "sha256"],
  ["1.2.840.10045.4.3.3", "sha384"],
  ["1.2.840.10045.4.3.4", "sha512"],
  ["1.3.101.112", "sha512"],
  ["1.3.101.113", "shake256"],
]);
const RSASSA_PSS = "1.2.840.113549.1.1.10";
const DIGESTS: ReadonlyMap<string, string> = new Map([
  ["1.2.840.113549.2.5", "md5"],
  ["1.3.14.3.2.26", "sha1"],
  ["2.16.840.1.101.3.4.2.4", "sha224"],
  ["2.16.840.1.101.3.4.2.1", "sha256"],
  ["2.16.840.1.101.3.4.2.2", "sha384"],
  ["2.16.840.1.101.3.4.2.3", "sha512"],
]);

/** `sha1`, `sha256` … of an AlgorithmIdentifier; `unknown` when it is not recognised. Throws Malformed. */
export function readSignatureDigest(algorithm: Element): string {
  const sequence = new DerSequence(algorithm, "signature algorithm");
  const oid = oidOf(sequence.take(TAG.oid));
  if (oid !== RSASSA_PSS) return DIGEST_OF_SIGNATURE.get(oid) ?? "unknown";
  const parameters = sequence.takeIf(TAG.sequence);
  const hash = parameters && new DerSequence(parameters, "RSASSA-PSS parameters").takeIf(0xa0);
  if (hash === undefined) return "sha1"; // the default of RFC 4055 3.1
  const identifier = new DerSequence(hash, "RSASSA-PSS digest").take(TAG.sequence);
  return DIGESTS.get(oidOf(new DerSequence(identifier, "RSASSA-PSS digest").take(TAG.oid))) ?? "unknown";
}
