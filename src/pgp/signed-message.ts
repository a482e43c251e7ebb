// A detached OpenPGP signature over the first part of a multipart/signed mail (RFC 3156 5): which of the keys at hand made it.
import type { Config, Key, PublicKey, Signature, SignaturePacket, Subkey } from "openpgp";
import { asError } from "../as-error.ts";
import { decodeArmor } from "./armor.ts";
import { readPgpCertificate, type PgpCertificate } from "./certificate.ts";
import { openpgp } from "./openpgp.ts";
import { packetsIn, readPacket, TAG } from "./packets.ts";
import { ALGORITHM, fingerprintOf, keyIdOf } from "./public-key.ts";
import { checkSigningKey, isStrongDigest, MAX_OFFERED_BYTES, verifiedKey } from "./self-signatures.ts";
import { isIgnorable, isKeyPart, isPrimaryKey, mergedKey, minimalKey, publicBody } from "./transferable-key.ts";

export type PgpSignatureVerdict =
  /** `signedAt` as the signature says, milliseconds since 1970, at most 15 minutes after `now`. */
  | { readonly kind: "good"; readonly certificate: PgpCertificate; readonly signedAt: number }
  | { readonly kind: "refused"; readonly reason: string };

/** One candidate, as far as its packets tell; `parts` has the fingerprint of each of its keys and the body of that key's packet. */
type Candidate = {
  readonly bytes: Uint8Array;
  readonly fingerprint: string;
  readonly parts: ReadonlyMap<string, Uint8Array>;
  readonly isSecret: boolean;
  /** Then `parts` has only what comes first. */
  readonly isTooLarge: boolean;
};

/** A signature packet by itself, and in the form that openpgp.js verifies. */
type DetachedSignature = { readonly packet: SignaturePacket; readonly whole: Signature };

type Signed = {
  readonly signature: DetachedSignature;
  readonly keyFingerprint: string;
  readonly candidate: Candidate;
};

const MAX_SIGNATURE_BYTES = 16 * 1024;
const MAX_SIGNATURE_PACKETS = 10;
const MAX_COPIES = 20;
const MAX_KEYS_IN_ONE = 200;
const MAX_AHEAD_MS = 15 * 60_000;

/** SHA-256, SHA-384 and SHA-512. */
const CURVE_DIGESTS: ReadonlySet<number | null> = new Set([8, 9, 10]);
/** Types of signatures over a message, binary and text (RFC 9580 5.2.1). */
const OVER_MESSAGE: ReadonlySet<number | null> = new Set([0, 1]);

/** RFC 9580 9.5; what is not here has no name to tell. */
const DIGEST_NAMES: ReadonlyMap<number, string> = new Map([
  [1, "MD5"],
  [2, "SHA-1"],
  [3, "RIPEMD-160"],
  [11, "SHA-224"],
]);

/** What is asked of openpgp.js whatever its global settings say: it has no limit for decompression of its own. */
async function strictConfig(): Promise<Config> {
  const { config, enums } = await openpgp();
  return {
    ...config,
    maxDecompressedMessageSize: 0,
    rejectMessageHashAlgorithms: new Set([enums.hash.md5, enums.hash.sha1, enums.hash.ripemd, enums.hash.sha224]),
    rejectHashAlgorithms: new Set([enums.hash.md5, enums.hash.ripemd]),
    rejectPublicKeyAlgorithms: new Set([enums.publicKey.elgamal, enums.publicKey.dsa]),
    minRSABits: 2047,
    allowInsecureVerificationWithReformattedKeys: false,
    allowMissingKeyFlags: false,
  };
}

/**
 * Verifies `signature`, armored or binary, over the octets `signed` as they stand (for a signature of type 0x01 with LF made
 * CRLF; blanks at line ends count, as for gpg). Each of `candidates` is one transferable public key in binary; any number of them
 * costs little, for only those whose key the signature names are looked into. Several copies of a key count as one, so that a
 * revocation in either counts. Of several signatures exactly one must be by a candidate. The key must be fit to sign at the time
 * of the signature and at `now` (milliseconds since 1970); a subkey must have signed its primary key (type 0x19, RFC 9580
 * 5.2.1.10). `certificate` holds only what its owner has signed over a strong digest. Refused is whatever is unclear, and what
 * `signal` interrupts. Never throws.
 */
export async function verifyPgpSignature(
  signed: Uint8Array,
  signature: Uint8Array,
  candidates: readonly Uint8Array[],
  now: number,
  signal?: AbortSignal,
): Promise<PgpSignatureVerdict> {
  try {
    const signatures = await readSignatures(binaryOf(signature));
    const keys = candidates.map(readCandidate).filter((key) => key !== undefined);
    return await judged(signed, theOneSigned(signatures, keys), keys, now, signal);
  } catch (cause) {
    return { kind: "refused", reason: asError(cause).message };
  }
}

function binaryOf(signature: Uint8Array): Uint8Array {
  if (signature.length > MAX_SIGNATURE_BYTES)
    throw new Error(`the signature has ${signature.length} octets; at most ${MAX_SIGNATURE_BYTES} are read`);
  if (((signature[0] ?? 0) & 0x80) !== 0) return signature;
  const { blocks, faults } = decodeArmor(Buffer.from(signature).toString("latin1"));
  const [block] = blocks;
  if (faults[0] !== undefined) throw new Error(`the armor of the signature is damaged: ${faults[0].reason}`);
  if (block === undefined || blocks.length > 1)
    throw new Error(`the signature part holds ${blocks.length} armored blocks instead of one`);
  if (block.type !== "SIGNATURE")
    throw new Error(`the signature part holds an OpenPGP ${block.type.toLowerCase()} instead of a signature`);
  return block.bytes;
}

/** Detached signatures and nothing else: no one-pass signature, no literal data, no compression that would have to be undone. */
async function readSignatures(bytes: Uint8Array): Promise<DetachedSignature[]> {
  const { readSignature, SignaturePacket } = await openpgp();
  const signatures: DetachedSignature[] = [];
  let count = 0;
  for (const packet of packetsIn(bytes)) {
    if ("fault" in packet) throw new Error("the signature is cut off or holds octets that are no OpenPGP packet");
    if (packet.tag !== TAG.signature)
      throw new Error(`the signature part holds a packet of type ${packet.tag}; only detached signatures are read`);
    if (++count > MAX_SIGNATURE_PACKETS)
      throw new Error(`the signature part has more than ${MAX_SIGNATURE_PACKETS} signatures`);
    const binarySignature = bytes.subarray(packet.start, packet.end);
    const whole = await readSignature({ binarySignature, config: await strictConfig() });
    const [read] = whole.packets;
    // another version or algorithm: nothing could verify it, and it may stand beside one that can be
    if (read instanceof SignaturePacket) signatures.push({ packet: read, whole });
  }
  if (signatures.length === 0)
    throw new Error(count === 0 ? "the signature is empty" : "the signature is of a version that is not read");
  return signatures;
}

/** Undefined when its packets are out of step, or it is not exactly one key: it must not hide its neighbours. */
function readCandidate(bytes: Uint8Array): Candidate | undefined {
  const parts = new Map<string, Uint8Array>();
  let fingerprint: string | undefined;
  let isSecret = false;
  let isTooLarge = bytes.length > MAX_OFFERED_BYTES;
  for (let at = 0; at < Math.min(bytes.length, MAX_OFFERED_BYTES);) {
    const packet = readPacket(bytes, at);
    if ("fault" in packet || isPrimaryKey(packet.tag) !== (at === 0)) return undefined;
    if (at > 0 && !isKeyPart(packet.tag)) return undefined;
    const isUserOrSignature = packet.tag === TAG.signature || packet.tag === TAG.userId || isIgnorable(packet.tag);
    const body = isUserOrSignature || packet.tag === TAG.userAttribute ? "" : publicBody(bytes, packet);
    if (at === 0 && typeof body === "string") return undefined;
    if (typeof body !== "string") {
      const own = fingerprintOf(body);
      parts.set(own, body);
      fingerprint ??= own;
    }
    isSecret ||= packet.tag === TAG.secretKey || packet.tag === TAG.secretSubkey;
    at = packet.end;
    if (parts.size <= MAX_KEYS_IN_ONE) continue;
    isTooLarge = true;
    break;
  }
  return fingerprint === undefined ? undefined : { bytes, fingerprint, parts, isSecret, isTooLarge };
}

function theOneSigned(signatures: readonly DetachedSignature[], candidates: readonly Candidate[]): Signed {
  const found = signatures.flatMap((signature) =>
    candidates.flatMap((candidate) =>
      [...candidate.parts.keys()]
        .filter((keyFingerprint) => isNamedBy(keyFingerprint, signature.packet))
        .map((keyFingerprint) => ({ signature, keyFingerprint, candidate })),
    ),
  );
  const [first] = found.filter(({ candidate }) => !candidate.isSecret);
  if (first === undefined) {
    if (found.length > 0) throw new Error("the key of the signature came along as a secret key, which is not used");
    const ids = signatures.map(({ packet }) => packet.issuerKeyID.toHex() || "none").join(", ");
    throw new Error(`no key came along for key id ${ids}`);
  }
  if (found.some(({ signature }) => signature !== first.signature))
    throw new Error("several signatures are by keys that came along; exactly one is wanted");
  const isSame = ({ keyFingerprint, candidate }: Signed) =>
    keyFingerprint === first.keyFingerprint && candidate.fingerprint === first.candidate.fingerprint;
  if (!found.every(isSame))
    throw new Error(`several keys that came along have key id ${first.signature.packet.issuerKeyID.toHex()}`);
  return first;
}

function isNamedBy(keyFingerprint: string, { issuerFingerprint, issuerKeyID }: SignaturePacket): boolean {
  if (issuerFingerprint !== null) return Buffer.from(issuerFingerprint).toString("hex") === keyFingerprint;
  return issuerKeyID.toHex() === keyIdOf(keyFingerprint);
}

async function judged(
  content: Uint8Array,
  { signature, keyFingerprint, candidate }: Signed,
  candidates: readonly Candidate[],
  now: number,
  signal: AbortSignal | undefined,
): Promise<PgpSignatureVerdict> {
  const { signatureType, hashAlgorithm, created } = signature.packet;
  const publicKeyAlgorithm: number | null = signature.packet.publicKeyAlgorithm;
  // openpgp.js passes over signatures of other types without a word
  if (!OVER_MESSAGE.has(signatureType))
    throw new Error(`the signature is of type ${signatureType ?? "none"} and not over a message`);
  if (!isStrongDigest(hashAlgorithm))
    throw new Error(`the signature is over a weak digest, ${DIGEST_NAMES.get(hashAlgorithm ?? 0) ?? "an unknown one"}`);
  // openpgp.js would load a library for it, which blocks for half a second; no program makes such signatures
  if (publicKeyAlgorithm === ALGORITHM.ecdsa && !CURVE_DIGESTS.has(hashAlgorithm))
    throw new Error("the signature is by ECDSA over SHA-3, which is not supported");
  if (created === null) throw new Error("the signature does not say when it was made");
  const signedAt = created.getTime();
  if (signedAt > now + MAX_AHEAD_MS)
    throw new Error(`the signature is from the future, ${new Date(signedAt).toISOString()}`);
  checkSigningKey(candidate.parts.get(keyFingerprint) ?? new Uint8Array(0));
  const bytes = await verifiedKey(mergedCopies(candidates, candidate.fingerprint), signal);
  const { readKey } = await openpgp();
  const key = await readKey({ binaryKey: bytes, config: await strictConfig() });
  // a sender's clock that is ahead by minutes makes neither its signature nor its new key bad
  const judgeAt = new Date(Math.max(now, signedAt));
  await checkFitness(key, signature.packet, keyFingerprint, judgeAt);
  await checkContent(content, signature.whole, key.toPublic(), judgeAt);
  return { kind: "good", certificate: await readPgpCertificate(bytes, now), signedAt };
}

function mergedCopies(candidates: readonly Candidate[], fingerprint: string): Uint8Array {
  const copies = candidates.filter((one) => one.fingerprint === fingerprint && !one.isSecret);
  if (copies.length > MAX_COPIES)
    throw new Error(`key ${fingerprint} came along ${copies.length} times; at most ${MAX_COPIES} are read`);
  if (copies.some(({ isTooLarge }) => isTooLarge))
    throw new Error(`key ${fingerprint} is too large; at most ${MAX_OFFERED_BYTES} octets are read`);
  return copies.map(({ bytes }) => minimalKey(bytes).bytes).reduce((one, other) => mergedKey(one, other));
}

/** Throws when the key that the signature names may not sign at `date`: it, or its primary key, revoked, expired, not bound. */
async function checkFitness(key: Key, { issuerKeyID }: SignaturePacket, keyFingerprint: string, date: Date) {
  let signer: Key | Subkey;
  try {
    signer = await key.getSigningKey(issuerKeyID, date, undefined, await strictConfig());
  } catch (cause) {
    throw new Error(`key ${issuerKeyID.toHex()} may not sign: ${messageOf(cause)}`, { cause });
  }
  if (signer.keyPacket.getFingerprint() !== keyFingerprint)
    throw new Error(`key id ${issuerKeyID.toHex()} stands for two keys`);
}

async function checkContent(content: Uint8Array, signature: Signature, key: PublicKey, date: Date) {
  const { createMessage, verify } = await openpgp();
  const message = await createMessage({ binary: content });
  const { signatures } = await verify({
    message,
    signature,
    verificationKeys: key,
    date,
    format: "binary",
    config: await strictConfig(),
  });
  const [only] = signatures;
  if (only === undefined || signatures.length > 1) throw new Error("the signature does not verify");
  try {
    await only.verified;
  } catch (cause) {
    throw new Error(`the signature does not verify: ${messageOf(cause)}`, { cause });
  }
}

function messageOf(cause: unknown): string {
  const text = asError(cause).message;
  return text.charAt(0).toLowerCase() + text.slice(1).replace(/\.$/, "");
}
