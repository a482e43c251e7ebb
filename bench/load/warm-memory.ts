// Memory that a virtual machine has given back to its host costs 20 µs for 8 KiB instead of 4 when it is written anew. Whoever fills a
// large queue or file uses up what the machine had, and what is measured afterwards pays for the host.
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

const PIECE = Buffer.alloc(1 << 20, 1);

/** Lets the machine have so much free memory that it need not ask its host for; by a file in `folder`, which goes again. */
export function warmMemory(folder: string, mebibytes: number): void {
  const path = join(folder, "warm");
  const file = openSync(path, "wx");
  for (let written = 0; written < mebibytes; written++) writeSync(file, PIECE);
  closeSync(file);
  rmSync(path);
}
