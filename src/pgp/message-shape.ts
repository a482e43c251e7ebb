// What an OpenPGP encrypted message shows without a key: its readers and its integrity. Shares no code with the writer.
import type { PgpEncryptionKey } from "./encryption-key.ts";

export type MessageShape = {
  /** In their order: key ID (PKESK version 3) or fingerprint (version 6), lower-case hex; sixteen zeros for a hidden reader. */
  readonly readerIds: readonly string[];
  readonly seipdVersion: 1 | 2;
  /** Where the body of the SEIPD packet begins, with its version octet (in the first part, if lengths are partial). */
  readonly contentStart: number;
  /** Octets of the whole message when the SEIPD packet ends it; undefined when its length is partial. */
  readonly totalSize: number | undefined;
};

const HIDDEN = "0".repeat(16);
/** PKESK, SEIPD and what must not stand in their place (RFC 9580 5). */
const NAMES: Readonly<Record<number, string>> = {
  3: "a session key for a password",
  4: "a one-pass signature",
  8: "compressed data",
  9: "encrypted data without integrity protection",
  11: "literal data in clear",
  20: "an AEAD packet of LibrePGP",
};
const MIN_FIRST_PART_BYTES = 512;

type Header = {
  readonly tag: number;
  readonly bodyStart: number;
  readonly length: number;
  readonly isPartial: boolean;
};

/**
 * Reads the beginning of a binary message: one or more PKESKs, then the head of one SEIPD packet; `head` must reach that far.
 * Throws, with the reason, for everything else. Of the ciphertext nothing is proved: only its owner can.
 */
export function readMessageShape(head: Uint8Array): MessageShape {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.length);
  const readerIds: string[] = [];
  const versions = new Set<number>();
  let at = 0;
  let header = readHeader(bytes, at);
  for (; header.tag === 1; header = readHeader(bytes, at)) {
    if (header.isPartial) throw new Error("a session key packet has a partial length");
    at = header.bodyStart + header.length;
    if (at > bytes.length) throw new Error("the message is cut off in a session key packet");
    const body = bytes.subarray(header.bodyStart, at);
    versions.add(body[0] ?? 0);
    readerIds.push(readerOf(body));
  }
  if (header.tag !== 18)
    throw new Error(`the message holds ${NAMES[header.tag] ?? `a packet of type ${header.tag}`} instead of ciphertext`);
  if (readerIds.length === 0) throw new Error("the message has no reader");
  const version = bytes[header.bodyStart];
  if (version !== 1 && version !== 2) throw new Error("the encrypted data is of an unknown version");
  if (versions.size !== 1 || !versions.has(version === 1 ? 3 : 6))
    throw new Error("session keys and encrypted data are of versions that do not fit");
  return {
    readerIds,
    seipdVersion: version,
    contentStart: header.bodyStart,
    totalSize: header.isPartial ? undefined : header.bodyStart + header.length,
  };
}

/** Whether the octets are one encrypted message, PKESKs and one SEIPD packet, from the first octet to the very last. */
export function isWholeMessage(bytes: Uint8Array): boolean {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  try {
    const { contentStart, totalSize } = readMessageShape(view);
    if (totalSize !== undefined) return totalSize === view.length;
    return partialEnd(view, contentStart) === view.length;
  } catch {
    return false;
  }
}

/** What a PKESK of this version must say to name `key` as its reader. */
export function readerIdOf(key: PgpEncryptionKey, pkeskVersion: 3 | 6): string {
  return pkeskVersion === 3 ? key.keyId : key.fingerprint;
}

function readerOf(body: Buffer): string {
  const version = body[0];
  if (version === 3 && body.length > 10) return body.toString("hex", 1, 9);
  if (version !== 6 || body.length < 3) throw new Error("a session key packet is of an unknown version or malformed");
  const size = body.readUInt8(1);
  if (size === 0) return HIDDEN;
  const keyVersion = body[2];
  const isSound = (keyVersion === 4 && size === 21) || (keyVersion === 6 && size === 33);
  if (!isSound || body.length <= 2 + size) throw new Error("a session key packet names its reader in a malformed way");
  return body.toString("hex", 3, 2 + size);
}

function readHeader(bytes: Buffer, at: number): Header {
  const first = bytes[at];
  if (first === undefined) throw new Error("the message is cut off before its encrypted data");
  if ((first & 0x80) === 0) throw new Error(`no OpenPGP packet begins at octet ${at}`);
  if ((first & 0x40) !== 0) return { tag: first & 0x3f, ...newLength(bytes, at + 1) };
  const octets = [1, 2, 4][first & 3];
  if (octets === undefined) throw new Error("a packet has no definite length");
  if (at + 1 + octets > bytes.length) throw new Error("the message is cut off in a packet header");
  return {
    tag: (first >> 2) & 0x0f,
    bodyStart: at + 1 + octets,
    length: bytes.readUIntBE(at + 1, octets),
    isPartial: false,
  };
}

function newLength(bytes: Buffer, at: number): Omit<Header, "tag"> {
  const first = bytes[at] ?? 0;
  const octets = first < 192 || (first >= 224 && first < 255) ? 1 : first < 224 ? 2 : 5;
  if (at + octets > bytes.length) throw new Error("the message is cut off in a packet header");
  const bodyStart = at + octets;
  if (first < 192) return { bodyStart, length: first, isPartial: false };
  if (first < 224) return { bodyStart, length: (first - 192) * 256 + bytes.readUInt8(at + 1) + 192, isPartial: false };
  if (first === 255) return { bodyStart, length: bytes.readUInt32BE(at + 1), isPartial: false };
  return { bodyStart, length: 2 ** (first & 0x1f), isPartial: true };
}

/** The end of a packet in parts whose first part begins at `contentStart`; throws when it is cut off or malformed. */
function partialEnd(bytes: Buffer, contentStart: number): number {
  let part = newLength(bytes, contentStart - 1);
  if (part.length < MIN_FIRST_PART_BYTES) throw new Error("the first part of a packet is too short");
  while (part.isPartial) part = newLength(bytes, part.bodyStart + part.length);
  return part.bodyStart + part.length;
}
