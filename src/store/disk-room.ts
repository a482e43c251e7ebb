// Disk room: whether enough is free to take mail, without asking the file system for each.
import { statfsSync } from "node:fs";

/**
 * So many answers, and so long, one look holds: short mail that comes in meanwhile is less than the reserve. For long mail no look
 * before it says enough; what finds no room is refused when it is written.
 */
const TRUSTED_TIMES = 32;
const TRUSTED_MS = 20;

/** Gives whether `reserveBytes` are free where `folder` lies; when not, each asking looks anew. */
export function diskRoom(folder: string, reserveBytes: number, monotonic: () => number): () => boolean {
  let left = 0;
  let until = 0;
  return () => {
    if (left-- > 0 && monotonic() < until) return true;
    const { bavail, bsize } = statfsSync(folder);
    const isEnough = bavail * bsize >= reserveBytes;
    left = isEnough ? TRUSTED_TIMES - 1 : 0;
    until = monotonic() + TRUSTED_MS;
    return isEnough;
  };
}
