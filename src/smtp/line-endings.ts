// CrlfNormalizer: every bare CR and bare LF of a message becomes CRLF, for the setting lineEndings: normalize.

const LF = 10;
const CR = 13;

export class CrlfNormalizer {
  #endedWithCr = false;

  /** The next piece with CRLF line ends only. A CR at its end counts as a line end at once; an LF that follows it is dropped. */
  write(piece: Buffer): Buffer {
    if (piece.length === 0) return piece;
    const fresh = this.#endedWithCr && piece[0] === LF ? piece.subarray(1) : piece;
    this.#endedWithCr = piece.at(-1) === CR;
    // latin1 maps each octet to one character and back: nothing but line ends can change
    return Buffer.from(fresh.toString("latin1").replace(/\r\n?|\n/g, "\r\n"), "latin1");
  }
}
