// Transferable public keys (RFC 9580 10.1) as packets: what is needed of one key, and two copies of it made one.
import { bodyOf, readPacket, TAG, writePacket, type Packet } from "./packets.ts";
import { ALGORITHM, excessOf, fingerprintOf, keyIdOf, readPublicKey } from "./public-key.ts";

/** openpgp.js checks every self-signature: a key beyond these measures would keep the relay busy for seconds. */
const MAX_KEY_BYTES = 256 * 1024;
const MAX_KEY_PACKETS = 200;
/** Of those that openpgp.js verifies in JavaScript, at up to 50 ms each. */
const MAX_SLOW_SIGNATURES = 50;
/** SHA-1, SHA-256, SHA-384 and SHA-512 (RFC 9580 9.5): with these openpgp.js lets WebCrypto verify RSA and ECDSA. */
const WEB_DIGESTS: ReadonlySet<number> = new Set([2, 8, 9, 10]);

export type MinimalKey = {
  /** Packets as they were, without trust packets, user attributes, third-party signatures and secret material. */
  readonly bytes: Uint8Array;
  /** Of the primary key. */
  readonly fingerprint: string;
  /** Subkeys left out because nothing here can read them: "version 5", "algorithm 21". */
  readonly unreadableSubkeys: readonly string[];
  readonly signatures: {
    readonly count: number;
    /** How many of them are verified in JavaScript, which takes milliseconds each. */
    readonly slow: number;
  };
};

/** Says all there is to know of a key: it serves nobody here, whatever else is in it or in another copy of it. */
export class UselessKey extends Error {}

export function isPrimaryKey(tag: number): boolean {
  return tag === TAG.publicKey || tag === TAG.secretKey;
}

function isSubkey(tag: number): boolean {
  return tag === TAG.publicSubkey || tag === TAG.secretSubkey;
}

/** Whether a packet may stand among keys and says nothing about them (RFC 9580 4.3, 5.8, 5.10, 5.14). */
export function isIgnorable(tag: number): boolean {
  return tag === TAG.trust || tag === TAG.marker || tag === TAG.padding || tag >= 40;
}

/** Whether a packet may follow a primary key. */
export function isKeyPart(tag: number): boolean {
  return tag === TAG.signature || tag === TAG.userId || tag === TAG.userAttribute || isSubkey(tag) || isIgnorable(tag);
}

/**
 * The minimal form of the one key in `bytes`, public or secret. Throws when there is not exactly one whole, readable key, and when
 * it is made to keep a reader busy; UselessKey when it is of a kind that is not supported.
 */
export function minimalKey(bytes: Uint8Array): MinimalKey {
  const packets = allPackets(bytes);
  const [primary] = packets;
  if (primary === undefined || !isPrimaryKey(primary.tag)) throw new Error("no key packet found");
  const primaryBody = publicBody(bytes, primary);
  if (typeof primaryBody === "string") throw new UselessKey(`keys of ${primaryBody} are not supported`);
  const fingerprint = fingerprintOf(primaryBody);
  const parts: Uint8Array[] = [asPublic(bytes, primary, primaryBody)];
  const unreadableSubkeys: string[] = [];
  let isWanted = true;
  for (const packet of packets.slice(1)) {
    if (isPrimaryKey(packet.tag)) throw new Error("there is more than one key");
    if (!isKeyPart(packet.tag)) throw new Error(`a packet of type ${packet.tag} does not belong into a key`);
    if (isIgnorable(packet.tag)) continue;
    if (packet.tag === TAG.signature) {
      if (isWanted && isIssuedBy(bodyOf(bytes, packet), fingerprint))
        parts.push(bytes.subarray(packet.start, packet.end));
      continue;
    }
    // signatures belong to the user or subkey packet before them
    const body = isSubkey(packet.tag) ? publicBody(bytes, packet) : bodyOf(bytes, packet);
    isWanted = typeof body !== "string" && packet.tag !== TAG.userAttribute;
    if (typeof body === "string") unreadableSubkeys.push(body);
    else if (isWanted) parts.push(asPublic(bytes, packet, body));
  }
  const minimal = capped(parts);
  return { bytes: minimal, fingerprint, unreadableSubkeys, signatures: countedSignatures(minimal, primaryBody) };
}

/** The fingerprint of the key that `bytes` begin with, whatever follows its first packet; undefined when it cannot be read. */
export function primaryFingerprint(bytes: Uint8Array): string | undefined {
  const packet = readPacket(bytes, 0);
  if ("fault" in packet || !isPrimaryKey(packet.tag)) return undefined;
  const body = publicBody(bytes, packet);
  return typeof body === "string" ? undefined : fingerprintOf(body);
}

/** Throws when there are too many that are slow to verify. */
function countedSignatures(minimal: Uint8Array, primaryBody: Uint8Array) {
  const algorithm = primaryBody[5] ?? 0;
  const digests = allPackets(minimal)
    .filter(({ tag }) => tag === TAG.signature)
    .map((packet) => digestOf(bodyOf(minimal, packet)));
  const odd = digests.filter((digest) => !WEB_DIGESTS.has(digest));
  // there openpgp.js falls back to a library that takes half a second for the first signature alone
  if (algorithm === ALGORITHM.ecdsa && odd.length > 0)
    throw new Error(`the key has an ECDSA signature over a digest that is not supported, number ${odd[0] ?? 0}`);
  const slow = algorithm === ALGORITHM.dsa ? digests.length : algorithm <= ALGORITHM.rsaSignOnly ? odd.length : 0;
  if (slow > MAX_SLOW_SIGNATURES) {
    // no DSA key serves here, however few signatures it has
    if (algorithm === ALGORITHM.dsa)
      throw new UselessKey(`keys of DSA with more than ${MAX_SLOW_SIGNATURES} signatures are not supported`);
    throw new Error(
      `the key has ${slow} signatures of its own that are slow to verify; at most ${MAX_SLOW_SIGNATURES} are read`,
    );
  }
  return { count: digests.length, slow };
}

/** The hash algorithm of a signature packet's body (RFC 9580 5.2.2, 5.2.3). */
function digestOf(signature: Uint8Array): number {
  return (signature[0] === 3 ? signature[16] : signature[3]) ?? 0;
}

/**
 * Two copies of one key, in minimal form, as one: a revocation in either of them counts. Throws when it grows beyond the measure.
 */
export function mergedKey(one: Uint8Array, other: Uint8Array): Uint8Array {
  const components = new Map<string, Map<string, Uint8Array>>();
  for (const bytes of [one, other]) {
    let component = new Map<string, Uint8Array>();
    for (const packet of allPackets(bytes)) {
      const content = `${packet.tag}:${Buffer.from(bodyOf(bytes, packet)).toString("latin1")}`;
      if (packet.tag !== TAG.signature) {
        component = components.get(content) ?? new Map<string, Uint8Array>();
        components.set(content, component);
      }
      component.set(content, bytes.subarray(packet.start, packet.end));
    }
  }
  // direct-key signatures and revocations of the primary key stay first; User IDs must come before subkeys (RFC 9580 10.1.1)
  const ordered = [...components].sort(([a], [b]) => rank(a) - rank(b));
  return capped(ordered.flatMap(([, packets]) => [...packets.values()]));
}

function rank(content: string): number {
  return [`${TAG.publicKey}:`, `${TAG.userId}:`, `${TAG.publicSubkey}:`].findIndex((head) => content.startsWith(head));
}

function capped(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = Buffer.concat(parts);
  if (parts.length > MAX_KEY_PACKETS || bytes.length > MAX_KEY_BYTES)
    throw new Error(
      `the key has ${parts.length} packets and ${bytes.length} octets of its own; at most ${MAX_KEY_PACKETS} and ${MAX_KEY_BYTES} are read`,
    );
  return bytes;
}

function allPackets(bytes: Uint8Array): Packet[] {
  const packets: Packet[] = [];
  for (let at = 0; at < bytes.length;) {
    const packet = readPacket(bytes, at);
    if ("fault" in packet)
      throw new Error(packet.fault === "truncated" ? "the key is cut off" : `no packet begins at octet ${at}`);
    packets.push(packet);
    at = packet.end;
  }
  return packets;
}

function isSecret(packet: Packet): boolean {
  return packet.tag === TAG.secretKey || packet.tag === TAG.secretSubkey;
}

/** The public part of a key packet's body, or what stands against reading it. */
export function publicBody(bytes: Uint8Array, packet: Packet): Uint8Array | string {
  const body = bodyOf(bytes, packet);
  const key = readPublicKey(body);
  if (key !== undefined) return excessOf(key) ?? (isSecret(packet) ? body.subarray(0, key.publicSize) : body);
  const version = body[0] ?? 0;
  return version === 4 || version === 6 ? `algorithm ${body[5] ?? 0}` : `version ${version}`;
}

function asPublic(bytes: Uint8Array, packet: Packet, body: Uint8Array): Uint8Array {
  return isSecret(packet)
    ? writePacket(packet.tag === TAG.secretKey ? TAG.publicKey : TAG.publicSubkey, body)
    : bytes.subarray(packet.start, packet.end);
}

/** Whether a signature names this key as its issuer, in version 3 by field, else by subpacket 16 or 33 (RFC 9580 5.2.3). */
function isIssuedBy(signature: Uint8Array, fingerprint: string): boolean {
  const body = Buffer.from(signature.buffer, signature.byteOffset, signature.length);
  const version = body[0];
  const keyId = keyIdOf(fingerprint);
  if (version === 3) return body.toString("hex", 7, 15) === keyId;
  if (version !== 4 && version !== 6) return false;
  const countOctets = version === 4 ? 2 : 4;
  let at = 4;
  for (let area = 0; area < 2 && at + countOctets <= body.length; area++) {
    const start = at + countOctets;
    const end = start + body.readUIntBE(at, countOctets);
    if (end > body.length) return false;
    if (subpackets(body.subarray(start, end)).some((one) => namesIssuer(one, keyId, fingerprint))) return true;
    at = end;
  }
  return false;
}

function namesIssuer(subpacket: Buffer, keyId: string, fingerprint: string): boolean {
  const type = (subpacket[0] ?? 0) & 0x7f;
  return (
    (type === 16 && subpacket.toString("hex", 1) === keyId) ||
    (type === 33 && subpacket.toString("hex", 2) === fingerprint)
  );
}

function subpackets(area: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < area.length;) {
    const first = area[at] ?? 0;
    const octets = first < 192 ? 1 : first < 255 ? 2 : 5;
    if (at + octets > area.length) break;
    const length =
      octets === 1
        ? first
        : octets === 2
          ? ((first - 192) << 8) + (area[at + 1] ?? 0) + 192
          : area.readUInt32BE(at + 1);
    found.push(area.subarray(at + octets, at + octets + length));
    at += octets + length;
  }
  return found;
}
