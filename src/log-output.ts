// Log output: lines on stdout for a reader that may be slow, stuck or without room; mail does not wait for it.
import { fstatSync, writeSync } from "node:fs";
import type { Writable } from "node:stream";

/** So much waits in memory for the reader; what comes beyond is lost and counted. */
const MAX_UNREAD_BYTES = 1024 * 1024;
/** So much is not kept for the end of a turn. */
const MAX_TOGETHER = 64 * 1024;
const LF = 10;

/** Takes whole lines; gives how many of them are lost. */
export type TakeLines = (lines: string) => number;
export type LogOutput = { readonly write: (line: string) => void; readonly flush: () => void };

/**
 * Where pino may write lines to. Those of one turn of the event loop go out together, with one system call as long as the reader
 * keeps up, unless somebody flushes before: who ends the process must. `lossLine` makes the line that tells how many were lost.
 */
export function logOutput(take: TakeLines, lossLine: (lost: number) => string): LogOutput {
  let lost = 0;
  let waiting = "";
  const flush = () => {
    if (waiting === "") return;
    const lines = waiting;
    waiting = "";
    if (lost > 0 && take(lossLine(lost)) === 0) lost = 0;
    lost += lost > 0 ? countLines(lines) : take(lines);
  };
  return {
    write(line) {
      if (waiting === "") setImmediate(flush);
      waiting += line;
      if (waiting.length > MAX_TOGETHER) flush();
    },
    flush,
  };
}

export function toStdout(): TakeLines {
  return isFile(process.stdout.fd) ? toFile(process.stdout.fd) : toReader(process.stdout);
}

export function toReader(output: Pick<Writable, "write" | "writableLength">): TakeLines {
  return (lines) => {
    if (output.writableLength > MAX_UNREAD_BYTES) return countLines(lines);
    output.write(lines);
    return 0;
  };
}

/** Not through Node's stream, which is of no more use after the first full disk. */
export function toFile(fd: number): TakeLines {
  let isTorn = false;
  return (lines) => {
    // the rest of a line that found no room for itself is not missed
    const octets = Buffer.from(isTorn ? `\n${lines}` : lines);
    let written = 0;
    try {
      while (written < octets.length) written += writeSync(fd, octets, written);
      isTorn = false;
      return 0;
    } catch {
      if (written > 0) isTorn = octets[written - 1] !== LF;
      return countLines(written === 0 ? lines : octets.toString("latin1", written));
    }
  };
}

function countLines(lines: string): number {
  return lines.split("\n").length - 1;
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}
