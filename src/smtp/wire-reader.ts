// WireReader: the bytes of an SMTP connection as command lines and message content, the same however they were cut.
//
// Rules:
// 1. Only CRLF ends a command line. A bare CR, a bare LF or a NUL in one is a fault, and after a fault nothing more is read.
// 2. Content ends only at CRLF.CRLF, or at .CRLF when it is empty (RFC 5321 4.1.1.4). Bare CR, bare LF and NUL are content;
//    they are noted in `findings`, and what follows from them is decided by others.
// 3. A leading dot goes from every line that starts with one (RFC 5321 4.5.2), where only CRLF starts a line.
import { CHUNK_BYTES } from "../mail/chunks.ts";
import { LineEnds } from "./line-ends.ts";

export type LineFault = "bare-cr" | "bare-lf" | "nul" | "too-long" | "tls-record";
/** One command line without its CRLF, or why there is none. */
export type LineEvent =
  { readonly kind: "line"; readonly line: Buffer } | { readonly kind: "fault"; readonly fault: LineFault };
/** A piece of content (perhaps empty), dots removed; `isEnd` when the end of data came right behind it. */
export type ContentEvent = { readonly content: Buffer; readonly isEnd: boolean };
/** What was seen in the content of the current message so far. */
export type Findings = { readonly bareCr: boolean; readonly bareLf: boolean; readonly nul: boolean };

/** Longest command line with its CRLF, in octets; an AUTH line carries a SASL response (RFC 4954 4). */
export const MAX_LINE_BYTES = 4_096;
export const MAX_SASL_LINE_BYTES = 16_384;

const NUL = 0;
const LF = 10;
const CR = 13;
const DOT = 46;
const TLS_HANDSHAKE = 0x16;
const NOTHING = Buffer.alloc(0);
// shorter runs are copied faster by a loop than by a call into C++
const SHORT_RUN_BYTES = 48;
const HELD_CR = Buffer.from("\r");
/** Where in the content the next byte stands; a dot, or dot and CR, that may be the end of data are held back. */
type Place = "line-start" | "dot" | "dot-cr" | "mid" | "cr";

export class WireReader {
  #rest: Buffer = NOTHING;
  #isBroken = false;
  #place: Place = "line-start";
  #bareCr = false;
  #bareLf = false;
  #nul = false;

  /** Takes the next bytes of the connection. They are not copied: the caller must not write to them afterwards. */
  push(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
  }

  /** Bytes that have come in and are not read yet. */
  get unreadBytes(): number {
    return this.#rest.length;
  }

  get findings(): Findings {
    return { bareCr: this.#bareCr, bareLf: this.#bareLf, nul: this.#nul };
  }

  /** From the next byte on there is content, until `nextContent` says that it ended. */
  beginContent(): void {
    this.#place = "line-start";
    this.#bareCr = this.#bareLf = this.#nul = false;
  }

  /** The next command line; undefined until more bytes come. `isSaslResponse` allows it the length of one. */
  nextLine(isSaslResponse: boolean): LineEvent | undefined {
    const rest = this.#rest;
    if (this.#isBroken || rest.length === 0) return undefined;
    if (rest[0] === TLS_HANDSHAKE && rest.length === 1) return undefined;
    if (rest[0] === TLS_HANDSHAKE && rest[1] === 3) return this.#broken("tls-record");
    const maxBytes = isSaslResponse || isAuth(rest) ? MAX_SASL_LINE_BYTES : MAX_LINE_BYTES;
    // the last octet of a longest line is its LF, so a CR that still counts stands before it
    const window = rest.subarray(0, maxBytes - 1);
    const cr = window.indexOf(CR);
    const text = cr < 0 ? window : window.subarray(0, cr);
    const lf = text.indexOf(LF);
    const nul = text.indexOf(NUL);
    if (lf >= 0 && (nul < 0 || lf < nul)) return this.#broken("bare-lf");
    if (nul >= 0) return this.#broken("nul");
    if (cr < 0) return rest.length >= maxBytes - 1 ? this.#broken("too-long") : undefined;
    if (rest.length === cr + 1) return undefined;
    if (rest[cr + 1] !== LF) return this.#broken("bare-cr");
    this.#rest = rest.subarray(cr + 2);
    return { kind: "line", line: text };
  }

  /** The next content, at most 64 KiB and one octet; undefined until more bytes come. Copied only where a dot was removed. */
  nextContent(): ContentEvent | undefined {
    if (this.#rest.length === 0) return undefined;
    const bytes = this.#rest.subarray(0, CHUNK_BYTES);
    const begins = this.#place === "dot-cr" && bytes[0] !== LF ? HELD_CR : NOTHING;
    const dots: number[] = [];
    const end = this.#scan(bytes, dots);
    const used = end ?? bytes.length;
    this.#rest = this.#rest.subarray(used);
    const nul = bytes.indexOf(NUL);
    if (nul >= 0 && nul < used) this.#nul = true;
    // the last dot before the end of data belongs to it; it may have come with an earlier piece
    if (end !== undefined) return { content: withoutDots(begins, bytes, dots, dots.pop() ?? 0), isEnd: true };
    const held = this.#place === "dot-cr" ? 1 : 0;
    return { content: withoutDots(begins, bytes, dots, bytes.length - held), isEnd: false };
  }

  /** Walks the lines of `bytes`, noting the leading dots; returns the offset behind the end of data, undefined when it is not here. */
  #scan(bytes: Buffer, dots: number[]): number | undefined {
    const lineEnds = new LineEnds(bytes);
    let place = this.#place;
    let at = 0;
    while (at < bytes.length) {
      if (place === "mid") {
        at = lineEnds.next(at);
        if (at === bytes.length) break;
        if (bytes[at++] === CR) place = "cr";
        else this.#bareLf = true;
        continue;
      }
      const byte = bytes[at];
      if (place === "line-start" && byte === DOT) {
        dots.push(at++);
        place = "dot";
      } else if (place === "dot" && byte === CR) {
        at++;
        place = "dot-cr";
      } else if (place === "dot-cr" && byte === LF) {
        this.#place = "line-start";
        return at + 1;
      } else if (place === "cr" && byte === LF) {
        at++;
        place = "line-start";
      } else {
        if (place === "cr" || place === "dot-cr") this.#bareCr = true;
        place = "mid";
      }
    }
    this.#place = place;
    return undefined;
  }

  #broken(fault: LineFault): LineEvent {
    this.#isBroken = true;
    this.#rest = NOTHING;
    return { kind: "fault", fault };
  }
}

/** `begins` and `bytes` up to `end` without the octets at the offsets `dots`; a part of `bytes` itself where that is enough. */
function withoutDots(begins: Buffer, bytes: Buffer, dots: readonly number[], end: number): Buffer {
  if (dots.length === 0 && begins.length === 0) return bytes.subarray(0, end);
  const out = Buffer.allocUnsafe(begins.length + end - dots.length);
  let to = begins.copy(out);
  let from = 0;
  for (const dot of dots) {
    to = copyRun(bytes, from, dot, out, to);
    from = dot + 1;
  }
  copyRun(bytes, from, end, out, to);
  return out;
}

function copyRun(bytes: Buffer, from: number, end: number, out: Buffer, to: number): number {
  if (end - from > SHORT_RUN_BYTES) return to + bytes.copy(out, to, from, end);
  let next = to;
  for (let at = from; at < end; at++) out[next++] = bytes[at] ?? 0;
  return next;
}

function isAuth(line: Buffer): boolean {
  return line.length >= 5 && line.toString("latin1", 0, 5).toUpperCase() === "AUTH ";
}
