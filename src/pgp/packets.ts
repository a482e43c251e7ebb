// OpenPGP packet framing (RFC 9580 4.2), old and new format, for keys: definite lengths only.

/** Where one packet stands: its header begins at `start`, its body at `bodyStart`; `end` is the first octet after it. */
export type Packet = { readonly tag: number; readonly start: number; readonly bodyStart: number; readonly end: number };

export type PacketFault = {
  /** "garbage": no packet begins here. "truncated": one begins here and goes on beyond the end. */
  readonly fault: "garbage" | "truncated";
  readonly tag: number | undefined;
};

export const TAG = {
  signature: 2,
  secretKey: 5,
  publicKey: 6,
  secretSubkey: 7,
  marker: 10,
  trust: 12,
  userId: 13,
  publicSubkey: 14,
  userAttribute: 17,
  padding: 21,
} as const;

const GARBAGE: PacketFault = { fault: "garbage", tag: undefined };

/** Reads the header of the packet at `at`. Partial and indeterminate lengths, which keys never have, count as garbage. */
export function readPacket(bytes: Uint8Array, at: number): Packet | PacketFault {
  const first = bytes[at];
  if (first === undefined || (first & 0x80) === 0) return GARBAGE;
  const isNewFormat = (first & 0x40) !== 0;
  const tag = isNewFormat ? first & 0x3f : (first >> 2) & 0x0f;
  if (tag === 0) return GARBAGE;
  const length = isNewFormat ? newLength(bytes, at + 1) : oldLength(bytes, at + 1, first & 3);
  if (length === undefined) return at + 6 > bytes.length ? { fault: "truncated", tag } : GARBAGE;
  const bodyStart = at + 1 + length.octets;
  const end = bodyStart + length.value;
  return end > bytes.length ? { fault: "truncated", tag } : { tag, start: at, bodyStart, end };
}

/** The packets from the first octet on; where none can be read the fault is the last that comes. */
export function* packetsIn(bytes: Uint8Array): Generator<Packet | PacketFault, void, undefined> {
  for (let at = 0; at < bytes.length;) {
    const packet = readPacket(bytes, at);
    yield packet;
    if ("fault" in packet) return;
    at = packet.end;
  }
}

/** Where the packet begins that goes on beyond the end, if packets follow one another up to there. */
export function cutOffAt(bytes: Uint8Array): number | undefined {
  let at = 0;
  for (const packet of packetsIn(bytes)) {
    if ("fault" in packet) return packet.fault === "truncated" ? at : undefined;
    at = packet.end;
  }
  return undefined;
}

export function bodyOf(bytes: Uint8Array, packet: Packet): Uint8Array {
  return bytes.subarray(packet.bodyStart, packet.end);
}

/** A whole packet with a new-format header. */
export function writePacket(tag: number, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([0xc0 | tag]), writeLength(body.length), body]);
}

/** A new-format length in the fewest octets. Throws a RangeError beyond 4 GiB. */
export function writeLength(length: number): Buffer {
  if (length < 192) return Buffer.from([length]);
  if (length < 8384) return Buffer.from([((length - 192) >> 8) + 192, (length - 192) & 0xff]);
  const octets = Buffer.alloc(5, 0xff);
  octets.writeUInt32BE(length, 1);
  return octets;
}

type Length = { readonly value: number; readonly octets: number };

function newLength(bytes: Uint8Array, at: number): Length | undefined {
  const first = bytes[at];
  if (first === undefined || (first >= 224 && first < 255)) return undefined;
  if (first < 192) return { value: first, octets: 1 };
  if (first === 255) return bigEndian(bytes, at + 1, 4, 5);
  const second = bytes[at + 1];
  return second === undefined ? undefined : { value: ((first - 192) << 8) + second + 192, octets: 2 };
}

function oldLength(bytes: Uint8Array, at: number, lengthType: number): Length | undefined {
  const octets = [1, 2, 4][lengthType];
  return octets === undefined ? undefined : bigEndian(bytes, at, octets, octets);
}

function bigEndian(bytes: Uint8Array, at: number, count: number, octets: number): Length | undefined {
  if (at + count > bytes.length) return undefined;
  let value = 0;
  for (let i = at; i < at + count; i++) value = value * 256 + (bytes[i] ?? 0);
  return { value, octets };
}
