// Content-Transfer-Encoding of incoming mail: strict decoders whose output is never larger than their input (RFC 2045 6).
import type { MimeFault } from "./content-type.ts";
import { fieldsNamed, fieldValue, type HeaderSection } from "./header.ts";

export type TransferEncoding = "7bit" | "8bit" | "binary" | "base64" | "quoted-printable";

const ENCODINGS: readonly TransferEncoding[] = ["7bit", "8bit", "binary", "base64", "quoted-printable"];

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const EQUALS = 61;

/** The encoding of an entity's body; `7bit` when nothing is said. A field that occurs twice or is not known is a fault. */
export function transferEncoding(header: HeaderSection): TransferEncoding | MimeFault {
  const [field, second] = fieldsNamed(header, "content-transfer-encoding");
  if (field === undefined) return "7bit";
  if (second !== undefined) return { fault: "more than one Content-Transfer-Encoding" };
  const value = fieldValue(field).toLowerCase();
  return ENCODINGS.find((encoding) => encoding === value) ?? { fault: "Content-Transfer-Encoding is not known" };
}

type Decoded = { readonly bytes: Buffer } | MimeFault;

/** The octets that a body stands for; 7bit, 8bit and binary are not copied. Takes time in proportion to the size. */
export function decodeBody(body: Buffer, encoding: TransferEncoding): Decoded {
  const work = decodingInPieces(body, encoding);
  let step = work.next();
  while (step.done !== true) step = work.next();
  return step.value;
}

/** The same, with a stop after each 256 KiB of base64, when other work may be done. */
export function* decodingInPieces(body: Buffer, encoding: TransferEncoding): Generator<void, Decoded, void> {
  switch (encoding) {
    case "7bit":
    case "8bit":
    case "binary":
      return { bytes: body };
    case "base64":
      return yield* fromBase64(body);
    case "quoted-printable":
      return fromQuotedPrintable(body);
  }
}

/** Of a multiple of four characters, so that each piece stands for whole octets. */
const PIECE_BYTES = 256 * 1024;

/** Base64 in lines of any length; white space may end a line and stand nowhere else. */
function* fromBase64(body: Buffer): Generator<void, Decoded, void> {
  const digits = Buffer.allocUnsafe(Math.min(PIECE_BYTES, body.length));
  const pieces: Buffer[] = [];
  let count = 0;
  let isLineOver = false;
  for (let start = 0; start < body.length; start += PIECE_BYTES) {
    const end = Math.min(start + PIECE_BYTES, body.length);
    for (let at = start; at < end; at += 1) {
      const octet = body[at] ?? 0;
      if (octet === LF) isLineOver = false;
      else if (octet === SPACE || octet === TAB || (octet === CR && body[at + 1] === LF)) isLineOver = true;
      else if (isLineOver) return { fault: "base64 with white space within a line" };
      else {
        if (count === PIECE_BYTES) {
          const piece = pieceOf(digits);
          // padding ends the whole
          if (piece === undefined || piece.length % 3 !== 0) return MALFORMED;
          pieces.push(piece);
          count = 0;
        }
        digits[count++] = octet;
      }
    }
    if (end < body.length) yield;
  }
  const last = pieceOf(digits.subarray(0, count));
  return last === undefined ? MALFORMED : { bytes: Buffer.concat([...pieces, last]) };
}

const MALFORMED: MimeFault = { fault: "base64 is malformed" };

function pieceOf(digits: Buffer): Buffer | undefined {
  const text = digits.toString("latin1");
  const bytes = Buffer.from(text, "base64");
  // what the decoder passes over in silence (other characters, padding in the middle, stray bits) does not come back
  return bytes.toString("base64") === text ? bytes : undefined;
}

function fromQuotedPrintable(body: Buffer): Decoded {
  const out = Buffer.allocUnsafe(body.length);
  let size = 0;
  for (let at = 0; at < body.length;) {
    const octet = body[at] ?? 0;
    if (octet === SPACE || octet === TAB) {
      const end = endOfBlanks(body, at);
      // white space before a line end was added on the way (RFC 2045 6.7 rule 3)
      if (end < body.length && !isLineEnd(body, end)) size += body.copy(out, size, at, end);
      at = end;
    } else if (octet === EQUALS) {
      const soft = endOfBlanks(body, at + 1);
      if (isLineEnd(body, soft)) at = soft + (body[soft] === CR ? 2 : 1);
      else {
        const octet = (hexDigit(body[at + 1]) << 4) | hexDigit(body[at + 2]);
        if (octet < 0) return { fault: "quoted-printable with a stray equals sign" };
        out[size++] = octet;
        at += 3;
      }
    } else {
      const isPlain = (octet > SPACE && octet < 127) || isLineEnd(body, at) || octet === LF;
      if (!isPlain) return { fault: "quoted-printable with an octet that must be encoded" };
      out[size++] = octet;
      at += 1;
    }
  }
  return { bytes: out.subarray(0, size) };
}

/** Its value; -1 for what is none. Ten times as fast as parseInt, which matters for megabytes that anybody may send. */
function hexDigit(octet = 0): number {
  if (octet >= 48 && octet <= 57) return octet - 48;
  const letter = octet | 0x20;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}

function endOfBlanks(body: Buffer, from: number): number {
  let at = from;
  while (body[at] === SPACE || body[at] === TAB) at += 1;
  return at;
}

function isLineEnd(body: Buffer, at: number): boolean {
  return body[at] === LF || (body[at] === CR && body[at + 1] === LF);
}
