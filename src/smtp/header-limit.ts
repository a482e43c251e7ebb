// HeaderLimit: stops a message whose header section is too long or has too many fields, while it arrives.
import { MAX_HEADER_BYTES } from "../mail/header.ts";

export const MAX_HEADER_FIELDS = 1_000;
// the trace fields that the relay puts in front must fit into what the rest of the house reads as a header
const TRACE_ROOM_BYTES = 1_024;

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;

export type HeaderFault = "header-size" | "header-fields";

export class HeaderLimit {
  #sizeBytes = 0;
  #fields = 0;
  #lineBytes = 0;
  #hasEnded = false;

  /** Looks at the next piece of a message (CRLF line ends) up to its blank line; each octet is read once. */
  write(piece: Buffer): HeaderFault | undefined {
    let at = 0;
    while (at < piece.length && !this.#hasEnded) {
      if (this.#lineBytes === 0 && isFieldStart(piece[at])) this.#fields++;
      if (this.#fields > MAX_HEADER_FIELDS) return "header-fields";
      const lf = piece.indexOf(LF, at);
      const next = lf < 0 ? piece.length : lf + 1;
      this.#sizeBytes += next - at;
      this.#lineBytes += next - at;
      // a blank line is CR LF and nothing else
      if (lf >= 0 && this.#lineBytes === 2) this.#hasEnded = true;
      if (lf >= 0) this.#lineBytes = 0;
      at = next;
      if (this.#sizeBytes > MAX_HEADER_BYTES - TRACE_ROOM_BYTES) return "header-size";
    }
    return undefined;
  }
}

function isFieldStart(byte: number | undefined): boolean {
  return byte !== SPACE && byte !== TAB && byte !== CR;
}
