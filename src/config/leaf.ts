// Leaf: how one kind of value is read from the configuration, written back, and described to editors.
import { z } from "zod";

/** What a reader returns when the text will not do: what is wrong and what is allowed, lower case, no full stop. */
export class Wrong {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/**
 * A codec from what stands in the file to what the program uses. `json` is what JSON Schema says of the value in the file.
 * Reading by a function, not by zod's own types, so that every message says what is allowed.
 */
export function leaf<T>(
  json: Record<string, unknown>,
  read: (given: unknown) => T | Wrong,
  write: (value: T) => unknown,
) {
  return z.codec(z.unknown().meta(json), z.custom<T>(), {
    decode(given, context): T {
      const value = given === undefined ? new Wrong("missing, and it has no default") : read(given);
      if (!(value instanceof Wrong)) return value;
      context.issues.push({ code: "custom", message: value.text, input: given });
      return z.NEVER;
    },
    encode: write,
  });
}

/** A leaf that is written as text. `allowed` ends the message for everything that is not text at all. */
export function textLeaf<T>(
  allowed: string,
  json: Record<string, unknown>,
  read: (text: string) => T | Wrong,
  write: (value: T) => string,
) {
  return leaf<T>(
    { type: "string", ...json },
    (given) => (typeof given === "string" ? read(given) : new Wrong(`must be ${allowed}, not ${kindOf(given)}`)),
    write,
  );
}

/** Any text that is neither empty nor holds a control character. */
export function words(allowed: string) {
  return textLeaf<string>(
    allowed,
    { minLength: 1 },
    (text) =>
      // eslint-disable-next-line no-control-regex -- control characters are what is looked for
      text.trim() === "" || /[\u0000-\u001f\u007f]/.test(text)
        ? new Wrong(`must be ${allowed}, not empty and without control characters`)
        : text,
    (text) => text,
  );
}

/** A whole number between `least` and `most`. */
export function whole(least: number, most: number) {
  return leaf<number>(
    { type: "integer", minimum: least, maximum: most },
    (given) =>
      typeof given === "number" && Number.isSafeInteger(given) && given >= least && given <= most
        ? given
        : new Wrong(`must be a whole number from ${least} to ${most}, not ${shown(given)}`),
    (value) => value,
  );
}

/** A number between `least` and `most`. */
export function decimal(least: number, most: number) {
  return leaf<number>(
    { type: "number", minimum: least, maximum: most },
    (given) =>
      typeof given === "number" && given >= least && given <= most
        ? given
        : new Wrong(`must be a number from ${least} to ${most}, not ${shown(given)}`),
    (value) => value,
  );
}

/** The kind of a value in the words of a YAML file. */
function kindOf(given: unknown): string {
  if (given === null) return "empty";
  if (Array.isArray(given)) return "a list";
  switch (typeof given) {
    case "object":
      return "a mapping";
    case "string":
      return "text";
    case "boolean":
    case "number":
      return String(given);
    default:
      return "missing";
  }
}

/** The value itself if it is short text, else its kind. */
export function shown(given: unknown): string {
  return typeof given === "string" && given.length <= 80 ? JSON.stringify(given) : kindOf(given);
}
