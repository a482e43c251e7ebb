// PgpCertificate: one OpenPGP certificate, read once: verified User IDs, the encryption subkey, how long it holds.
import type { Key, Subkey, User } from "openpgp";
import { asError } from "../as-error.ts";
import { parseMailbox } from "../mail/address.ts";
import type { PgpEncryptionKey } from "./encryption-key.ts";
import { dropForged, type WholeKey } from "./genuine-signatures.ts";
import { openpgp } from "./openpgp.ts";
import { bodyOf, packetsIn, TAG } from "./packets.ts";
import { algorithmName, checkEncryptionKey } from "./pkesk.ts";
import { minimalKey, UselessKey, type MinimalKey } from "./transferable-key.ts";
import { validityMoments } from "./validity-moments.ts";

export type { PgpEncryptionKey } from "./encryption-key.ts";

/** Why a certificate has no key that mail could be encrypted to, as far as OpenPGP itself says it. */
export type PgpUnusable =
  "revoked" | "expired" | "not-yet-valid" | "weak-key" | "no-encryption-subkey" | "unsupported-algorithm";

/**
 * A parsed certificate; times are milliseconds since 1970 or undefined for "never". Validity was judged at `judgedAt`, and what is
 * said of it here holds until `changesAt`, at which it has to be read again.
 */
export type PgpCertificate = {
  /** The transferable public key, binary packets, without trust packets and without secret material. */
  readonly bytes: Uint8Array;
  /** Of the primary key, lower-case hex. */
  readonly fingerprint: string;
  readonly version: 4 | 6;
  readonly created: number;
  readonly expires: number | undefined;
  /** Full User IDs with a valid, unrevoked self-signature. */
  readonly userIds: readonly string[];
  /** Their addr-specs: what stands in the last `<…>`, or the whole User ID when it is a bare address. */
  readonly addresses: readonly string[];
  /** Those of all User IDs, verified or not: a key may be found by them, and is never trusted for them. */
  readonly claimedAddresses: readonly string[];
  readonly judgedAt: number;
  /** The first moment after `judgedAt` at which a key or a signature in it begins or ends; Infinity when there is none. */
  readonly changesAt: number;
  readonly encryption: PgpEncryption;
  /** Features subpacket advertises SEIPDv2 (RFC 9580 5.2.3.32). */
  readonly readsSeipd2: boolean;
};

type PgpEncryption =
  | { readonly usable: true; readonly key: PgpEncryptionKey; readonly expires: number | undefined }
  | { readonly usable: false; readonly reason: PgpUnusable; readonly detail: string };

/** Encrypts communications or storage (RFC 9580 5.2.3.29). */
const ENCRYPTION_FLAGS = 0x04 | 0x08;
/** RFC 9580 5.2.3.32. */
const SEIPDV2_FEATURE = 0x08;

/** What openpgp.js has and its types leave out: `null` for "at no time in particular". */
type VerifiableUser = { readonly userID: User["userID"]; verify(date: Date | null): Promise<true> };

/**
 * Reads one transferable key, binary, public or secret (of which only the public half is used), and judges it at `now`
 * (milliseconds since 1970). A revoked, expired or weak certificate is returned and says so; throws when the octets are not
 * exactly one key that can be read, when it is too large, and, a UselessKey, when no User ID in it has a self-signature that
 * verifies, at whatever time. Gives way to other work after each signature.
 */
export async function readPgpCertificate(keyBytes: Uint8Array, now: number): Promise<PgpCertificate> {
  const minimal = minimalKey(keyBytes);
  const { readKey } = await openpgp();
  const key = (await readKey({ binaryKey: minimal.bytes })) as WholeKey;
  // openpgp.js remembers the signatures that verify, and tries the others anew with every question, all in one turn; what the key
  // did sign and openpgp.js refuses all the same stays: the reason is told later
  await dropForged(key, ({ message }) => REFUSED.test(message));
  const created = key.getCreationTime().getTime();
  // User IDs of a key from the future are judged then: who it is for can be said, although it is not valid yet
  const judgeAt = new Date(created > now ? Math.max(created, ...selfSignatureTimes(key)) : now);
  const userIds = await verifiedUserIds(key, judgeAt);
  const expires = time(await key.getExpirationTime());
  const encryption = await judge(key, minimal, now, expires);
  const readsSeipd2 = encryption.usable && (await advertisesSeipd2(key, judgeAt));
  const isNobodys = userIds.length === 0 && !encryption.usable && encryption.reason === "no-encryption-subkey";
  if (isNobodys && (await verifiedUserIds(key, null)).length === 0)
    throw new UselessKey(`no User ID of key ${minimal.fingerprint} has a valid self-signature`);
  const version = key.keyPacket.version === 6 ? 6 : 4;
  return {
    bytes: minimal.bytes,
    fingerprint: minimal.fingerprint,
    version,
    created,
    expires,
    userIds,
    addresses: addressesIn(userIds),
    claimedAddresses: addressesIn(key.users.map(({ userID }) => userID?.userID ?? "")),
    judgedAt: now,
    changesAt: Math.min(...validityMoments(key).filter((moment) => moment > now)),
    encryption,
    readsSeipd2,
  };
}

/**
 * The address a User ID is for: in the last angle brackets, which must end it, or the whole of it. Undefined when there is none,
 * when it is not well-formed, and when there are control characters or broken UTF-8 anywhere in the User ID.
 */
export function addressIn(userId: string): string | undefined {
  if (/[\p{Cc}\u2028\u2029\ufffd]/u.test(userId)) return undefined;
  const text = userId.trim();
  const open = text.lastIndexOf("<");
  const address = open >= 0 && text.endsWith(">") ? text.slice(open + 1, -1) : text;
  return "mailbox" in parseMailbox(address) ? address : undefined;
}

export function addressesIn(userIds: readonly string[]): string[] {
  return [...new Set(userIds.flatMap((userId) => addressIn(userId) ?? []))];
}

/** Addresses in the User IDs of a key, verified or not, up to where its packets cannot be read. */
export function claimedIn(keyBytes: Uint8Array): string[] {
  const userIds: string[] = [];
  for (const packet of packetsIn(keyBytes)) {
    if (!("fault" in packet) && packet.tag === TAG.userId)
      userIds.push(new TextDecoder().decode(bodyOf(keyBytes, packet)));
  }
  return addressesIn(userIds);
}

/** Without a `date`: at whatever time. */
async function verifiedUserIds(key: Key, date: Date | null): Promise<string[]> {
  const verified = await Promise.all(
    key.users.map((user) =>
      (user as VerifiableUser).verify(date).then(
        () => user.userID?.userID,
        () => undefined,
      ),
    ),
  );
  return [...new Set(verified.filter((userId) => userId !== undefined))];
}

function selfSignatureTimes(key: Key): number[] {
  return key.users.flatMap((user: User) => user.selfCertifications.map(({ created }) => created?.getTime() ?? 0));
}

async function judge(key: Key, minimal: MinimalKey, now: number, expires: number | undefined): Promise<PgpEncryption> {
  const date = new Date(now);
  if (await key.isRevoked(undefined, undefined, date)) return unusable("revoked", "the certificate is revoked");
  if (key.getCreationTime().getTime() > now)
    return unusable("not-yet-valid", `the certificate was made at ${key.getCreationTime().toISOString()}`);
  if (expires !== undefined && expires <= now)
    return unusable("expired", `the certificate expired at ${new Date(expires).toISOString()}`);
  let chosen: Key | Subkey;
  try {
    chosen = await key.getEncryptionKey(undefined, date);
  } catch (cause) {
    return whyNone(key, minimal, date, cause);
  }
  const encryptionKey = toEncryptionKey(chosen);
  try {
    checkEncryptionKey(encryptionKey);
  } catch (cause) {
    return unusable(reasonIn(cause) ?? "unsupported-algorithm", `${encryptionKey.keyId}: ${messageOf(cause)}`);
  }
  const ends = "bindingSignatures" in chosen ? time(await chosen.getExpirationTime(date)) : undefined;
  return { usable: true, key: encryptionKey, expires: earlier(ends, expires) };
}

/** openpgp.js reports what it tried last, which may be a signing subkey: the newest encryption subkey is asked itself. */
async function whyNone(key: Key, minimal: MinimalKey, date: Date, cause: unknown): Promise<PgpEncryption> {
  const primary = await key.verifyPrimaryKey(date).then(
    () => undefined,
    (error: unknown) => error,
  );
  if (primary !== undefined || /primary key/i.test(messageOf(cause)))
    return unusable(reasonIn(primary ?? cause) ?? "no-encryption-subkey", messageOf(primary ?? cause));
  const newestFirst = key.subkeys
    .filter(isForEncryption)
    .sort((a, b) => b.getCreationTime().getTime() - a.getCreationTime().getTime());
  for (const subkey of newestFirst) {
    const error: unknown = await subkey.verify(date).then(
      () => cause,
      (reason: unknown) => reason,
    );
    return unusable(
      reasonIn(error) ?? "no-encryption-subkey",
      `subkey ${subkey.getKeyID().toHex()}: ${messageOf(error)}`,
    );
  }
  const [unreadable] = minimal.unreadableSubkeys;
  return unreadable === undefined
    ? unusable("no-encryption-subkey", "the certificate has no subkey for encryption")
    : unusable("unsupported-algorithm", `subkeys of ${unreadable} are not supported`);
}

function isForEncryption(subkey: Subkey): boolean {
  return subkey.bindingSignatures.some(({ keyFlags }) => ((keyFlags?.[0] ?? 0) & ENCRYPTION_FLAGS) !== 0);
}

// openpgp.js 6.3.2 tells its reasons by text alone; test/pgp/certificate.test.ts notices when a text changes
const REASONS: readonly (readonly [RegExp, PgpUnusable])[] = [
  [/is revoked/i, "revoked"],
  [/is expired/i, "expired"],
  [/in the future/i, "not-yet-valid"],
  [/too weak|insecure hash/i, "weak-key"],
  [/not support|is disabled|unknown critical|cannot find module/i, "unsupported-algorithm"],
];

/** What openpgp.js says of a signature after it has verified. */
const REFUSED = /^Insecure hash algorithm|^Unknown critical|^This key is intended to be revoked/;

function reasonIn(error: unknown): PgpUnusable | undefined {
  return REASONS.find(([pattern]) => pattern.test(messageOf(error)))?.[1];
}

function messageOf(error: unknown): string {
  return asError(error).message;
}

function unusable(reason: PgpUnusable, detail: string): PgpEncryption {
  return { usable: false, reason, detail };
}

function toEncryptionKey(chosen: Key | Subkey): PgpEncryptionKey {
  const { keyPacket } = chosen;
  const packet = keyPacket.write();
  return {
    fingerprint: keyPacket.getFingerprint(),
    keyId: keyPacket.getKeyID().toHex(),
    version: keyPacket.version === 6 ? 6 : 4,
    algorithm: algorithmName(packet),
    packet,
  };
}

async function advertisesSeipd2(key: WholeKey, date: Date): Promise<boolean> {
  const signature = await key.getPrimarySelfSignature(date);
  return ((signature.features?.[0] ?? 0) & SEIPDV2_FEATURE) !== 0;
}

function time(date: Date | number | null): number | undefined {
  return date instanceof Date ? date.getTime() : undefined;
}

function earlier(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined ? other : other === undefined ? one : Math.min(one, other);
}
