// Outgoing: the only two kinds of message that can leave, so that clear text cannot be handed to the sender by mistake.
import type { Sized } from "./chunks.ts";

/** A whole message that is ciphertext for the named keys. Made by encrypt/ and, for mail that came encrypted, by outbound/. */
export class Ciphertext {
  // a private member makes the type nominal: no object literal passes for a Ciphertext
  readonly #made = true;
  readonly kind: "smime" | "pgp";
  readonly message: Sized;
  /** What a reader's RecipientInfo or PKESK must say; the guard compares it with what is really there. */
  readonly readerIds: readonly string[];
  constructor(kind: "smime" | "pgp", message: Sized, readerIds: readonly string[]) {
    this.kind = kind;
    this.message = message;
    this.readerIds = readerIds;
  }
  static is(value: unknown): value is Ciphertext {
    return typeof value === "object" && value !== null && #made in value;
  }
}

/** A whole message that may leave in clear, with the rule of the configuration (or our own notice) that allows it. */
export class ApprovedClear {
  readonly #made = true;
  readonly message: Sized;
  readonly rule: string;
  constructor(message: Sized, rule: string) {
    this.message = message;
    this.rule = rule;
  }
  static is(value: unknown): value is ApprovedClear {
    return typeof value === "object" && value !== null && #made in value;
  }
}

export type Outgoing = Ciphertext | ApprovedClear;

/** What the guard has read and let through: the only thing that the sender takes. Made by outbound/guard alone. */
export class Guarded {
  readonly #made = true;
  readonly message: Sized;
  constructor(message: Sized) {
    this.message = message;
  }
  static is(value: unknown): value is Guarded {
    return typeof value === "object" && value !== null && #made in value;
  }
}
