// Files: settings that name a file, as told apart by what the program does with it.
import { textLeaf, Wrong } from "./leaf.ts";

/**
 * The name of a file or folder. `pem` files are read when the configuration is; the others are opened, or made, by whoever
 * uses them.
 */
export class FilePath {
  readonly kind: "pem" | "other";
  readonly path: string;
  constructor(kind: FilePath["kind"], path: string) {
    this.kind = kind;
    this.path = path;
  }
}

/** The name of a file that holds a secret; its content stands in the settings beside it, without `File` in the name. */
export class SecretFile {
  readonly path: string;
  constructor(path: string) {
    this.path = path;
  }
}

/** Whether a setting of this name holds a SecretFile (secretKeyFile does not: who seals reads it). */
export function isSecretFileKey(key: string): boolean {
  return /(?:[pP]assword|token)File$/.test(key);
}

export function pemFile() {
  return named("a PEM file", (path) => new FilePath("pem", path));
}

export function file() {
  return named("a file", (path) => new FilePath("other", path));
}

export function folder() {
  return named("a folder", (path) => new FilePath("other", path));
}

export function secretFile() {
  return named("a file that holds the secret", (path) => new SecretFile(path));
}

function named<T extends FilePath | SecretFile>(what: string, make: (path: string) => T) {
  return textLeaf<T>(
    `the name of ${what}`,
    { minLength: 1 },
    (text) => (text === "" || text.includes("\0") ? new Wrong(`must be the name of ${what}`) : make(text)),
    (value) => value.path,
  );
}
