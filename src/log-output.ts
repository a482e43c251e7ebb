// Log output: lines on stdout for a reader that may be slow, stuck or without room; mail does not wait for it.
import { fstatSync, writeSync } from "node:fs";
import type { Writable } from "node:stream";

/** So much waits in memory for the reader; what comes beyond is lost and counted. */
const MAX_UNREAD_BYTES = 1024 * 1024;

/** Takes a line, or says that it is lost. */
export type Lines = (line: string) => boolean;

/**
 * Where pino may write lines to. Written with one system call as long as the reader keeps up, so that a process that ends at once
 * has told why; `lossLine` makes the line that tells how many were lost.
 */
export function logOutput(take: Lines, lossLine: (lost: number) => string): { write(line: string): void } {
  let lost = 0;
  return {
    write(line) {
      if (lost > 0 && take(lossLine(lost))) lost = 0;
      if (lost > 0 || !take(line)) lost++;
    },
  };
}

export function toStdout(): Lines {
  return isFile(process.stdout.fd) ? toFile(process.stdout.fd) : toReader(process.stdout);
}

export function toReader(output: Pick<Writable, "write" | "writableLength">): Lines {
  return (line) => {
    if (output.writableLength > MAX_UNREAD_BYTES) return false;
    output.write(line);
    return true;
  };
}

/** Not through Node's stream, which is of no more use after the first full disk. */
export function toFile(fd: number): Lines {
  let isTorn = false;
  return (line) => {
    // the rest of a line that found no room for itself is not missed
    const octets = Buffer.from(isTorn ? `\n${line}` : line);
    let written = 0;
    try {
      while (written < octets.length) written += writeSync(fd, octets, written);
      isTorn = false;
      return true;
    } catch {
      if (written > 0) isTorn = true;
      return false;
    }
  };
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}
