// A binary ring cut into its keys, so that a damaged key is found out and never hides its neighbours.
import { bodyOf, readPacket, TAG, type Packet, type PacketFault } from "./packets.ts";
import { readPublicKey } from "./public-key.ts";
import { isIgnorable, isKeyPart, isPrimaryKey } from "./transferable-key.ts";

/** Octets `start` to `end` hold one key, as far as its packets tell, or something that is none. */
export type RingPart =
  | { readonly kind: "key"; readonly start: number; readonly end: number }
  | { readonly kind: "fault"; readonly start: number; readonly end: number; readonly reason: string };

// a ring of 100,000 keys has some two million packets; more visits than this happen only in one made to be slow
const MAX_PACKETS = 8_000_000;
const TAIL_BYTES = 16 * 1024;

/**
 * Cuts at primary keys. Where the packets get out of step the next place is looked for at which a whole, readable primary-key
 * packet stands. Every octet, but for ignorable packets between keys, lies in one part.
 */
export function* splitRing(bytes: Uint8Array): Generator<RingPart> {
  let packetsLeft = MAX_PACKETS;
  for (let at = 0; at < bytes.length;) {
    const first = readPacket(bytes, at);
    if ("fault" in first || !isPrimaryKey(first.tag)) {
      const isPassedOver = !("fault" in first) && isIgnorable(first.tag);
      const next = isPassedOver ? first.end : findPrimaryKey(bytes, at + 1);
      if (!isPassedOver) yield { kind: "fault", start: at, end: next, reason: notAKey(first) };
      at = next;
      continue;
    }
    let end = first.end;
    let stop: Packet | PacketFault | undefined;
    while (end < bytes.length && stop === undefined) {
      const packet = readPacket(bytes, end);
      if (!("fault" in packet) && isPrimaryKey(packet.tag)) break;
      if ("fault" in packet || !isKeyPart(packet.tag)) stop = packet;
      else end = packet.end;
      if (--packetsLeft <= 0) {
        yield { kind: "fault", start: at, end: bytes.length, reason: "the ring is too badly damaged to be read on" };
        return;
      }
    }
    if (stop === undefined) {
      yield { kind: "key", start: at, end };
      at = end;
      continue;
    }
    const next = findPrimaryKey(bytes, at + 1);
    yield* outOfStep(bytes, at, end, next, stop);
    at = next;
  }
}

/** The key that began at `at` and went well until `end`; from `end` to `next` is something that does not belong to a key. */
function* outOfStep(
  bytes: Uint8Array,
  at: number,
  end: number,
  next: number,
  stop: Packet | PacketFault,
): Generator<RingPart> {
  const isTruncated =
    "fault" in stop && stop.fault === "truncated" && next === bytes.length && isKeyPart(stop.tag ?? 0);
  // what is missing might be a revocation: a key with a hole is not used
  if (isTruncated) yield { kind: "fault", start: at, end: next, reason: "the key is cut off" };
  else if (next < end || endsLikeAKey(bytes, end + 1, next))
    yield { kind: "fault", start: at, end: next, reason: `the key is damaged near octet ${Math.min(end, next)}` };
  else {
    yield { kind: "key", start: at, end };
    yield { kind: "fault", start: end, end: next, reason: notAKey(stop) };
  }
}

/** Where at or after `from` a whole primary-key packet stands whose fields fill it exactly; the end when there is none. */
export function findPrimaryKey(bytes: Uint8Array, from: number): number {
  for (let at = from; at < bytes.length; at++) {
    const octet = bytes[at] ?? 0;
    // old or new format, tag 5 or 6
    if ((octet & 0xf8) !== 0x98 && (octet & 0xfc) !== 0x94 && octet !== 0xc5 && octet !== 0xc6) continue;
    const packet = readPacket(bytes, at);
    if (!("fault" in packet) && isPrimaryKey(packet.tag) && isReadableKey(bytes, packet)) return at;
  }
  return bytes.length;
}

function isReadableKey(bytes: Uint8Array, packet: Packet): boolean {
  const body = bodyOf(bytes, packet);
  const size = readPublicKey(body)?.publicSize;
  const isPublic = packet.tag === TAG.publicKey || packet.tag === TAG.publicSubkey;
  return size !== undefined && (isPublic ? size === body.length : size < body.length);
}

/** Whether some packets of a key end exactly at `end`: then the octets before are a damaged part of that key. */
function endsLikeAKey(bytes: Uint8Array, from: number, end: number): boolean {
  for (let start = Math.max(from, end - TAIL_BYTES); start < end; start++) {
    let isLikeAKey = false;
    let at = start;
    while (at < end) {
      const packet = readPacket(bytes, at);
      if ("fault" in packet || !isKeyPart(packet.tag) || packet.end > end) break;
      if (packet.tag === TAG.signature) {
        if (![3, 4, 6].includes(bytes[packet.bodyStart] ?? 0) || packet.end - packet.bodyStart < 19) break;
        isLikeAKey = true;
      } else if (packet.tag === TAG.publicSubkey || packet.tag === TAG.secretSubkey) {
        if (!isReadableKey(bytes, packet)) break;
        isLikeAKey = true;
      }
      at = packet.end;
    }
    if (at === end && isLikeAKey) return true;
  }
  return false;
}

function notAKey(found: Packet | PacketFault): string {
  if (!("fault" in found)) return `a packet of type ${found.tag} is no part of a key`;
  return found.fault === "truncated" ? "a packet is cut off" : "octets that are no OpenPGP packet";
}
