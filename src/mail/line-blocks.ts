// Line blocks: octets cut where the lines of their base64 text will end, so that each piece can be written by itself.
import { CHUNK_BYTES, type Sized } from "./chunks.ts";

/**
 * All octets of `binary`, in pieces of whole lines of `lineBytes` (a multiple of 3) whose text with CRLFs fits into one chunk; the last
 * piece may be a line that is not full. A piece is part of a chunk where it can be, and good until the next one is asked for.
 */
export async function* lineBlocks(binary: Sized, lineBytes: number): AsyncGenerator<Buffer> {
  const blockBytes = lineBytes * Math.floor(CHUNK_BYTES / ((lineBytes / 3) * 4 + 2));
  let begun = Buffer.alloc(0);
  for await (const chunk of binary.chunks()) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    // first the line that was begun: what follows it needs no copy
    let at = begun.length > 0 ? Math.min(lineBytes - begun.length, bytes.length) : 0;
    begun = Buffer.concat([begun, bytes.subarray(0, at)]);
    if (begun.length > 0 && begun.length < lineBytes) continue;
    if (begun.length > 0) yield begun;
    const end = bytes.length - ((bytes.length - at) % lineBytes);
    for (; at < end; at += blockBytes) yield bytes.subarray(at, Math.min(at + blockBytes, end));
    // a copy: the producer may use its chunk again
    begun = Buffer.from(bytes.subarray(end));
  }
  if (begun.length > 0) yield begun;
}
