// Revocations: a revoked form of a key that we hold counts, whoever brings it, for the key itself has signed it (RFC 9580 5.2.1.11).
//
// Anybody may send keys without number, so nothing is verified of a key that nobody here has: the fingerprint is compared first, for the
// author and for the addresses that the key names, and only then are copies merged, a few of them for the whole mail.
import { pgpKey, type PgpKey } from "../keys/recipient-key.ts";
import { mailboxesIn, type Mailbox } from "../mail/address.ts";
import { addressesIn, type PgpCertificate } from "../pgp/certificate.ts";
import type { OfferedKey } from "../pgp/offered-certificates.ts";
import { bodyOf, readPacket, TAG } from "../pgp/packets.ts";
import { mergedWith } from "../pgp/self-signatures.ts";
import { primaryFingerprint } from "../pgp/transferable-key.ts";
import { factsOf, type HarvestObserver } from "./harvest-observer.ts";
import { keepKey, type KeepParts } from "./keep.ts";

export type RevocationParts = KeepParts & { readonly observe: HarvestObserver };

/** Different copies of one key, and merges for one mail. */
const MAX_COPIES = 20;
/** Keys of others than the author, and addresses of one key, that are looked up. */
const MAX_KEYS = 20;
const MAX_ADDRESSES = 20;

type Offer = { readonly copies: Uint8Array[]; readonly claimed: Set<string> };

/** Applies the revocations among these keys. Rejects when the store fails or `signal` fires. */
export async function takeRevocations(
  author: Mailbox,
  offered: readonly OfferedKey[],
  parts: RevocationParts,
  signal: AbortSignal,
  queueId: string,
): Promise<void> {
  let looks = 0;
  for (const [fingerprint, { copies, claimed }] of offersIn(offered)) {
    const people = [author, ...mailboxesIn([...claimed]).filter(({ key }) => key !== author.key)];
    for (const holder of await parts.harvested.holders(fingerprint, people)) {
      signal.throwIfAborted();
      for (const held of await heldBy(holder, fingerprint, parts, queueId)) {
        signal.throwIfAborted();
        const revoked = await revokedForm(held.certificate, copies.slice(0, MAX_COPIES - looks), parts, signal);
        looks += copies.length;
        signal.throwIfAborted();
        if (revoked !== undefined) await held.revoke(revoked);
        if (looks >= MAX_COPIES) return;
      }
    }
  }
}

/** By fingerprint, in the order in which they came. */
function offersIn(offered: readonly OfferedKey[]): ReadonlyMap<string, Offer> {
  const offers = new Map<string, Offer>();
  for (const { bytes, isSecret } of offered) {
    const fingerprint = isSecret ? undefined : primaryFingerprint(bytes);
    if (fingerprint === undefined) continue;
    const offer = offers.get(fingerprint) ?? { copies: [], claimed: new Set() };
    offers.set(fingerprint, offer);
    const { copies, claimed } = offer;
    if (copies.length === MAX_COPIES || copies.some((copy) => Buffer.compare(copy, bytes) === 0)) continue;
    copies.push(bytes);
    if (offers.size > MAX_KEYS) continue;
    for (const address of claimedIn(bytes)) if (claimed.size < MAX_ADDRESSES) claimed.add(address);
  }
  return offers;
}

/** The addresses of all User IDs, verified or not. */
function claimedIn(bytes: Uint8Array): readonly string[] {
  const userIds: string[] = [];
  for (let at = 0; at < bytes.length && userIds.length < MAX_ADDRESSES;) {
    const packet = readPacket(bytes, at);
    if ("fault" in packet) break;
    if (packet.tag === TAG.userId) userIds.push(Buffer.from(bodyOf(bytes, packet)).toString());
    at = packet.end;
  }
  return addressesIn(userIds);
}

type Held = { readonly certificate: PgpCertificate; revoke(key: PgpKey): Promise<void> };

/** The key as it is in use for this person, and as it waits. */
async function heldBy(
  holder: Mailbox,
  fingerprint: string,
  parts: RevocationParts,
  queueId: string,
): Promise<readonly Held[]> {
  const { personalKeys, harvested, observe } = parts;
  const held: Held[] = [];
  const [own] = await personalKeys.find(holder, "pgp", "incoming");
  if (own?.key.kind === "pgp" && own.key.fingerprint === fingerprint)
    held.push({
      certificate: own.key.certificate,
      async revoke(key) {
        const taught = {
          author: holder,
          key,
          signedAt: own.signedAt ?? own.addedAt,
          evidence: "the revocation itself",
        };
        const { acceptance } = await keepKey(taught, true, parts);
        if (acceptance.kind === "learn") observe.happened("learned", factsOf(holder, key, acceptance.reason), queueId);
      },
    });
  for (const { id, key: waiting } of await harvested.of(holder, "pgp"))
    if (waiting.kind === "pgp" && waiting.fingerprint === fingerprint)
      held.push({
        certificate: waiting.certificate,
        // the row stays: without it an older mail could bring the key again as it was
        async revoke(key) {
          await harvested.renew(id, key);
          observe.happened("ignored", factsOf(holder, key, "revoked"), queueId);
        },
      });
  return held;
}

/** `known` with the first revocation that one of the copies has; undefined when it is revoked already or there is none. */
async function revokedForm(
  known: PgpCertificate,
  copies: readonly Uint8Array[],
  { now }: RevocationParts,
  signal: AbortSignal,
): Promise<PgpKey | undefined> {
  if (isRevoked(known)) return undefined;
  for (const bytes of copies) {
    if (Buffer.compare(bytes, known.bytes) === 0) continue;
    const merged = await mergedWith(known, bytes, now(), signal);
    signal.throwIfAborted();
    if (merged.kind === "merged" && isRevoked(merged.certificate)) return pgpKey(merged.certificate);
  }
  return undefined;
}

function isRevoked({ encryption }: PgpCertificate): boolean {
  return !encryption.usable && encryption.reason === "revoked";
}
