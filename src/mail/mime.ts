// MIME entities of incoming, maybe hostile mail as ranges of its very octets: what was signed is never written anew.
//
// Where other programs could see other parts than we do (RFC 2046 5.1.1 leaves room for it), there are none: a fault.
import { contentType, type ContentType, type MimeFault } from "./content-type.ts";
import { MAX_HEADER_BYTES, readHeader, type HeaderSection } from "./header.ts";
import { decodeBody, transferEncoding } from "./transfer-encoding.ts";

/** A message or a part of one; its body begins at `header.size`. */
export type Entity = { readonly bytes: Buffer; readonly header: HeaderSection };

/** `preamble` and `epilogue` are what stands before the first and behind the closing delimiter, which nobody is shown. */
export type Multipart = { readonly parts: readonly Buffer[]; readonly preamble: Buffer; readonly epilogue: Buffer };

/** An entity that has no parts of its own. */
export type Leaf = { readonly entity: Entity; readonly content: ContentType };

const MAX_PARTS = 100;
/** RFC 2046 5.1.1: 1 to 70 of these characters, the last no space. */
const BOUNDARY = /^[0-9A-Za-z'()+_,./:=?\- ]{0,69}[0-9A-Za-z'()+_,./:=?-]$/;

const CRLF = Buffer.from("\r\n");
const DASH = 45;

/** Reads the header of a message or part (CRLF line ends). One above MAX_HEADER_BYTES reads as no field and no body. */
export function readEntity(bytes: Uint8Array): Entity {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const header = readHeader(buffer.subarray(0, MAX_HEADER_BYTES), buffer.length <= MAX_HEADER_BYTES);
  return { bytes: buffer, header: header ?? { fields: [], size: buffer.length } };
}

export function bodyOf({ bytes, header }: Entity): Buffer {
  return bytes.subarray(header.size);
}

/**
 * The body without its Content-Transfer-Encoding; not larger than the body. A fault, and nothing decoded, when the body as it
 * stands has more than `mostBytes`. Never throws.
 */
export function decodedBody(entity: Entity, mostBytes = Infinity): { readonly bytes: Buffer } | MimeFault {
  const body = bodyOf(entity);
  if (body.length > mostBytes) return { fault: `a part has ${body.length} octets; at most ${mostBytes} are read` };
  const encoding = transferEncoding(entity.header);
  return typeof encoding === "string" ? decodeBody(body, encoding) : encoding;
}

/**
 * The parts of a multipart, each with its header, without the line end that belongs to the delimiter (RFC 2046 5.1.1): what
 * multipart/signed signs is the first one as it stands. At least one part and at most 100; exactly two of multipart/signed.
 * Never throws.
 */
export function partsOf(entity: Entity): Multipart | MimeFault {
  const content = contentType(entity.header);
  if ("fault" in content) return content;
  if (!content.type.startsWith("multipart/")) return { fault: `${content.type} has no parts` };
  const boundary = content.parameters.get("boundary");
  if (boundary === undefined || !BOUNDARY.test(boundary)) return { fault: `boundary of ${content.type} is malformed` };
  const encoding = transferEncoding(entity.header);
  if (typeof encoding !== "string") return encoding;
  // RFC 2045 6.4
  if (encoding === "base64" || encoding === "quoted-printable") return { fault: `${content.type} in ${encoding}` };
  if (!hasBlankLine(entity)) return { fault: "no blank line between header and body" };
  const split = splitBody(bodyOf(entity), `--${boundary}`);
  if ("fault" in split || content.type !== "multipart/signed" || split.parts.length === 2) return split;
  return { fault: `multipart/signed with ${split.parts.length} parts instead of 2` };
}

function hasBlankLine({ bytes, header: { size } }: Entity): boolean {
  const isEmptyLine = bytes.subarray(Math.max(size - 2, 0), size).equals(CRLF);
  return isEmptyLine && (size === 2 || bytes.subarray(size - 4, size - 2).equals(CRLF));
}

function splitBody(body: Buffer, dashBoundary: string): Multipart | MimeFault {
  if (body.includes(`\r${dashBoundary}`, 0, "latin1")) return { fault: "a delimiter follows a bare carriage return" };
  const parts: Buffer[] = [];
  let preambleEnd = 0;
  let start: number | undefined;
  let isClosed = false;
  for (const at of lineStarts(body, dashBoundary)) {
    if (at > 0 && body[at - 2] !== CRLF[0]) return { fault: "a delimiter follows a bare line feed" };
    const line = readDelimiter(body, at + dashBoundary.length);
    // some programs take every line that begins so for a delimiter, some only the exact one
    if (line === undefined) return { fault: "a line begins as a delimiter and goes on" };
    if (isClosed) return { fault: "a delimiter follows the closing one" };
    if (start === undefined ? line.isClosing : at - 2 < start) return { fault: "a part is empty" };
    if (start === undefined) preambleEnd = Math.max(at - 2, 0);
    else parts.push(body.subarray(start, at - 2));
    if (parts.length > MAX_PARTS) return { fault: `more than ${MAX_PARTS} parts` };
    start = line.end;
    isClosed = line.isClosing;
  }
  if (!isClosed) return { fault: "the closing delimiter is missing" };
  return { parts, preamble: body.subarray(0, preambleEnd), epilogue: body.subarray(start) };
}

/** Where lines begin with this text. */
function* lineStarts(body: Buffer, text: string): Generator<number, void, void> {
  if (body.toString("latin1", 0, text.length) === text) yield 0;
  const line = Buffer.from(`\n${text}`, "latin1");
  for (let at = body.indexOf(line); at >= 0; at = body.indexOf(line, at + 1)) yield at + 1;
}

/** What follows `--boundary`: the two hyphens of the closing one, white space, the line end, which the last may lack. */
function readDelimiter(body: Buffer, from: number): { readonly isClosing: boolean; readonly end: number } | undefined {
  const isClosing = body[from] === DASH && body[from + 1] === DASH;
  let at = isClosing ? from + 2 : from;
  while (body[at] === 32 || body[at] === 9) at += 1;
  if (isClosing && at === body.length) return { isClosing, end: at };
  return body.subarray(at, at + 2).equals(CRLF) ? { isClosing, end: at + 2 } : undefined;
}

/**
 * All entities without parts, in their order, down to `maxDepth` multiparts and `maxParts` entities; a fault stands for each
 * that is not read. Messages within messages (message/rfc822) are leaves: they are somebody else's.
 */
export function* walk(entity: Entity, maxDepth = 10, maxParts = 200): Generator<Leaf | MimeFault, void, void> {
  const open = [{ bytes: entity.bytes, depth: 0 }];
  for (let count = 0; ; count += 1) {
    const next = open.pop();
    if (next === undefined) return;
    if (count === maxParts) {
      yield { fault: `more than ${maxParts} parts` };
      return;
    }
    const one = readEntity(next.bytes);
    const content = contentType(one.header);
    if ("fault" in content) yield content;
    else if (!content.type.startsWith("multipart/")) yield { entity: one, content };
    else if (next.depth === maxDepth) yield { fault: `parts nested more than ${maxDepth} deep` };
    else {
      const inner = partsOf(one);
      if ("fault" in inner) yield inner;
      else for (const bytes of inner.parts.toReversed()) open.push({ bytes, depth: next.depth + 1 });
    }
  }
}
