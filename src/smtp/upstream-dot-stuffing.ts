// Dot-stuffing: message octets as DATA needs them, and the end of the message (RFC 5321 4.5.2).

const LF = 0x0a;
const CR = 0x0d;
const DOT = 0x2e;
const END = Buffer.from(".\r\n");
const END_WITH_LINE_END = Buffer.from("\r\n.\r\n");

/** Stuffs one message, chunk by chunk, in any cut. */
export class DotStuffing {
  // before the first octet stands the CRLF of the DATA command
  #last = LF;
  #lastButOne = CR;

  /**
   * The chunk with a dot before each dot that begins a line; the very same chunk when there is none. A bare LF counts as a
   * line end here: a peer that takes it for one must not see an end of message that we did not write.
   */
  push(chunk: Uint8Array): Uint8Array {
    if (chunk.length === 0) return chunk;
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    const isFirstStuffed = this.#last === LF && bytes[0] === DOT;
    this.#lastButOne = bytes.length > 1 ? (bytes.at(-2) ?? CR) : this.#last;
    this.#last = bytes.at(-1) ?? LF;
    if (!isFirstStuffed && !bytes.includes("\n.")) return chunk;
    return stuffed(bytes, isFirstStuffed);
  }

  /** The final dot; before it a CRLF when the message does not end with one, since a line must end somewhere. */
  end(): Buffer {
    return this.#last === LF && this.#lastButOne === CR ? END : END_WITH_LINE_END;
  }
}

// octet by octet: mail made of nothing but dots would make millions of slices
function stuffed(bytes: Buffer, isFirstStuffed: boolean): Buffer {
  const out = Buffer.allocUnsafe(1 + Math.ceil(bytes.length * 1.5));
  let length = 0;
  let previous = isFirstStuffed ? LF : DOT;
  for (const octet of bytes) {
    if (octet === DOT && previous === LF) out[length++] = DOT;
    out[length++] = octet;
    previous = octet;
  }
  return out.subarray(0, length);
}
