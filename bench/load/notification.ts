// A notification of any size, as Jira writes it: text and HTML in quoted-printable, large ones with an attachment.

const WORDS =
  "issue assigned resolved priority build fails on the release branch when the reporter uploads attachment workflow transition comment sprint board gr=C3=B6=C3=9Fe".split(
    " ",
  );
const MAX_LINE = 74;
/** Larger ones get an attachment for the rest. */
const TEXT_BYTES = 256 * 1024;

/** Without Message-ID, with CRLF line ends; of `sizeBytes`, a line more or less. */
export function notification(sizeBytes: number, to: string): Buffer {
  const head = [
    'From: "Jira (bench)" <jira@bench.test>',
    `To: <${to}>`,
    "Date: Mon, 23 Nov 2026 10:00:00 +0000",
    "Subject: [JIRA] (BENCH-1) The build fails on the release branch",
    "Precedence: bulk",
    "Auto-Submitted: auto-generated",
    "X-JIRA-FingerPrint: 0123456789abcdef",
    "MIME-Version: 1.0",
  ].join("\r\n");
  const textBytes = Math.min(sizeBytes, TEXT_BYTES) - head.length - 400;
  const alternative = [
    'Content-Type: multipart/alternative; boundary="b"\r\n',
    `--b\r\n${partHead("plain")}${words(textBytes / 4)}`,
    `--b\r\n${partHead("html")}<html><body>\r\n${words((textBytes * 3) / 4)}</body></html>`,
    "--b--\r\n",
  ].join("\r\n");
  if (sizeBytes <= TEXT_BYTES) return Buffer.from(`${head}\r\n${alternative}`);
  const line = `${Buffer.alloc(57, "attached ").toString("base64")}\r\n`;
  const lines = line.repeat(Math.ceil((sizeBytes - TEXT_BYTES) / line.length));
  const attachment =
    'Content-Type: application/octet-stream; name="dump.bin"\r\nContent-Transfer-Encoding: base64\r\n' +
    `Content-Disposition: attachment; filename="dump.bin"\r\n\r\n${lines}`;
  return Buffer.from(
    `${head}\r\nContent-Type: multipart/mixed; boundary="m"\r\n\r\n--m\r\n${alternative}\r\n--m\r\n${attachment}--m--\r\n`,
  );
}

const partHead = (kind: "plain" | "html") =>
  `Content-Type: text/${kind}; charset=UTF-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n`;

function words(bytes: number): string {
  const lines: string[] = [];
  let line = "";
  for (let size = 0, word = 0; size < bytes; word++) {
    // another order of words in each line, the same in each run
    const text = WORDS[(word * 7 + lines.length * 3) % WORDS.length] ?? "";
    if (line.length + text.length >= MAX_LINE) {
      lines.push(line.trimEnd());
      size += line.length + 1;
      line = "";
    }
    line += `${text} `;
  }
  return `${lines.join("\r\n")}\r\n`;
}
