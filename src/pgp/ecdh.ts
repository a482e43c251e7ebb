// Elliptic-curve key agreement of OpenPGP over node:crypto: ECDH (RFC 9580 11.5), X25519 and X448 (5.1.6, 5.1.7).
import {
  createCipheriv,
  createECDH,
  createHash,
  createPublicKey,
  diffieHellman,
  ECDH,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import { ALGORITHM, type PublicKey } from "./public-key.ts";

/** Encrypts one padded session key: the fields of the PKESK that depend on the algorithm. */
export type KeyAgreement = (sessionKey: Uint8Array) => { readonly ephemeral: Buffer; readonly wrapped: Buffer };

type Curve = { readonly name: string; readonly openssl: string };

/** By object identifier, hex (RFC 9580 9.2). */
const CURVES: ReadonlyMap<string, Curve> = new Map([
  ["2b060104019755010501", { name: "cv25519", openssl: "x25519" }],
  ["2a8648ce3d030107", { name: "P-256", openssl: "prime256v1" }],
  ["2b81040022", { name: "P-384", openssl: "secp384r1" }],
  ["2b81040023", { name: "P-521", openssl: "secp521r1" }],
  ["2b2403030208010107", { name: "brainpoolP256r1", openssl: "brainpoolP256r1" }],
  ["2b240303020801010b", { name: "brainpoolP384r1", openssl: "brainpoolP384r1" }],
  ["2b240303020801010d", { name: "brainpoolP512r1", openssl: "brainpoolP512r1" }],
]);
const HASHES: ReadonlyMap<number, string> = new Map([
  [8, "sha256"],
  [9, "sha384"],
  [10, "sha512"],
]);
const WRAP_KEY_BYTES: ReadonlyMap<number, number> = new Map([
  [7, 16],
  [8, 24],
  [9, 32],
]);
const SPKI_HEAD = {
  x25519: Buffer.from("302a300506032b656e032100", "hex"),
  x448: Buffer.from("3042300506032b656f033900", "hex"),
};
const NATIVE_POINT = 0x40;

/** The curve's name for people; undefined when it is not one of those that mail can be encrypted to. */
export function curveName(oid: Uint8Array): string | undefined {
  return CURVES.get(Buffer.from(oid).toString("hex"))?.name;
}

/**
 * Key agreement with an ECDH key (algorithm 18). `fingerprint` goes into the KDF. Throws when curve or KDF is not supported or
 * the point is not on its curve.
 */
export function ecdhAgreement(key: PublicKey, fingerprint: string): KeyAgreement {
  const [oid, point, kdf] = key.fields as [Uint8Array, Uint8Array, Uint8Array];
  const curve = CURVES.get(Buffer.from(oid).toString("hex"));
  const hash = HASHES.get(kdf[1] ?? 0);
  const wrapKeyBytes = WRAP_KEY_BYTES.get(kdf[2] ?? 0);
  if (curve === undefined) throw new Error("the curve of the key is not supported");
  if (kdf[0] !== 1 || kdf.length !== 3 || hash === undefined || wrapKeyBytes === undefined)
    throw new Error("the key derivation of the key is not supported");
  const parameters = Buffer.concat([
    Buffer.from([oid.length]),
    oid,
    Buffer.from([ALGORITHM.ecdh, kdf.length]),
    kdf,
    Buffer.from("Anonymous Sender    "),
    Buffer.from(fingerprint, "hex"),
  ]);
  const agree = curve.name === "cv25519" ? legacyCurve25519(point, key) : weierstrass(curve, point);
  return (sessionKey) => {
    const { ephemeral, shared } = agree();
    const digest = createHash(hash)
      .update(Buffer.from([0, 0, 0, 1]))
      .update(shared)
      .update(parameters)
      .digest();
    return { ephemeral, wrapped: wrap(digest.subarray(0, wrapKeyBytes), pkcs5Padded(sessionKey)) };
  };
}

/** Key agreement with an X25519 or X448 key (algorithms 25 and 26). */
export function nativeAgreement(key: PublicKey): KeyAgreement {
  const [point] = key.fields as [Uint8Array];
  const isX25519 = key.algorithm === ALGORITHM.x25519;
  const agree = montgomery(isX25519 ? "x25519" : "x448", point);
  return (sessionKey) => {
    const { ephemeral, shared } = agree();
    const input = Buffer.concat([ephemeral, point, shared]);
    const wrapKey = isX25519
      ? hkdfSync("sha256", input, "", "OpenPGP X25519", 16)
      : hkdfSync("sha512", input, "", "OpenPGP X448", 32);
    return { ephemeral, wrapped: wrap(Buffer.from(wrapKey), sessionKey) };
  };
}

type Agree = () => { readonly ephemeral: Buffer; readonly shared: Buffer };

function weierstrass(curve: Curve, point: Uint8Array): Agree {
  // decodes the point, which throws when it is not on the curve
  const whole = ECDH.convertKey(point, curve.openssl, undefined, undefined, "uncompressed");
  return () => {
    const own = createECDH(curve.openssl);
    return { ephemeral: own.generateKeys(), shared: own.computeSecret(whole) };
  };
}

function legacyCurve25519(point: Uint8Array, key: PublicKey): Agree {
  if (key.version !== 4 || point.length !== 33 || point[0] !== NATIVE_POINT)
    throw new Error("the curve25519 point of the key is malformed");
  const agree = montgomery("x25519", point.subarray(1));
  return () => {
    const { ephemeral, shared } = agree();
    return { ephemeral: Buffer.concat([Buffer.from([NATIVE_POINT]), ephemeral]), shared };
  };
}

function montgomery(curve: "x25519" | "x448", point: Uint8Array): Agree {
  const publicKey = createPublicKey({
    key: Buffer.concat([SPKI_HEAD[curve], point]),
    format: "der",
    type: "spki",
  });
  return () => {
    const own: { privateKey: KeyObject; publicKey: KeyObject } =
      curve === "x25519" ? generateKeyPairSync("x25519") : generateKeyPairSync("x448");
    // DER would take as long as half of the agreement
    const ephemeral = own.publicKey.export({ format: "raw-public" });
    // OpenSSL refuses points of small order, whose shared secret would be zero
    return { ephemeral, shared: diffieHellman({ privateKey: own.privateKey, publicKey }) };
  };
}

/** Padded to a multiple of eight octets, as RFC 9580 11.5 wants it before the key wrap. */
function pkcs5Padded(bytes: Uint8Array): Buffer {
  const count = 8 - (bytes.length % 8);
  return Buffer.concat([bytes, Buffer.alloc(count, count)]);
}

/** AES key wrap, RFC 3394. */
function wrap(wrapKey: Buffer, bytes: Uint8Array): Buffer {
  const cipher = createCipheriv(`aes${wrapKey.length * 8}-wrap`, wrapKey, Buffer.alloc(8, 0xa6));
  return Buffer.concat([cipher.update(bytes), cipher.final()]);
}
