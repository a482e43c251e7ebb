// SMTP replies: read from octets as they arrive, within bounds, and shown in one harmless line (RFC 5321 4.2, RFC 2034).

/** One whole reply. `status` is the enhanced status code when there is one and its class agrees with the reply code. */
export type Reply = {
  readonly code: number;
  readonly status: string | undefined;
  /** The texts of its lines, without code and line end, as the server wrote them: not safe to show. */
  readonly lines: readonly string[];
};

/** What came is not SMTP, or more of it than any server has reason to say. */
export class ReplyFault extends Error {}

/** Four times what RFC 5321 4.5.3.1.5 asks for. */
export const MAX_LINE_OCTETS = 2048;
export const MAX_LINES = 100;
const MAX_SHOWN_LENGTH = 500;

const LINE = /^([2-5][0-9]{2})(?:([ -])(.*))?$/s;
const STATUS = /^([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)/;
// controls, bidi and zero-width marks, line separators: nothing that can begin a new line or reorder one
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu;

/** Cuts the octets of a connection into replies. */
export class ReplyReader {
  #rest: Buffer = Buffer.alloc(0);
  #code: number | undefined;
  #lines: string[] = [];

  /** Whether octets of an unfinished reply are waiting. */
  get isMidway(): boolean {
    return this.#rest.length > 0 || this.#lines.length > 0;
  }

  /** The replies that these octets complete. Throws ReplyFault; the reader is of no use after that. */
  push(octets: Buffer): Reply[] {
    const replies: Reply[] = [];
    let text = this.#rest.length === 0 ? octets : Buffer.concat([this.#rest, octets]);
    for (let end = text.indexOf(0x0a); end >= 0; end = text.indexOf(0x0a)) {
      const reply = this.#line(text.subarray(0, text[end - 1] === 0x0d ? end - 1 : end));
      if (reply) replies.push(reply);
      text = text.subarray(end + 1);
    }
    if (text.length > MAX_LINE_OCTETS + 1) throw tooLong();
    this.#rest = text;
    return replies;
  }

  #line(octets: Buffer): Reply | undefined {
    if (octets.length > MAX_LINE_OCTETS) throw tooLong();
    const match = LINE.exec(octets.toString());
    if (!match) throw new ReplyFault("upstream sent a line that is not an SMTP reply");
    const code = Number(match[1]);
    this.#code ??= code;
    if (code !== this.#code) throw new ReplyFault("upstream sent a reply with two different codes");
    this.#lines.push(match[3] ?? "");
    if (this.#lines.length > MAX_LINES) throw new ReplyFault(`upstream sent a reply of more than ${MAX_LINES} lines`);
    if (match[2] === "-") return undefined;
    const reply = { code, status: statusOf(code, this.#lines[0] ?? ""), lines: this.#lines };
    this.#code = undefined;
    this.#lines = [];
    return reply;
  }
}

/** The reply in one line of at most 500 characters, without controls: for logs, the queue and DSNs. */
export function shownReply(reply: Reply): string {
  const lines = reply.lines.map((line, i) => (i > 0 && reply.status ? line.replace(STATUS, "") : line));
  return shownText(`${reply.code} ${lines.join(" ")}`);
}

/** Any text of a peer, made harmless in the same way. */
export function shownText(text: string): string {
  return text.replace(UNSAFE, " ").trim().slice(0, MAX_SHOWN_LENGTH).toWellFormed();
}

function statusOf(code: number, text: string): string | undefined {
  const status = STATUS.exec(text)?.[1];
  return status?.startsWith(String(code).charAt(0)) === true ? status : undefined;
}

function tooLong(): ReplyFault {
  return new ReplyFault(`upstream sent a reply line longer than ${MAX_LINE_OCTETS} octets`);
}
