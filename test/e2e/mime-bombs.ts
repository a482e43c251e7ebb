// Mails of parts without end, for whoever would take them apart: multiparts in multiparts, half a million parts, mails in mails.
import { issueMail } from "./jira.ts";

/** By what each is; each is a whole mail with CRLF line ends. */
export function mimeBombs(): ReadonlyMap<string, Buffer> {
  const nested = Array.from({ length: 50_000 }, (_, level) => {
    const type = `Content-Type: multipart/mixed; boundary=b${level}`;
    // the first is the mail's own
    return level === 0 ? "--b0\r\n" : `${type}\r\n\r\n--b${level}\r\n`;
  });
  return new Map([
    ["50,000 multiparts in one another", bomb("multipart/mixed; boundary=b0", `${nested.join("")}\r\nx`)],
    ["500,000 parts side by side", bomb("multipart/mixed; boundary=b", `${"--b\r\n\r\nx\r\n".repeat(500_000)}--b--`)],
    [
      "5,000 mails in one another",
      bomb("message/rfc822", `${"Content-Type: message/rfc822\r\n\r\n".repeat(5_000)}\r\nx`),
    ],
  ]);
}

const bomb = (type: string, text: string) => issueMail("1", { fields: { "Content-Type": type }, text });
