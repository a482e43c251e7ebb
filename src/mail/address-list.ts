// The addr-specs of an address field (RFC 5322 3.4): From, To, Cc; display names and comments are passed over.
import { parseMailbox, type Mailbox } from "./address.ts";

/**
 * All mailboxes of an unfolded field value, groups included. Whatever is not a well-formed address of our grammar is left
 * out: a recipient that is not found here counts as hidden, which is the safe side.
 */
export function addressesOf(value: string): Mailbox[] {
  const found: Mailbox[] = [];
  for (const entry of splitEntries(value)) {
    const parsed = parseMailbox(entry);
    if ("mailbox" in parsed) found.push(parsed.mailbox);
  }
  return found;
}

/** Cuts at top-level commas, semicolons and group colons; an entry is what stands in `<…>`, else its bare words. */
function splitEntries(value: string): string[] {
  const entries: string[] = [];
  let bare = "";
  let angle: string | undefined;
  const flush = () => {
    entries.push((angle ?? bare).trim());
    bare = "";
    angle = undefined;
  };
  for (let at = 0; at < value.length;) {
    const char = value.charAt(at);
    if (char === '"') at = endOfQuoted(value, at);
    else if (char === "(") at = endOfComment(value, at);
    else if (char === "<") {
      const end = value.indexOf(">", at);
      if (end < 0) return entries;
      angle = value.slice(at + 1, end);
      at = end + 1;
    } else if (char === "," || char === ";" || char === ":") {
      if (char === ":") bare = "";
      else flush();
      at++;
    } else {
      bare += char;
      at++;
    }
  }
  flush();
  return entries.filter((entry) => entry !== "");
}

function endOfQuoted(value: string, start: number): number {
  for (let at = start + 1; at < value.length; at++) {
    if (value[at] === "\\") at++;
    else if (value[at] === '"') return at + 1;
  }
  return value.length;
}

function endOfComment(value: string, start: number): number {
  let depth = 0;
  for (let at = start; at < value.length; at++) {
    if (value[at] === "\\") at++;
    else if (value[at] === "(") depth++;
    else if (value[at] === ")" && --depth === 0) return at + 1;
  }
  return value.length;
}
