// RecipientInfo: wraps a content-encryption key for the owner of one certificate (RFC 5652 6.2, RFC 5753).
import {
  constants,
  createCipheriv,
  createECDH,
  createHash,
  createPublicKey,
  publicEncrypt,
  type KeyObject,
} from "node:crypto";
import type { Certificate } from "./certificate.ts";
import { der, NULL, octetString, oid, sequence, smallInteger } from "./der-writing.ts";

export type KeyTransport = "rsa-pkcs1" | "rsa-oaep";

export type RecipientInfo = {
  /** RecipientInfos other than key transport by issuer and serial make the EnvelopedData version 2 (RFC 5652 6.1). */
  readonly kind: "key-transport" | "key-agreement";
  /** The RecipientInfo in DER, with the key of 32 octets encrypted to the certificate. Always of the same size. */
  wrap(contentEncryptionKey: Uint8Array): Uint8Array;
};

const prepared = new WeakMap<Certificate, Map<KeyTransport, RecipientInfo>>();

/**
 * What encrypts keys to a certificate, made ready once and then remembered. `keyTransport` counts for RSA keys only; EC keys
 * always use ephemeral-static ECDH. Throws an Error when nothing can be encrypted to the key.
 */
export function recipientInfoFor(certificate: Certificate, keyTransport: KeyTransport): RecipientInfo {
  let known = prepared.get(certificate);
  if (known === undefined) prepared.set(certificate, (known = new Map<KeyTransport, RecipientInfo>()));
  let info = known.get(keyTransport);
  if (info === undefined) known.set(keyTransport, (info = prepare(certificate, keyTransport)));
  return info;
}

/** Canonical text of issuer and serial number: what names a reader in CMS, whatever the kind of key. */
export function readerId(certificate: Certificate): string {
  return `${Buffer.from(certificate.issuerDer).toString("hex")}:${Buffer.from(certificate.serial).toString("hex")}`;
}

function prepare(certificate: Certificate, keyTransport: KeyTransport): RecipientInfo {
  const { publicKey } = certificate;
  switch (publicKey.algorithm) {
    case "rsa":
      return keyTransportInfo(certificate, keyTransport);
    case "ec":
      return keyAgreementInfo(certificate, CURVES[publicKey.curve]);
    case "unsupported":
      throw new Error(`nothing can be encrypted to the ${publicKey.name} key of ${certificate.subject}`);
  }
}

function issuerAndSerialNumber(certificate: Certificate): Buffer {
  return sequence(certificate.issuerDer, der(0x02, certificate.serial));
}

function publicKeyOf(certificate: Certificate): KeyObject {
  return createPublicKey({ key: Buffer.from(certificate.spki), format: "der", type: "spki" });
}

// SHA-256 with NULL parameters in both places, as RFC 4055 2.1 defines sha256Identifier
const SHA256 = sequence(oid("2.16.840.1.101.3.4.2.1"), NULL);
const RSA_ALGORITHMS: Record<KeyTransport, Buffer> = {
  "rsa-pkcs1": sequence(oid("1.2.840.113549.1.1.1"), NULL),
  "rsa-oaep": sequence(
    oid("1.2.840.113549.1.1.7"),
    sequence(der(0xa0, SHA256), der(0xa1, sequence(oid("1.2.840.113549.1.1.8"), SHA256))),
  ),
};

/** KeyTransRecipientInfo (RFC 5652 6.2.1; OAEP: RFC 8017, RFC 4055). */
function keyTransportInfo(certificate: Certificate, keyTransport: KeyTransport): RecipientInfo {
  const key = publicKeyOf(certificate);
  const settings =
    keyTransport === "rsa-pkcs1"
      ? { key, padding: constants.RSA_PKCS1_PADDING }
      : { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" };
  const fixed = [smallInteger(0), issuerAndSerialNumber(certificate), RSA_ALGORITHMS[keyTransport]];
  return {
    kind: "key-transport",
    wrap: (contentEncryptionKey) => sequence(...fixed, octetString(publicEncrypt(settings, contentEncryptionKey))),
  };
}

type Curve = {
  readonly openssl: string;
  readonly digest: string;
  readonly scheme: Buffer;
};
const AES256_WRAP = sequence(oid("2.16.840.1.101.3.4.1.45"));
const EC_PUBLIC_KEY = sequence(oid("1.2.840.10045.2.1"));
/** dhSinglePass-stdDH-sha*kdf-scheme, the digest as strong as the curve (RFC 5753 7.1.4). */
const CURVES: Record<"P-256" | "P-384" | "P-521", Curve> = {
  "P-256": { openssl: "prime256v1", digest: "sha256", scheme: oid("1.3.132.1.11.1") },
  "P-384": { openssl: "secp384r1", digest: "sha384", scheme: oid("1.3.132.1.11.2") },
  "P-521": { openssl: "secp521r1", digest: "sha512", scheme: oid("1.3.132.1.11.3") },
};
/** ECC-CMS-SharedInfo without ukm: the wrap algorithm and the 256 bits it takes (RFC 5753 7.2). */
const SHARED_INFO = sequence(AES256_WRAP, der(0xa2, octetString(Buffer.of(0, 0, 1, 0))));
const COUNTER_ONE = Buffer.of(0, 0, 0, 1);
/** Initial value of AES key wrap (RFC 3394 2.2.3.1). */
const WRAP_IV = Buffer.alloc(8, 0xa6);

/** KeyAgreeRecipientInfo with an ephemeral key for each message (RFC 5753 3.1). */
function keyAgreementInfo(certificate: Certificate, curve: Curve): RecipientInfo {
  const point = wholePoint(publicKeyOf(certificate));
  const reader = issuerAndSerialNumber(certificate);
  const algorithm = sequence(curve.scheme, AES256_WRAP);
  return {
    kind: "key-agreement",
    wrap(contentEncryptionKey) {
      const ephemeral = createECDH(curve.openssl);
      const originator = ephemeral.generateKeys();
      // X9.63 KDF: one round, for every digest here has at least the 32 octets of the key-encryption key
      const kdf = createHash(curve.digest).update(ephemeral.computeSecret(point)).update(COUNTER_ONE);
      const keyEncryptionKey = kdf.update(SHARED_INFO).digest().subarray(0, 32);
      const wrapping = createCipheriv("id-aes256-wrap", keyEncryptionKey, WRAP_IV);
      const wrapped = Buffer.concat([wrapping.update(contentEncryptionKey), wrapping.final()]);
      const originatorKey = der(0xa1, EC_PUBLIC_KEY, der(0x03, Buffer.of(0), originator));
      return der(
        0xa1,
        smallInteger(3),
        der(0xa0, originatorKey),
        algorithm,
        sequence(sequence(reader, octetString(wrapped))),
      );
    },
  };
}

/** The point uncompressed, whichever form the certificate has it in. */
function wholePoint(key: KeyObject): Buffer {
  const { x = "", y = "" } = key.export({ format: "jwk" });
  return Buffer.concat([Buffer.of(4), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")]);
}
