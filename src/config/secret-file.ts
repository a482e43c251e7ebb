// Secret file: reads a password or token from a file that nobody else may read.
import { closeSync, constants, fstatSync, openSync, readSync, realpathSync, type Stats } from "node:fs";
import { Secret } from "../secret.ts";

const MAX_BYTES = 64 * 1024;
/** Where Docker and Kubernetes mount secrets, readable for all in the container. */
const MOUNTS = ["/run/secrets/", "/var/run/secrets/"];

/**
 * A line end at the end of the file is not part of the secret. Refused: a file that group or others may use, but for one that
 * root put below one of the mounts; anything but a plain file; an empty one.
 */
export function readSecretFile(path: string, mounts: readonly string[] = MOUNTS): Secret | { readonly fault: string } {
  const content = readPlainFile(path, MAX_BYTES);
  if ("fault" in content) return content;
  const { bytes, stats } = content;
  const isMounted = stats.uid === 0 && mounts.some((mount) => realpathSync(path).startsWith(mount));
  if ((stats.mode & 0o077) !== 0 && !isMounted) {
    const mode = (stats.mode & 0o777).toString(8).padStart(4, "0");
    return { fault: `${path} may be used by others than its owner (mode ${mode}); run chmod 0600 on it` };
  }
  const text = bytes.toString("utf8").replace(/\r?\n$/, "");
  if (text === "") return { fault: `${path} is empty; write the secret into it` };
  return /[\r\n\0]/.test(text) ? { fault: `${path} holds more than one line` } : new Secret(text);
}

/** Reads a plain file of at most `maxBytes`, or says why not. A pipe or device is refused and does not block. */
export function readPlainFile(path: string, maxBytes: number): { bytes: Buffer; stats: Stats } | { fault: string } {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) return { fault: `${path} is not a plain file` };
    if (stats.size > maxBytes) return { fault: `${path} is larger than ${maxBytes} bytes` };
    const bytes = Buffer.alloc(stats.size);
    const length = readSync(descriptor, bytes, 0, bytes.length, 0);
    return { bytes: bytes.subarray(0, length), stats };
  } catch (cause) {
    return { fault: `cannot read ${path}: ${reason(cause)}` };
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

function reason(cause: unknown): string {
  switch ((cause as NodeJS.ErrnoException).code) {
    case "ENOENT":
    case "ENOTDIR":
      return "there is no such file";
    case "EACCES":
    case "EPERM":
      return "permission denied";
    default:
      return cause instanceof Error ? cause.message : String(cause);
  }
}
