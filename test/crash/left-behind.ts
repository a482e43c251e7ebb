// Left behind: the canary hunt over the data folder and the log of a relay that is dead, however large they have become.
import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { CANARIES } from "../e2e/canary.ts";
import { hunt, type Finding } from "../e2e/hunt.ts";

const WINDOW_OCTETS = 8 * 1024 * 1024;
/** Longer than a canary in any of its forms. */
const OVERLAP_OCTETS = 4_096;

export function huntLeftBehind(folder: string, log: string): Finding[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => join(entry.parentPath, entry.name));
  const inFiles = paths.flatMap((path) =>
    windowsOf(path)
      .flatMap((octets) => hunt({ [path]: octets }, CANARIES))
      .toArray(),
  );
  return [...inFiles, ...hunt({ log: Buffer.from(log), "names of files": Buffer.from(paths.join("\n")) }, CANARIES)];
}

/** The files below a folder, by path. */
export function countFiles(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).length;
}

/** Each is gone when the next is asked for. */
function* windowsOf(path: string): Generator<Buffer> {
  const file = openSync(path, "r");
  try {
    const window = Buffer.allocUnsafe(WINDOW_OCTETS);
    for (let at = 0, length; (length = readSync(file, window, 0, WINDOW_OCTETS, at)) > 0;) {
      yield window.subarray(0, length);
      if (length < WINDOW_OCTETS) return;
      at += length - OVERLAP_OCTETS;
    }
  } finally {
    closeSync(file);
  }
}
