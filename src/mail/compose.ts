// Compose: messages that Sealpost itself writes, from parts; ASCII, lines within the limit, no octet of a mail's content.
import MimeNode from "nodemailer/lib/mime-node";

/** A part: its Content-Type and its text. Text is sent as it is; it must be ASCII with lines of at most 998 octets. */
export type NoticePart = { readonly contentType: string; readonly text: string };

export type NoticeHeader = {
  readonly from: { readonly name: string; readonly address: string };
  readonly to: string;
  readonly subject: string;
  readonly date: Date;
  readonly messageId: string;
};

/** Whatever a part holds, nodemailer opens no file and no URL for it. */
const OPTIONS = { newline: "\r\n", disableFileAccess: true, disableUrlAccess: true };

/** The complete message. One part stands alone, several make a multipart of `multipartType`. */
export async function composeNotice(
  header: NoticeHeader,
  parts: readonly [NoticePart, ...NoticePart[]],
  multipartType: string,
): Promise<Buffer> {
  const [first] = parts;
  const root = parts.length === 1 ? leaf(first) : new MimeNode(multipartType, OPTIONS);
  if (parts.length > 1) for (const part of parts) root.appendChild(leaf(part));
  root.setHeader([
    { key: "From", value: header.from },
    { key: "To", value: header.to },
    { key: "Subject", value: header.subject },
    { key: "Date", value: header.date.toUTCString().replace("GMT", "+0000") },
    { key: "Message-ID", value: header.messageId },
    { key: "Auto-Submitted", value: "auto-replied" },
    { key: "Precedence", value: "bulk" },
  ]);
  return root.build();
}

function leaf(part: NoticePart): MimeNode {
  const node = new MimeNode(part.contentType, OPTIONS);
  node.setHeader("Content-Transfer-Encoding", "7bit");
  node.setContent(Buffer.from(toAscii(part.text)));
  return node;
}

/** CRLF line ends, and `?` for what is not printable ASCII: nothing that came from outside can add a line. */
export function toAscii(text: string): string {
  return text.replace(/\r?\n/g, "\r\n").replace(/[^\x20-\x7e\r\n]/g, "?");
}
