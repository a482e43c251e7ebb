// Fresh contents: short messages that have just come in, in clear, until they are leased for the first time, mostly within
// milliseconds: they need not be read back and opened. Only for speed: what is not here is read from where it is stored.

/** Each holds a chunk of the seal, 64 KiB. */
const MAX_KEPT = 32;
/** What is not leased so soon waits behind others, and gives its place to what may be. */
const FRESH_MS = 1_000;

type Kept = { readonly id: string; readonly clear: Uint8Array; readonly keptAt: number };

export class FreshContents {
  readonly #monotonic: () => number;
  /** Oldest first; a Map would keep what was taken out of it (see Roster). */
  readonly #kept: Kept[] = [];

  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  /** To be called when the message is stored, with octets that nobody changes any more. */
  keep(id: string, clear: Uint8Array): void {
    const keptAt = this.#monotonic();
    if (this.#kept.length === MAX_KEPT) {
      const [oldest] = this.#kept;
      if (oldest === undefined || keptAt - oldest.keptAt < FRESH_MS) return;
      this.#kept.shift();
    }
    this.#kept.push({ id, clear, keptAt });
  }

  /** At most once: a later lease reads what is stored. */
  take(id: string): Uint8Array | undefined {
    const index = this.#kept.findIndex((one) => one.id === id);
    return index < 0 ? undefined : this.#kept.splice(index, 1)[0]?.clear;
  }
}
