// Message id: names a message in the spool, the log and for operators; sorts by time.
import { randomFillSync } from "node:crypto";

const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_DIGITS = 8;
/** Drawn for many ids at once: each draw costs as much as all of its octets. */
const pool = Buffer.alloc(RANDOM_DIGITS * 64);
let used = pool.length;

export function isMessageId(text: string): boolean {
  return /^[0-9a-hjkmnp-tv-z]{18}$/.test(text);
}

/** Ten digits of the time in ms and eight random ones, base 32 without letters that look alike. */
export function newMessageId(now: number): string {
  let time = "";
  for (let rest = now, count = 0; count < 10; count++, rest = Math.floor(rest / 32))
    time = DIGITS.charAt(rest % 32) + time;
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  let random = "";
  for (let count = 0; count < RANDOM_DIGITS; count++) random += DIGITS.charAt((pool[used++] ?? 0) % 32);
  return time + random;
}
