// Log output: lines on stdout for a reader that may be slow or stuck; mail does not wait for it.
import type { Writable } from "node:stream";

/** So much waits in memory for the reader; what comes beyond is lost and counted. */
const MAX_UNREAD_BYTES = 1024 * 1024;

/**
 * Where pino may write lines to. Written with one system call as long as the reader keeps up, so that a process that ends at once
 * has told why; `lossLine` makes the line that tells how many were lost.
 */
export function logOutput(
  output: Pick<Writable, "write" | "writableLength">,
  lossLine: (lost: number) => string,
): { write(line: string): void } {
  let lost = 0;
  return {
    write(line) {
      if (output.writableLength > MAX_UNREAD_BYTES) {
        lost++;
        return;
      }
      if (lost > 0) output.write(lossLine(lost));
      lost = 0;
      output.write(line);
    },
  };
}
