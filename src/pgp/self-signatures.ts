// What the owner of an OpenPGP key has signed of it: only that is kept of a key that a mail brought, or merged.
import type { SignaturePacket } from "openpgp";
import { asError } from "../as-error.ts";
import { readPgpCertificate, type PgpCertificate } from "./certificate.ts";
import { dropForged, type WholeKey } from "./genuine-signatures.ts";
import { openpgp } from "./openpgp.ts";
import { bodyOf, readPacket } from "./packets.ts";
import { ALGORITHM, bitLength, excessOf, readPublicKey } from "./public-key.ts";
import { mergedKey, minimalKey } from "./transferable-key.ts";

export type MergedCertificate =
  | { readonly kind: "merged"; readonly certificate: PgpCertificate }
  | { readonly kind: "refused"; readonly reason: string };

/** Of one key as it came, with the third-party signatures; without them it may have 256 KiB and 200 packets. */
export const MAX_OFFERED_BYTES = 512 * 1024;
/** SHA-2 and SHA-3 of at least 256 bits (RFC 9580 9.5). SHA-224 is none of them: gpg never makes it. */
const STRONG_DIGESTS: ReadonlySet<number> = new Set([8, 9, 10, 12, 14]);
const MIN_RSA_BITS = 2047;

export function isStrongDigest(hashAlgorithm: number | null): boolean {
  return hashAlgorithm !== null && STRONG_DIGESTS.has(hashAlgorithm);
}

/**
 * Whether signatures by a key count; `publicBody` is the body of its packet. Throws, with the reason, for DSA, for keys that only
 * encrypt, and for RSA keys that are weak, or so large that one look at them would block the relay.
 */
export function checkSigningKey(publicBody: Uint8Array): void {
  const key = readPublicKey(publicBody);
  const { rsa, rsaSignOnly, ecdsa, eddsaLegacy, ed25519, ed448 } = ALGORITHM;
  const isAccepted = [rsa, rsaSignOnly, ecdsa, eddsaLegacy, ed25519, ed448].some((one) => one === key?.algorithm);
  if (key === undefined || !isAccepted)
    throw new Error(`signatures by keys of algorithm ${publicBody[5] ?? 0} are not accepted`);
  const excess = excessOf(key);
  if (excess !== undefined) throw new Error(`signatures by keys of ${excess} are not accepted`);
  if (key.algorithm !== rsa && key.algorithm !== rsaSignOnly) return;
  const [modulus = new Uint8Array(0), exponent = new Uint8Array(0)] = key.fields;
  const bits = bitLength(modulus);
  if (bits < MIN_RSA_BITS)
    throw new Error(`RSA keys of ${bits} bits are not accepted; those of ${MIN_RSA_BITS + 1} are`);
  if (bitLength(exponent) <= 2 || ((exponent.at(-1) ?? 0) & 1) === 0)
    throw new Error("RSA keys of such an exponent are not accepted");
}

/**
 * The one key in `keyBytes` with those User IDs and subkeys, self-signatures and revocations that verify; third-party signatures
 * and secret material are left out. A User ID or subkey whose newest self-signature is over a weak digest is left out: the older
 * one is not what its owner said last. Revocations count over any digest that openpgp.js verifies. Times are not judged here.
 * Gives way to other work after each signature. Throws when the key cannot be read, is too large (256 KiB, 200 packets) or weak,
 * and at the next signature after `signal`.
 */
export async function verifiedKey(keyBytes: Uint8Array, signal?: AbortSignal): Promise<Uint8Array> {
  const minimal = minimalKey(keyBytes);
  const packet = readPacket(minimal.bytes, 0);
  if ("fault" in packet) throw new Error("no key packet found");
  checkSigningKey(bodyOf(minimal.bytes, packet));
  const { readKey } = await openpgp();
  const key = (await readKey({ binaryKey: minimal.bytes })) as WholeKey;
  // openpgp.js writes integers anew: a key that wrote them otherwise would become another one
  if (key.getFingerprint() !== minimal.fingerprint) throw new Error("the integers of the key are malformed");
  await dropForged(key, undefined, signal);
  const direct = standing(key.directSignatures);
  if (key.directSignatures.length > 0 && direct.length === 0)
    throw new Error(`key ${minimal.fingerprint} is signed by itself over a weak digest`);
  key.directSignatures = direct;
  for (const user of key.users) user.selfCertifications = standing(user.selfCertifications);
  for (const subkey of key.subkeys) subkey.bindingSignatures = standing(subkey.bindingSignatures);
  // what is revoked and nothing else stays, for copies that still have the rest
  key.users = key.users.filter((user) => user.selfCertifications.length + user.revocationSignatures.length > 0);
  key.subkeys = key.subkeys.filter((one) => one.bindingSignatures.length + one.revocationSignatures.length > 0);
  return key.write();
}

/** Those over strong digests, if none is newer or as new, else none. The signature of a subkey within counts with its own. */
function standing(signatures: readonly SignaturePacket[]): SignaturePacket[] {
  const isStrong = ({ hashAlgorithm, embeddedSignature }: SignaturePacket) =>
    isStrongDigest(hashAlgorithm) && (embeddedSignature === null || isStrongDigest(embeddedSignature.hashAlgorithm));
  const newest = (some: readonly SignaturePacket[]) =>
    Math.max(-1, ...some.map(({ created }) => created?.getTime() ?? 0));
  const strong = signatures.filter(isStrong);
  const weak = signatures.filter((signature) => !isStrong(signature));
  return newest(strong) > newest(weak) ? strong : [];
}

/**
 * `known` with what its owner says in another copy of it: a newer self-signature, a new User ID or subkey, a revocation. Who sent
 * the copy does not matter, for all of it is proved by the key itself. Judged at `now` (milliseconds since 1970). Refused when it
 * is another key, cannot be read, both together grow beyond the measure, or `signal` fires meanwhile; `known` then stands as it
 * was. Never throws.
 */
export async function mergedWith(
  known: PgpCertificate,
  offered: Uint8Array,
  now: number,
  signal?: AbortSignal,
): Promise<MergedCertificate> {
  if (offered.length > MAX_OFFERED_BYTES)
    return {
      kind: "refused",
      reason: `a key of ${offered.length} octets is too large; at most ${MAX_OFFERED_BYTES} are read`,
    };
  try {
    const { fingerprint } = minimalKey(offered);
    if (fingerprint !== known.fingerprint)
      return { kind: "refused", reason: `key ${fingerprint} is another key than ${known.fingerprint}` };
    const merged = mergedKey(known.bytes, await verifiedKey(offered, signal));
    return { kind: "merged", certificate: await readPgpCertificate(merged, now) };
  } catch (cause) {
    return { kind: "refused", reason: asError(cause).message };
  }
}
