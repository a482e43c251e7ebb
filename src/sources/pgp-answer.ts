// PGP answer: what a server sent as "the keys of this mailbox" → the keys in it that name the mailbox.
import { isAmong, type Mailbox } from "../mail/address.ts";
import { absent, failed, found } from "../keys/lookup.ts";
import { pgpKey, type PgpKey } from "../keys/recipient-key.ts";
import type { Answer } from "../keys/source.ts";
import { decodeArmor } from "../pgp/armor.ts";
import { claimedIn, type PgpCertificate } from "../pgp/certificate.ts";
import { readKeyring, type KeyringFault } from "../pgp/keyring.ts";
import { cutOffAt, readPacket, TAG } from "../pgp/packets.ts";
import { splitRing } from "../pgp/ring.ts";
import { minimalKey, primaryFingerprint } from "../pgp/transferable-key.ts";

const MAX_KEYS = 50;
/** Of all keys that name the mailbox together: each is verified, which takes up to 5 ms, and up to 50 ms for a slow one. */
const MAX_SIGNATURES = 1_000;
const MAX_SLOW_SIGNATURES = 100;

/** A stretch of the answer that is one key by its packets; `names`: a User ID of the mailbox stands in it, verified or not. */
type Part = { readonly bytes: Uint8Array; readonly isSecret: boolean; readonly id: string; readonly names: boolean };

/**
 * Reads armored or binary keys. Kept are those with a verified User ID of `mailbox`, and revoked and expired ones that had one:
 * the chain says why they do not serve. Secret keys are not used. `failed` when the answer is no key or was cut off, when more
 * than 50 keys name the mailbox or have too many signatures, when what may be the mailbox's only key cannot be read, and when one
 * copy of its key can be read and another, perhaps with a revocation, cannot. All but what is no OpenPGP at all is said to be so
 * only here. Never throws.
 */
export async function keysInAnswer(body: Buffer, mailbox: Mailbox, now: number): Promise<Answer<PgpKey>> {
  const binary = binaryOf(body);
  if (typeof binary === "string") return onlyHere(`${binary} instead of a key`);
  const { parts, damaged } = partsOf(binary, mailbox);
  const publicParts = parts.filter((part) => !part.isSecret);
  const broken = damaged.find(({ id }) => id !== undefined);
  if (parts.length === 0 && broken !== undefined) return unknown(broken.reason);
  if (parts.length === 0) return failed(new Error(`answered with ${whatItIs(body)} instead of a key`));
  if (publicParts.length === 0) return onlyHere("a secret key instead of a key");
  // copies of one key count together: a revocation may stand in the one that has lost its User IDs
  const named = new Set(publicParts.filter((part) => part.names).map((part) => part.id));
  const own = publicParts.filter((part) => named.has(part.id));
  if (own.length > MAX_KEYS) return onlyHere(`${own.length} keys; at most ${MAX_KEYS} are read`);
  const excess = excessIn(own);
  if (excess !== undefined) return onlyHere(excess);
  const ring = own.length === 0 ? undefined : await readKeyring(Buffer.concat(own.map(({ bytes }) => bytes)), now);
  if (ring?.kind === "unreadable") return unknown(ring.reason);
  const keys = ring?.certificates.filter((certificate) => isFor(certificate, mailbox)) ?? [];
  const isCopy = ({ id }: { id: string | undefined }) => id !== undefined && named.has(id);
  // what cannot be read of a key of which another copy can: there may be the revocation
  const isOpen = ({ isSettled }: KeyringFault) => isSettled !== true;
  const doubt = ring?.faults.find((fault) => fault.droppedKey !== undefined && isOpen(fault));
  const torn = damaged.find(isCopy)?.reason ?? doubt?.reason;
  if (torn !== undefined) return unknown(torn);
  const lost = damaged.filter(({ bytes }) => mayName(bytes, mailbox)).map(({ reason }) => reason);
  const open = lost[0] ?? ring?.faults.find(isOpen)?.reason;
  if (keys.length === 0 && open !== undefined) return unknown(open);
  const secret = parts.some((part) => part.isSecret && part.names) ? ["a secret key"] : [];
  const setAside = [...lost, ...(ring?.faults.map(({ reason }) => reason) ?? []), ...secret];
  const answer = keys.length > 0 ? found(keys.map(pgpKey)) : absent;
  return setAside.length > 0 ? { ...answer, setAside } : answer;
}

/** What is too much of signatures that keys have of their own; a key that is none is told of later. */
function excessIn(own: readonly Part[]): string | undefined {
  let count = 0;
  let slow = 0;
  for (const { bytes } of own) {
    try {
      const { signatures } = minimalKey(bytes);
      count += signatures.count;
      slow += signatures.slow;
    } catch {
      continue;
    }
  }
  if (count > MAX_SIGNATURES) return `keys with ${count} signatures of their own; at most ${MAX_SIGNATURES} are read`;
  if (slow <= MAX_SLOW_SIGNATURES) return undefined;
  return `keys with ${slow} signatures that are slow to verify; at most ${MAX_SLOW_SIGNATURES} are read`;
}

/** Revoked and expired certificates have no valid User ID left; that one named the mailbox is known from its packets. */
function isFor({ encryption, addresses }: PgpCertificate, mailbox: Mailbox): boolean {
  if (!encryption.usable && (encryption.reason === "revoked" || encryption.reason === "expired")) return true;
  return isAmong(mailbox, addresses);
}

/** The packets: of all public-key blocks when it is armored. A text says what is wrong with it. */
function binaryOf(body: Buffer): Uint8Array | string {
  const text = body.toString("latin1");
  if (!/^-----BEGIN PGP /m.test(text)) return isCutOff(body) ? "a key that is cut off" : body;
  const { blocks, faults } = decodeArmor(text);
  // an answer that was damaged on its way may lack the newest key, or a revocation
  if (faults[0] !== undefined) return `a damaged key block (${faults[0].reason})`;
  const keys = blocks.filter(({ type }) => type === "PUBLIC KEY BLOCK").map(({ bytes }) => bytes);
  if (keys.length > 0) return keys.some(isCutOff) ? "a key that is cut off" : Buffer.concat(keys);
  return `an OpenPGP ${(blocks[0]?.type ?? "message").toLowerCase()}`;
}

/** Octets of which not even the first packet is whole may be anything. */
function isCutOff(bytes: Uint8Array): boolean {
  return (cutOffAt(bytes) ?? 0) > 0;
}

function partsOf(bytes: Uint8Array, mailbox: Mailbox) {
  const parts: Part[] = [];
  const damaged: { bytes: Uint8Array; reason: string; id: string | undefined }[] = [];
  for (const part of splitRing(bytes)) {
    const own = bytes.subarray(part.start, part.end);
    if (part.kind === "key") parts.push(partOf(own, mailbox));
    else damaged.push({ bytes: own, reason: part.reason, id: primaryFingerprint(own) });
  }
  return { parts, damaged };
}

function partOf(bytes: Uint8Array, mailbox: Mailbox): Part {
  return {
    bytes,
    isSecret: readPacket(bytes, 0).tag === TAG.secretKey,
    id: primaryFingerprint(bytes) ?? Buffer.from(bytes).toString("latin1"),
    names: isAmong(mailbox, claimedIn(bytes)),
  };
}

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** Whether the address stands anywhere in octets that cannot be read, upper and lower case alike. */
function mayName(bytes: Uint8Array, mailbox: Mailbox): boolean {
  return textOf(bytes).toLowerCase().includes(`${mailbox.local.toLowerCase()}@`);
}

/** Others may be asked for: the server answered, with something of which this mailbox alone has the harm. */
function onlyHere(what: string): Answer<PgpKey> {
  return { ...failed(new Error(`answered with ${what}`)), isOnlyHere: true };
}

function unknown(reason: string): Answer<PgpKey> {
  return onlyHere(`a key that cannot be read: ${reason}`);
}

function whatItIs(body: Buffer): string {
  if (body.length === 0) return "nothing";
  return /^\s*<(?:!doctype|html|\?xml|head|body)/i.test(body.toString("latin1", 0, 200))
    ? "a web page"
    : "something else";
}
