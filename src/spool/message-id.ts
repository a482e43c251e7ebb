// Message id: names a message in the spool, the log and for operators; sorts by time.
import { randomBytes } from "node:crypto";

const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";

export function isMessageId(text: string): boolean {
  return /^[0-9a-hjkmnp-tv-z]{18}$/.test(text);
}

/** Ten digits of the time in ms and eight random ones, base 32 without letters that look alike. */
export function newMessageId(now: number): string {
  let time = "";
  for (let rest = now, count = 0; count < 10; count++, rest = Math.floor(rest / 32))
    time = DIGITS.charAt(rest % 32) + time;
  return time + [...randomBytes(8)].map((octet) => DIGITS.charAt(octet % 32)).join("");
}
