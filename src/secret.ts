// Secret: a password or token that prints as [secret] wherever it is shown.
import { inspect } from "node:util";

/** Holds a secret text; only `reveal` gives it. Printing, JSON and inspection show `[secret]`. */
export class Secret {
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }
  reveal(): string {
    return this.#text;
  }
  toString(): string {
    return "[secret]";
  }
  toJSON(): string {
    return "[secret]";
  }
  [inspect.custom](): string {
    return "[secret]";
  }
}
