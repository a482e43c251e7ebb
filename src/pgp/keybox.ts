// GnuPG's keybox (.kbx): the OpenPGP keyblocks and X.509 certificates in it, each blob on its own.
import { createHash } from "node:crypto";

export type KeyboxContents = {
  /** Packets of one key each, with GnuPG's trust packets; `entry` says which blob it was. */
  readonly keyblocks: readonly { readonly entry: string; readonly bytes: Uint8Array }[];
  readonly x509: readonly Uint8Array[];
  readonly faults: readonly { readonly entry: string; readonly reason: string }[];
  /** The last blob goes on beyond the end. */
  readonly isCutShort: boolean;
};

const TYPE = { empty: 0, header: 1, openPgp: 2, x509: 3 } as const;
const FLAG_EPHEMERAL = 2;
const CHECKSUM_BYTES = 20;
const MIN_BLOB_BYTES = 5;
const MIN_KEY_BLOB_BYTES = 16 + CHECKSUM_BYTES;
// bounds on the search behind a damaged blob, which hashes whatever looks like one
const MAX_TRIES = 1000;
const MAX_FOUND_BYTES = 1024 * 1024;

/** Whether this is a keybox: its first blob is a header with the magic `KBXf`. */
export function isKeybox(bytes: Uint8Array): boolean {
  return bytes[4] === TYPE.header && Buffer.from(bytes.subarray(8, 12)).toString("latin1") === "KBXf";
}

/**
 * Reads all blobs: u32 length, u8 type, u8 version, u16 flags, u32 offset and u32 length of the keyblock, big-endian; SHA-1 over
 * the blob as its last 20 octets (GnuPG's kbx/keybox-blob.c). Deleted and ephemeral blobs are passed over.
 */
export function readKeybox(bytes: Uint8Array): KeyboxContents {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const keyblocks: { entry: string; bytes: Uint8Array }[] = [];
  const x509: Uint8Array[] = [];
  const faults: { entry: string; reason: string }[] = [];
  let isCutShort = false;
  for (let at = 0, count = 1; at < view.length; count++) {
    const entry = `blob ${count} at octet ${at}`;
    const length = at + MIN_BLOB_BYTES <= view.length ? view.readUInt32BE(at) : 0;
    if (length < MIN_BLOB_BYTES || at + length > view.length) {
      faults.push({ entry, reason: "its length is wrong or the file is cut off" });
      const next = findBlob(view, at + 1, view.length);
      isCutShort = next === view.length && (at + MIN_BLOB_BYTES > view.length || at + length > view.length);
      at = next;
      continue;
    }
    const blob = view.subarray(at, at + length);
    const type = blob[4];
    const content = type === TYPE.empty || type === TYPE.header ? undefined : blobContent(blob);
    if (typeof content === "string") {
      faults.push({ entry, reason: content });
      // if it is the length that is wrong, the next blobs lie within
      at = findBlob(view, at + 1, at + length);
      continue;
    }
    at += length;
    if (content === undefined) continue;
    if (type === TYPE.openPgp) keyblocks.push({ entry, bytes: content });
    else if (type === TYPE.x509) x509.push(content);
    else faults.push({ entry, reason: `blobs of type ${type ?? 0} are not known` });
  }
  return { keyblocks, x509, faults, isCutShort };
}

/** The keyblock or certificate of a blob, undefined when it is to be passed over, or what is wrong with it. */
function blobContent(blob: Buffer): Uint8Array | undefined | string {
  if (blob.length < MIN_KEY_BLOB_BYTES) return "it is too short";
  if ((blob.readUInt16BE(6) & FLAG_EPHEMERAL) !== 0) return undefined;
  const checked = blob.subarray(0, -CHECKSUM_BYTES);
  if (!createHash("sha1").update(checked).digest().equals(blob.subarray(-CHECKSUM_BYTES)))
    return "its checksum is wrong";
  const start = blob.readUInt32BE(8);
  const end = start + blob.readUInt32BE(12);
  return end > checked.length ? "its keyblock lies outside of it" : blob.subarray(start, end);
}

/** The next place from `from` on, before `to`, where a blob with a right checksum stands; `to` when there is none. */
function findBlob(view: Buffer, from: number, to: number): number {
  let triesLeft = MAX_TRIES;
  for (let at = from; at < to && at + MIN_KEY_BLOB_BYTES <= view.length && triesLeft > 0; at++) {
    const type = view[at + 4];
    if (type !== TYPE.openPgp && type !== TYPE.x509) continue;
    const length = view.readUInt32BE(at);
    if (length < MIN_KEY_BLOB_BYTES || length > MAX_FOUND_BYTES || at + length > view.length) continue;
    if (view.readUInt32BE(at + 8) + view.readUInt32BE(at + 12) > length - CHECKSUM_BYTES) continue;
    if (typeof blobContent(view.subarray(at, at + length)) !== "string") return at;
    triesLeft--;
  }
  return to;
}
