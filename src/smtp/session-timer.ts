// SessionTimer: the moment when what a client does now has taken too long.
//
// Whatever it does, a client that gets no message accepted is gone after fruitlessMs + transactionMs: neither a command every nine
// minutes nor MAIL and RSET in turn keeps a session open.
import type { Deadlines } from "./session-host.ts";

export class SessionTimer {
  readonly #deadlines: Deadlines;
  readonly #now: () => number;
  #endsAt = Infinity;
  /** When the session began, or the last message was accepted. */
  #fruitAt: number;
  #transactionAt: number | undefined;
  #isLineBegun = false;

  constructor(deadlines: Deadlines, now: () => number) {
    this.#deadlines = deadlines;
    this.#now = now;
    this.#fruitAt = now();
  }

  isOver(now: number): boolean {
    return now >= this.#endsAt;
  }

  allow(what: "idleMs" | "tlsHandshakeMs" | "lingerMs"): void {
    this.#endsAt = this.#now() + this.#deadlines[what];
  }

  /** The client is waited for to go on with a command line; `isLineOpen` when a part of it has come. */
  awaitLine(isLineOpen: boolean, isInTransaction: boolean): void {
    const now = this.#now();
    this.#transactionAt = isInTransaction ? (this.#transactionAt ?? Math.min(now, this.#fruitlessAt())) : undefined;
    // an octet now and then does not prolong a line
    if (isLineOpen && this.#isLineBegun) return;
    this.#isLineBegun = isLineOpen;
    this.#endsAt = Math.min(now + this.#deadlines[isLineOpen ? "commandLineMs" : "idleMs"], this.#wholeEndsAt());
  }

  awaitContent(): void {
    this.#transactionAt ??= Math.min(this.#now(), this.#fruitlessAt());
    this.#isLineBegun = false;
    this.#endsAt = Math.min(this.#now() + this.#deadlines.contentMs, this.#wholeEndsAt());
  }

  /** The client has done its part: the time that storing takes is not its own. */
  stop(): void {
    this.#endsAt = Infinity;
    this.#transactionAt = undefined;
  }

  messageAccepted(): void {
    this.#fruitAt = this.#now();
  }

  /** A whole line was read. */
  lineRead(): void {
    this.#isLineBegun = false;
  }

  #fruitlessAt(): number {
    return this.#fruitAt + this.#deadlines.fruitlessMs;
  }

  #wholeEndsAt(): number {
    const { transactionMs } = this.#deadlines;
    return this.#transactionAt === undefined ? this.#fruitlessAt() : this.#transactionAt + transactionMs;
  }
}
