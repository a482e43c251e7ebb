// Reception: one message between 354 and its final reply: limits, line ends, the intake, and why it was refused.
import { CHUNK_BYTES } from "../mail/chunks.ts";
import { SpoolFull } from "../spool/spool.ts";
import { HeaderLimit, MAX_HEADER_FIELDS } from "./header-limit.ts";
import { MessageRefused, type Envelope, type Intake, type Refusal } from "./intake.ts";
import { CrlfNormalizer } from "./line-endings.ts";
import type { Findings } from "./wire-reader.ts";

export type LineEndings = "strict" | "normalize";
export type ReceptionSettings = { readonly maxMessageBytes: number; readonly lineEndings: LineEndings };

/** How a message ended. `mustClose`: what the client sends next cannot be trusted to be commands. */
export type Reception =
  | { readonly kind: "accepted"; readonly id: string; readonly sizeBytes: number }
  | { readonly kind: "refused"; readonly refusal: Refusal; readonly mustClose: boolean; readonly cause: unknown };

/** A refused message is read to its end, but not for ever: up to this many times the permitted size. */
const PATIENCE = 2;

export class MessageReception {
  readonly envelope: Envelope;
  readonly #intake: Intake;
  readonly #settings: ReceptionSettings;
  readonly #header = new HeaderLimit();
  readonly #normalizer: CrlfNormalizer | undefined;
  #sizeBytes = 0;
  #refusal: Refusal | undefined;
  #mustClose = false;
  #cause: unknown;
  #isOver = false;

  constructor(envelope: Envelope, intake: Intake, settings: ReceptionSettings) {
    this.envelope = envelope;
    this.#intake = intake;
    this.#settings = settings;
    this.#normalizer = settings.lineEndings === "normalize" ? new CrlfNormalizer() : undefined;
  }

  /** So much came after a refusal that it is not worth reading on. */
  get isHopeless(): boolean {
    return this.#refusal !== undefined && this.#sizeBytes > PATIENCE * this.#settings.maxMessageBytes;
  }

  /** Takes the next content and all that was found so far; undefined when there is nothing to wait for. Never rejects. */
  write(content: Buffer, findings: Findings): Promise<void> | undefined {
    const piece = this.#normalizer?.write(content) ?? content;
    this.#sizeBytes += piece.length;
    const wasRefused = this.#refusal !== undefined;
    const lineFault = lineRefusal(findings, this.#settings.lineEndings);
    if (lineFault !== undefined) {
      this.#refusal = lineFault;
      this.#mustClose = true;
    } else this.#refusal ??= this.#limitRefusal(piece);
    if (this.#refusal !== undefined) return wasRefused ? undefined : this.#abort();
    return piece.length === 0 ? undefined : this.#store(piece);
  }

  /** The end of data has come: makes the message durable once `written` has settled, or tells why not. Never rejects. */
  async finish(written: Promise<void> | undefined): Promise<Reception> {
    await written;
    this.#isOver = true;
    if (this.#refusal === undefined) {
      try {
        const { id } = await this.#intake.commit(this.envelope);
        return { kind: "accepted", id, sizeBytes: this.#sizeBytes };
      } catch (error) {
        this.#refusal = refusalFor(error);
        this.#cause = error;
      }
    }
    const refusal = this.#refusal;
    const mustClose = this.#mustClose || this.isHopeless;
    return { kind: "refused", refusal, mustClose, cause: this.#cause };
  }

  /** Gives up a message that will not be finished. Never rejects. */
  async abandon(): Promise<void> {
    if (this.#isOver || this.#refusal !== undefined) return;
    this.#isOver = true;
    await this.#abort();
  }

  async #store(piece: Buffer): Promise<void> {
    try {
      // normalizing can double a piece
      for (let at = 0; at < piece.length; at += CHUNK_BYTES)
        await this.#intake.write(piece.subarray(at, at + CHUNK_BYTES));
    } catch (error) {
      this.#refusal = refusalFor(error);
      this.#cause = error;
      await this.#abort();
    }
  }

  async #abort(): Promise<void> {
    try {
      await this.#intake.abort();
    } catch (error) {
      this.#cause ??= error;
    }
  }

  #limitRefusal(piece: Buffer): Refusal | undefined {
    // only what is within the size: else the pieces it came in would say which limit was passed first
    const room = this.#settings.maxMessageBytes - (this.#sizeBytes - piece.length);
    switch (this.#header.write(piece.subarray(0, Math.max(0, room)))) {
      case "header-size":
        return { code: 552, status: "5.3.4", text: "the header is too large", reason: "header-size" };
      case "header-fields":
        return {
          code: 554,
          status: "5.6.0",
          text: `more than ${MAX_HEADER_FIELDS} header fields`,
          reason: "header-fields",
        };
      case undefined:
        if (this.#sizeBytes <= this.#settings.maxMessageBytes) return undefined;
        return { code: 552, status: "5.3.4", text: "the message is too large", reason: "size" };
    }
  }
}

/** What the client hears when its message cannot be begun, written or made durable; an unknown error is temporary. */
export function refusalFor(error: unknown): Refusal {
  if (error instanceof MessageRefused) return error.refusal;
  if (error instanceof SpoolFull)
    return { code: 452, status: "4.3.1", text: "no room for this message now", reason: "spool-full" };
  return { code: 451, status: "4.3.0", text: "the message cannot be stored now", reason: "storage-fault" };
}

function lineRefusal(findings: Findings, lineEndings: LineEndings): Refusal | undefined {
  const refused = (found: string, reason: string): Refusal => ({
    code: 554,
    status: "5.6.0",
    text: `${found} in the message (lineEndings: ${lineEndings})`,
    reason,
  });
  if (findings.nul) return refused("NUL", "nul");
  if (lineEndings === "normalize") return undefined;
  if (findings.bareLf) return refused("bare LF", "bare-lf");
  return findings.bareCr ? refused("bare CR", "bare-cr") : undefined;
}
