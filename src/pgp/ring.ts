// A binary ring cut into its keys, so that a damaged key is found out and never hides its neighbours.
import { bodyOf, readPacket, TAG, type Packet, type PacketFault } from "./packets.ts";
import { keyIdOf, readPublicKey } from "./public-key.ts";
import { isIgnorable, isKeyPart, isPrimaryKey, primaryFingerprint } from "./transferable-key.ts";

/** Octets `start` to `end` hold one key, as far as its packets tell, or something that is none. */
export type RingPart =
  | { readonly kind: "key"; readonly start: number; readonly end: number }
  | {
      readonly kind: "fault";
      readonly start: number;
      readonly end: number;
      readonly reason: string;
      /** The ring ends within a packet of a key. */
      readonly isCutShort?: boolean;
    };

// a ring of 100,000 keys has some two million packets; more visits than this happen only in one made to be slow
const MAX_PACKETS = 8_000_000;

/**
 * Cuts at primary keys. Where the packets get out of step the next place is looked for at which a whole, readable primary-key
 * packet stands. Every octet, but for ignorable packets between keys, lies in one part. Packets are visited `mostPackets` times.
 */
export function* splitRing(bytes: Uint8Array, mostPackets = MAX_PACKETS): Generator<RingPart> {
  let packetsLeft = mostPackets;
  for (let at = 0; at < bytes.length;) {
    const first = readPacket(bytes, at);
    if ("fault" in first || !isPrimaryKey(first.tag)) {
      const isPassedOver = !("fault" in first) && isIgnorable(first.tag);
      const next = isPassedOver ? first.end : findPrimaryKey(bytes, at + 1);
      const isCutShort = next === bytes.length && isCutOff(first);
      if (!isPassedOver) yield { kind: "fault", start: at, end: next, reason: notAKey(first), isCutShort };
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
    yield* outOfStep(bytes, first, next, stop);
    at = next;
  }
}

/**
 * The key that begins with `primary` and whose packets went well until `stop`. `next` is where the next key begins, which may be
 * within its last packets: then a length among them is wrong, or they are not its own.
 */
function* outOfStep(bytes: Uint8Array, primary: Packet, next: number, stop: Packet | PacketFault): Generator<RingPart> {
  const at = primary.start;
  let end = primary.end;
  let bad = stop;
  while (end < next) {
    const packet = readPacket(bytes, end);
    bad = packet;
    if ("fault" in packet || !isKeyPart(packet.tag) || packet.end > next) break;
    end = packet.end;
  }
  const isCutShort = next === bytes.length && isCutOff(bad);
  // what is missing might be a revocation: a key with a hole is not used
  if (isCutShort && !isPrimaryKey(bad.tag ?? 0))
    yield { kind: "fault", start: at, end: next, reason: "the key is cut off", isCutShort };
  else if (end > next || isPartOfKey(bytes, primary, end, next))
    yield { kind: "fault", start: at, end: next, reason: `the key is damaged near octet ${Math.min(end, next)}` };
  else {
    yield { kind: "key", start: at, end };
    if (end < next) yield { kind: "fault", start: end, end: next, reason: notAKey(bad), isCutShort };
  }
}

/** Whether a packet that keys are made of begins here and goes on beyond the end. */
function isCutOff(found: Packet | PacketFault): found is PacketFault {
  if (!("fault" in found) || found.fault !== "truncated" || found.tag === undefined) return false;
  return isPrimaryKey(found.tag) || isKeyPart(found.tag);
}

/** Where from `from` on, before `to`, a whole primary-key packet begins whose fields fill it exactly; `to` when there is none. */
export function findPrimaryKey(bytes: Uint8Array, from: number, to = bytes.length): number {
  for (let at = from; at < to; at++) {
    const octet = bytes[at] ?? 0;
    // old or new format, tag 5 or 6
    if ((octet & 0xfc) !== 0x98 && (octet & 0xfc) !== 0x94 && octet !== 0xc5 && octet !== 0xc6) continue;
    const packet = readPacket(bytes, at);
    if (!("fault" in packet) && isPrimaryKey(packet.tag) && isReadableKey(bytes, packet)) return at;
  }
  return to;
}

function isReadableKey(bytes: Uint8Array, packet: Packet): boolean {
  const body = bodyOf(bytes, packet);
  const size = readPublicKey(body)?.publicSize;
  return size !== undefined && (packet.tag === TAG.publicKey ? size === body.length : size < body.length);
}

/** Whether what stands from `from` to `to` holds the id of the key before it, as its signatures do: then that key has a hole. */
function isPartOfKey(bytes: Uint8Array, primary: Packet, from: number, to: number): boolean {
  const fingerprint = primaryFingerprint(bytes.subarray(primary.start, primary.end));
  if (fingerprint === undefined) return true;
  const rest = Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from);
  return rest.includes(Buffer.from(keyIdOf(fingerprint), "hex"));
}

function notAKey(found: Packet | PacketFault): string {
  if (!("fault" in found)) return `a packet of type ${found.tag} does not belong here`;
  return found.fault === "truncated" ? "a packet is cut off" : "octets that are no OpenPGP packet";
}
