// Base64 in lines with CRLF, streamed; the length is known beforehand.
import { throughStage, type Sized } from "./chunks.ts";
import { lineBlocks } from "./line-blocks.ts";

/** Of MIME, RFC 2045 6.8. */
const LINE_BYTES = 57;
const CRLF = 0x0d0a;

/** Base64 of `binary` in lines of 76 characters; every line ends with CRLF, the last one too. */
export function base64Lines(binary: Sized): Sized {
  return throughStage(binary, linesSize(binary.size, LINE_BYTES), () => {
    const blocks = lineBlocks(LINE_BYTES);
    const lines = (piece: Buffer) => blockLines(piece, LINE_BYTES);
    return { next: (chunk) => blocks.next(chunk).map(lines), end: () => blocks.end().map(lines) };
  });
}

/** Characters of the lines that so many octets make, each line `lineBytes` of them. */
export function linesSize(binaryBytes: number, lineBytes: number): number {
  return Math.ceil(binaryBytes / 3) * 4 + 2 * Math.ceil(binaryBytes / lineBytes);
}

/** The lines of a piece that `lineBlocks` has cut for lines of `lineBytes`: a whole number of them, or one that is not full. */
export function blockLines(piece: Buffer, lineBytes: number): Buffer {
  return piece.length % lineBytes === 0
    ? wholeLines(piece, lineBytes)
    : Buffer.from(`${piece.toString("base64")}\r\n`, "latin1");
}

/**
 * The text is laid at the end of the buffer and moved to the front line by line, eight octets a step: base64 is ASCII, so no octets
 * look like a NaN. Twice as fast as a copy for each line.
 */
function wholeLines(bytes: Buffer, lineBytes: number): Buffer {
  const lines = bytes.length / lineBytes;
  const chars = (lineBytes / 3) * 4;
  const inEights = chars - (chars % 8);
  const out = Buffer.allocUnsafe(lines * (chars + 2));
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  let from = lines * 2;
  out.write(bytes.toString("base64"), from, "latin1");
  for (let to = 0; to < out.length; to += chars + 2, from += chars) {
    for (let at = 0; at < inEights; at += 8) view.setFloat64(to + at, view.getFloat64(from + at));
    if (inEights < chars) view.setUint32(to + inEights, view.getUint32(from + inEights));
    view.setUint16(to + chars, CRLF);
  }
  return out;
}
