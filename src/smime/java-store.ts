// What Java's key stores have in common: big-endian numbers, texts in modified UTF-8, certificate records.
import { Malformed } from "./der.ts";

/** Walks through the octets of a store. Each length is checked against what is left before anything is taken. */
export class JavaStoreCursor {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = at;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  get position(): number {
    return this.#at;
  }

  uint8(): number {
    return this.#view.getUint8(this.#skip(1));
  }

  int32(): number {
    return this.#view.getInt32(this.#skip(4));
  }

  /** So many octets, not copied. */
  take(length: number): Uint8Array {
    const start = this.#skip(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** A number of 32 bits and so many octets. */
  takeCounted(): Uint8Array {
    return this.take(this.int32());
  }

  text(): string {
    return modifiedUtf8(this.take(this.#view.getUint16(this.#skip(2))));
  }

  #skip(length: number): number {
    if (length < 0 || length > this.left) throw new Malformed(`needs ${length} octets where ${this.left} are left`);
    const start = this.#at;
    this.#at += length;
    return start;
  }
}

/** A certificate record: the type as text, then the octets. */
export function takeCertificate(cursor: JavaStoreCursor): { readonly type: string; readonly der: Uint8Array } {
  return { type: cursor.text(), der: cursor.takeCounted() };
}

/** Java's DataInput.readUTF: U+0000 is C0 80, and each surrogate of a pair takes three octets. */
function modifiedUtf8(octets: Uint8Array): string {
  let text = "";
  for (let at = 0; at < octets.length;) {
    const [a = 0, b = 0, c = 0] = octets.subarray(at, at + 3);
    const length = a < 0x80 ? 1 : (a & 0xe0) === 0xc0 ? 2 : (a & 0xf0) === 0xe0 ? 3 : 0;
    const isContinued = (length < 2 || (b & 0xc0) === 0x80) && (length < 3 || (c & 0xc0) === 0x80);
    if (length === 0 || at + length > octets.length || !isContinued) throw new Malformed("text is not modified UTF-8");
    const unit =
      length === 1
        ? a
        : length === 2
          ? ((a & 0x1f) << 6) | (b & 0x3f)
          : ((a & 0x0f) << 12) | ((b & 0x3f) << 6) | (c & 0x3f);
    text += String.fromCharCode(unit);
    at += length;
  }
  return text;
}

/** An alias as it may be shown: quoted, without anything that moves a terminal's cursor. */
export function shownAlias(alias: string): string {
  return `alias "${alias.replace(/[\p{C}\p{Zl}\p{Zp}"]/gu, "\uFFFD")}"`;
}
