// Line blocks: octets cut where the lines of their base64 text will end, so that each piece can be written by itself.
import { CHUNK_BYTES, type Stage } from "./chunks.ts";

/**
 * Cuts into pieces of whole lines of `lineBytes` (a multiple of 3) whose text with CRLFs fits into one chunk; the last piece may be a
 * line that is not full. A piece is part of a chunk where it can be, and good until the next one.
 */
export function lineBlocks(lineBytes: number): Stage<Buffer> {
  const blockBytes = lineBytes * Math.floor(CHUNK_BYTES / ((lineBytes / 3) * 4 + 2));
  let begun = Buffer.alloc(0);
  return {
    next(chunk) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
      const pieces: Buffer[] = [];
      // first the line that was begun: what follows it needs no copy
      let at = begun.length > 0 ? Math.min(lineBytes - begun.length, bytes.length) : 0;
      if (at > 0) begun = Buffer.concat([begun, bytes.subarray(0, at)]);
      if (begun.length > 0 && begun.length < lineBytes) return pieces;
      if (begun.length > 0) pieces.push(begun);
      const end = bytes.length - ((bytes.length - at) % lineBytes);
      for (; at < end; at += blockBytes) pieces.push(bytes.subarray(at, Math.min(at + blockBytes, end)));
      begun = Buffer.from(bytes.subarray(end));
      return pieces;
    },
    end: () => (begun.length > 0 ? [begun] : []),
  };
}
