// Line ends: where the next CR or LF stands. Most octets are neither, so four are looked at in one step.

const LF = 10;
const CR = 13;
/** In each of four octets. */
const ABOVE_CR = 0x0e0e0e0e;
const TOP_BITS = 0x80808080 | 0;
const NO_WORDS = new Int32Array(0);

export class LineEnds {
  readonly #bytes: Uint8Array;
  /** Offset of the first octet that begins a word of memory. */
  readonly #aligned: number;
  readonly #words: Int32Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#aligned = -bytes.byteOffset & 3;
    const count = (bytes.length - this.#aligned) >> 2;
    this.#words = count > 0 ? new Int32Array(bytes.buffer, bytes.byteOffset + this.#aligned, count) : NO_WORDS;
  }

  /** Offset of the next CR or LF at or behind `from`, the length when there is none. */
  next(from: number): number {
    const bytes = this.#bytes;
    const words = this.#words;
    const aligned = this.#aligned;
    let at = from;
    while (at < bytes.length) {
      if (((at - aligned) & 3) === 0 && at >= aligned) {
        let word = (at - aligned) >> 2;
        while (word < words.length && !hasSmallOctet(words[word] ?? 0)) word++;
        at = aligned + word * 4;
        if (at === bytes.length) break;
      }
      // up to the end of this word
      do {
        if (bytes[at] === CR || bytes[at] === LF) return at;
        at++;
      } while (at < bytes.length && ((at - aligned) & 3) !== 0);
    }
    return bytes.length;
  }
}

/** Whether one of four octets is less than 14: it borrows from its top bit (Anderson, Bit Twiddling Hacks). */
function hasSmallOctet(word: number): boolean {
  return (((word - ABOVE_CR) | 0) & ~word & TOP_BITS) !== 0;
}
