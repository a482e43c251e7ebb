// Public-Key Encrypted Session Key packets (RFC 9580 5.1), versions 3 and 6, over node:crypto.
import { constants, createPublicKey, publicEncrypt } from "node:crypto";
import { curveName, ecdhAgreement, nativeAgreement, type KeyAgreement } from "./ecdh.ts";
import type { PgpEncryptionKey } from "./encryption-key.ts";
import { writePacket } from "./packets.ts";
import { ALGORITHM, readPublicKey, type PublicKey } from "./public-key.ts";

const TAG_PKESK = 1;
const MIN_RSA_BITS = 2048;

/** Encrypts a session key to one reader and gives the fields of the PKESK that follow its algorithm octet. */
type SessionKeyCipher = {
  readonly algorithm: number;
  encrypt(sessionKey: Uint8Array, cipherAlgorithm: number, version: 3 | 6): Buffer;
};

// parsing a key costs as much as using it
const ciphers = new WeakMap<PgpEncryptionKey, SessionKeyCipher>();

/**
 * The whole packet. Version 3 stands before SEIPDv1, version 6 before SEIPDv2, in which `cipherAlgorithm` (RFC 9580 9.3) is not
 * written. Throws when the key is of a kind that is not supported, weak or malformed.
 */
export function publicKeyEncryptedSessionKey(
  key: PgpEncryptionKey,
  sessionKey: Uint8Array,
  cipherAlgorithm: number,
  version: 3 | 6,
): Uint8Array {
  let cipher = ciphers.get(key);
  if (cipher === undefined) {
    cipher = sessionKeyCipher(key);
    ciphers.set(key, cipher);
  }
  const fingerprint = Buffer.from(key.fingerprint, "hex");
  const reader =
    version === 3
      ? Buffer.from(key.keyId, "hex")
      : Buffer.concat([Buffer.from([fingerprint.length + 1, key.version]), fingerprint]);
  return writePacket(
    TAG_PKESK,
    Buffer.concat([
      Buffer.from([version]),
      reader,
      Buffer.from([cipher.algorithm]),
      cipher.encrypt(sessionKey, cipherAlgorithm, version),
    ]),
  );
}

/** Throws, with the reason, when `publicKeyEncryptedSessionKey` would: key kinds, sizes, points, all tried once. */
export function checkEncryptionKey(key: PgpEncryptionKey): void {
  publicKeyEncryptedSessionKey(key, new Uint8Array(32), 9, 3);
}

/** For people: `rsa3072`, `P-256`, `elgamal2048`; `packet` is the body of a public-key packet. */
export function algorithmName(packet: Uint8Array): string {
  const key = readPublicKey(packet);
  const [first = new Uint8Array(0)] = key?.fields ?? [];
  switch (key?.algorithm) {
    case ALGORITHM.rsa:
    case ALGORITHM.rsaEncryptOnly:
      return `rsa${bitLength(first)}`;
    case ALGORITHM.elgamal:
      return `elgamal${bitLength(first)}`;
    case ALGORITHM.ecdh:
      return curveName(first) ?? "ecdh";
    case ALGORITHM.x25519:
      return "x25519";
    case ALGORITHM.x448:
      return "x448";
    default:
      return `algorithm ${packet[5] ?? 0}`;
  }
}

function sessionKeyCipher(key: PgpEncryptionKey): SessionKeyCipher {
  const parsed = readPublicKey(key.packet);
  if (parsed === undefined || parsed.version !== key.version)
    throw new Error(`key ${key.fingerprint} of ${key.algorithm} is not supported`);
  switch (parsed.algorithm) {
    case ALGORITHM.rsa:
    case ALGORITHM.rsaEncryptOnly:
      return rsaCipher(parsed);
    case ALGORITHM.ecdh:
      return ecdhCipher(parsed, ecdhAgreement(parsed, key.fingerprint));
    case ALGORITHM.x25519:
    case ALGORITHM.x448:
      return nativeCipher(parsed, nativeAgreement(parsed));
    default:
      throw new Error(`key ${key.fingerprint} of ${key.algorithm} is not supported`);
  }
}

function rsaCipher(key: PublicKey): SessionKeyCipher {
  const [modulus, exponent] = key.fields as [Uint8Array, Uint8Array];
  const isOdd = (integer: Uint8Array) => ((integer.at(-1) ?? 0) & 1) === 1;
  if (bitLength(modulus) < MIN_RSA_BITS - 1) throw new Error("RSA keys below 2048 bits are considered too weak");
  // with an exponent of 1 the session key would go out in clear
  if (!isOdd(modulus) || !isOdd(exponent) || bitLength(exponent) < 2)
    throw new Error("RSA keys of such modulus and exponent are considered too weak");
  const base64url = (integer: Uint8Array) => Buffer.from(integer).toString("base64url");
  const native = createPublicKey({
    key: { kty: "RSA", n: base64url(modulus), e: base64url(exponent) },
    format: "jwk",
  });
  return {
    algorithm: key.algorithm,
    encrypt(sessionKey, cipherAlgorithm, version) {
      const checked = withChecksum(sessionKey, version === 3 ? cipherAlgorithm : undefined);
      return writeInteger(publicEncrypt({ key: native, padding: constants.RSA_PKCS1_PADDING }, checked));
    },
  };
}

function ecdhCipher(key: PublicKey, agree: KeyAgreement): SessionKeyCipher {
  return {
    algorithm: key.algorithm,
    encrypt(sessionKey, cipherAlgorithm, version) {
      const checked = withChecksum(sessionKey, version === 3 ? cipherAlgorithm : undefined);
      const { ephemeral, wrapped } = agree(checked);
      return Buffer.concat([writeInteger(ephemeral), Buffer.from([wrapped.length]), wrapped]);
    },
  };
}

function nativeCipher(key: PublicKey, agree: KeyAgreement): SessionKeyCipher {
  return {
    algorithm: key.algorithm,
    encrypt(sessionKey, cipherAlgorithm, version) {
      const { ephemeral, wrapped } = agree(sessionKey);
      const head = version === 3 ? [wrapped.length + 1, cipherAlgorithm] : [wrapped.length];
      return Buffer.concat([ephemeral, Buffer.from(head), wrapped]);
    },
  };
}

/** The session key with its checksum and, before version 6, the cipher's number in front (RFC 9580 5.1.3, 5.1.5). */
function withChecksum(sessionKey: Uint8Array, cipherAlgorithm: number | undefined): Buffer {
  const sum = sessionKey.reduce((total, octet) => (total + octet) & 0xffff, 0);
  return Buffer.concat([
    Buffer.from(cipherAlgorithm === undefined ? [] : [cipherAlgorithm]),
    sessionKey,
    Buffer.from([sum >> 8, sum & 0xff]),
  ]);
}

/** A multiprecision integer: bit count, then the octets without leading zeros (RFC 9580 3.2). */
function writeInteger(octets: Uint8Array): Buffer {
  const start = octets.findIndex((octet) => octet !== 0);
  const significant = start < 0 ? octets.subarray(octets.length) : octets.subarray(start);
  const bits = bitLength(significant);
  return Buffer.concat([Buffer.from([bits >> 8, bits & 0xff]), significant]);
}

function bitLength(octets: Uint8Array): number {
  const start = octets.findIndex((octet) => octet !== 0);
  return start < 0 ? 0 : (octets.length - start) * 8 - Math.clz32(octets[start] ?? 0) + 24;
}
