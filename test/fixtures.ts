// Where the shared fixtures are: beside the project's root, here and in CI.
import { fileURLToPath } from "node:url";
import { readFileSync } from "node:fs";

/** Absolute path of a file below shared/fixtures, e.g. `fixture("smime/certs/alice.der")`. */
export function fixture(path: string): string {
  return fileURLToPath(new URL(`../../shared/fixtures/${path}`, import.meta.url));
}

export function fixtureBytes(path: string): Buffer {
  return readFileSync(fixture(path));
}
