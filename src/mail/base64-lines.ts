// Base64 in lines of 76 characters with CRLF, streamed; the length is known beforehand.
import { throughStage, type Sized } from "./chunks.ts";
import { lineBlocks } from "./line-blocks.ts";

const LINE_BYTES = 57;
const LINE_CHARS = 76;

/** Base64 of `binary`, RFC 2045 6.8; every line ends with CRLF, the last one too. */
export function base64Lines(binary: Sized): Sized {
  const chars = Math.ceil(binary.size / 3) * 4;
  return throughStage(binary, chars + 2 * Math.ceil(chars / LINE_CHARS), () => {
    const blocks = lineBlocks(LINE_BYTES);
    return { next: (chunk) => blocks.next(chunk).map(lines), end: () => blocks.end().map(lines) };
  });
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
