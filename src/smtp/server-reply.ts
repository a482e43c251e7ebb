// Replies of the server: one line, printable, whatever the text was made of (RFC 5321 4.2, RFC 2034).

const MAX_TEXT_CHARS = 400;

/** One reply line with CRLF. Characters that could end a line or hide one become spaces. `status` "" for replies without one. */
export function reply(code: number, status: string, text: string): string {
  const shown = `${status} ${text}`.replace(/[^\x21-\x7e]+/g, " ").trim();
  return `${code} ${shown.slice(0, MAX_TEXT_CHARS)}\r\n`;
}

/** The reply to EHLO (RFC 5321 4.1.1.1): the host name, then one line for each extension. */
export function ehloReply(hostname: string, extensions: readonly string[]): string {
  const lines = [hostname, ...extensions];
  return lines.map((line, index) => `250${index === lines.length - 1 ? " " : "-"}${line}\r\n`).join("");
}
