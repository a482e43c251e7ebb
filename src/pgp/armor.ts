// ASCII armor (RFC 9580 6): reads any number of blocks out of text, writes one block as a stream of known length.
import { blockLines, linesSize } from "../mail/base64-lines.ts";
import { concatSized, sizedBytes, throughStage, type Sized, type Stage } from "../mail/chunks.ts";
import { lineBlocks } from "../mail/line-blocks.ts";
import { crc24 } from "./crc24.ts";

/** `type` is what stands after `BEGIN PGP `, e.g. `PUBLIC KEY BLOCK`; `line` counts from 1. */
type ArmorBlock = { readonly type: string; readonly line: number; readonly bytes: Uint8Array };

/** A block that is not to be trusted; `bytes` is what a block without an END line holds up to where it breaks off. */
type ArmorFault = {
  readonly type: string;
  readonly line: number;
  readonly reason: string;
  readonly bytes?: Uint8Array;
};

type DecodedArmor = {
  readonly blocks: readonly ArmorBlock[];
  readonly faults: readonly ArmorFault[];
  /** Whether the text ends within a block, or within a line that begins one. */
  readonly isCutShort: boolean;
};

const MAX_BLOCKS = 200_000;
const BEGIN = /^-----BEGIN PGP ([A-Z0-9 ,/]{1,40})-----$/;
const BASE64_LINE = /^[A-Za-z0-9+/]*={0,2}$/;

/**
 * Reads all armored blocks; other text before, between and after them is passed over, and so are armor headers. Line ends may be
 * LF or CRLF. A wrong checksum makes a fault of its block, a missing one does not (RFC 9580 6.1). Never throws.
 */
export function decodeArmor(text: string): DecodedArmor {
  const blocks: ArmorBlock[] = [];
  const faults: ArmorFault[] = [];
  let open: { type: string; line: number; lines: string[] } | undefined;
  const breakOff = () => {
    if (open === undefined || open.type === "SIGNED MESSAGE") return;
    const read = decodeBody(open.lines);
    const { type, line } = open;
    faults.push({ type, line, reason: "the END line is missing", ...("bytes" in read ? { bytes: read.bytes } : {}) });
  };
  let lineNumber = 0;
  for (let at = 0; at < text.length;) {
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    const line = text.slice(at, end).trimEnd();
    at = end + 1;
    lineNumber++;
    if (line.startsWith("-----BEGIN PGP ")) {
      breakOff();
      const type = BEGIN.exec(line)?.[1];
      if (blocks.length + faults.length >= MAX_BLOCKS) {
        faults.push({ type: type ?? "", line: lineNumber, reason: `more than ${MAX_BLOCKS} blocks` });
        return { blocks, faults, isCutShort: false };
      }
      open = type === undefined ? undefined : { type, line: lineNumber, lines: [] };
    } else if (open !== undefined && line === `-----END PGP ${open.type}-----`) {
      const read = decodeBody(open.lines);
      if ("bytes" in read) blocks.push({ type: open.type, line: open.line, bytes: read.bytes });
      else faults.push({ type: open.type, line: open.line, reason: read.reason });
      open = undefined;
    } else open?.lines.push(line);
  }
  breakOff();
  return { blocks, faults, isCutShort: open !== undefined || isBeginCutShort(text.slice(text.lastIndexOf("\n") + 1)) };
}

/** Whether these are the first octets of a BEGIN line, and not all of them. */
function isBeginCutShort(line: string): boolean {
  const [known] = /^-----BEGIN PGP /.exec(line) ?? [];
  return known === undefined ? line !== "" && "-----BEGIN PGP ".startsWith(line) : !line.endsWith("-----");
}

/** The binary in the lines between BEGIN and END: headers up to a blank line, base64, perhaps `=` and a checksum. */
function decodeBody(lines: readonly string[]): { bytes: Uint8Array } | { reason: string } {
  let first = 0;
  while (lines[first]?.includes(":") === true) first++;
  const body = lines.slice(first).filter((line) => line !== "");
  const last = body.at(-1);
  const checksum = last !== undefined && /^=[A-Za-z0-9+/]{4}$/.test(last) ? body.pop()?.slice(1) : undefined;
  if (!body.every((line) => BASE64_LINE.test(line))) return { reason: "the armor holds a line that is not base64" };
  const text = body.join("");
  const bytes = Buffer.from(text, "base64");
  const digits = text.replace(/={1,2}$/, "").length;
  // Buffer.from stops at padding in the middle without a word
  if (digits % 4 === 1 || bytes.length !== Math.floor((digits * 3) / 4))
    return { reason: "the base64 of the armor is malformed" };
  if (checksum !== undefined && Buffer.from(checksum, "base64").readUIntBE(0, 3) !== crc24(bytes))
    return { reason: "the checksum of the armor is wrong" };
  return { bytes };
}

/** 64 characters. */
const LINE_BYTES = 48;

/**
 * One armored block: 64 characters a line, CRLF, no armor headers, with the checksum, without which gpg 2.2 ends with an error
 * for some lengths.
 */
export function armored(binary: Sized, type: "MESSAGE"): Sized {
  const head = Buffer.from(`-----BEGIN PGP ${type}-----\r\n\r\n`);
  const tail = `-----END PGP ${type}-----\r\n`;
  const size = linesSize(binary.size, LINE_BYTES) + "=CRC4\r\n".length;
  return concatSized(sizedBytes(head), throughStage(binary, size, linesAndChecksum), sizedBytes(Buffer.from(tail)));
}

function linesAndChecksum(): Stage {
  const blocks = lineBlocks(LINE_BYTES);
  let crc = crc24(new Uint8Array(0));
  const written = (piece: Buffer) => {
    crc = crc24(piece, crc);
    return blockLines(piece, LINE_BYTES);
  };
  return {
    next: (chunk) => blocks.next(chunk).map(written),
    end() {
      const last = blocks.end().map(written);
      const checksum = Buffer.from([crc >>> 16, (crc >>> 8) & 0xff, crc & 0xff]).toString("base64");
      return [...last, Buffer.from(`=${checksum}\r\n`)];
    },
  };
}
