// DSN: tells the sender which recipients did not get a message (RFC 3464), without anything of its content.
import { randomUUID } from "node:crypto";
import { splitMessage } from "../encrypt/outer-header.ts";
import type { Mailbox } from "../mail/address.ts";
import { composeNotice, toAscii } from "../mail/compose.ts";
import type { MailFacts } from "../outbound/mail-facts.ts";
import type { Notice } from "../spool/spool.ts";

export type FailedRecipient = {
  readonly mailbox: Mailbox;
  /** What the next hop said, or our own reason. */
  readonly reply: string;
  /** Enhanced status code, 5.x.x. */
  readonly status: string;
  /** Whether `reply` is the next hop's own SMTP reply. */
  readonly isRemote: boolean;
};

export type DsnSettings = { readonly hostname: string };

/**
 * One notification for all recipients of a message that failed together. `facts` undefined: the message cannot be read any
 * more. The header section it returns is always that of a hidden subject, whatever the message itself left with.
 */
export async function failureDsn(
  message: { readonly id: string; readonly reversePath: Mailbox; readonly acceptedAt: number },
  failedRecipients: readonly FailedRecipient[],
  facts: MailFacts | undefined,
  settings: DsnSettings,
  now: number,
): Promise<Notice> {
  const list = failedRecipients.map(({ mailbox, reply }) => `  ${mailbox.address}\n    ${oneLine(reply)}`).join("\n");
  const text =
    `This is the mail encryption relay at ${settings.hostname}.\n\n` +
    `A message could not be delivered to the following recipients and will not be tried again:\n\n${list}\n\n` +
    `Queue ID: ${message.id}\n`;
  const date = (at: number) => new Date(at).toUTCString().replace("GMT", "+0000");
  const status = [
    `Reporting-MTA: dns; ${settings.hostname}\nArrival-Date: ${date(message.acceptedAt)}\n`,
    ...failedRecipients.map(
      ({ mailbox, reply, status: code, isRemote }) =>
        `Final-Recipient: rfc822; ${mailbox.address}\nAction: failed\nStatus: ${code}\n` +
        `Diagnostic-Code: ${isRemote ? "smtp" : "x-sealpost"}; ${oneLine(reply)}\nLast-Attempt-Date: ${date(now)}\n`,
    ),
  ].join("\n");
  const headers =
    facts === undefined
      ? ""
      : Buffer.from(splitMessage(facts.header, facts.content, "hide").outerFields).toString("latin1");
  const composed = await composeNotice(
    {
      from: { name: "Mail Delivery System", address: `mailer-daemon@${settings.hostname}` },
      to: message.reversePath.address,
      subject: "Undelivered mail",
      date: new Date(now),
      messageId: `<${randomUUID()}@${settings.hostname}>`,
    },
    [
      { contentType: "text/plain; charset=us-ascii", text },
      { contentType: "message/delivery-status", text: status },
      { contentType: "text/rfc822-headers", text: headers },
    ],
    "multipart/report; report-type=delivery-status",
  );
  return { class: "dsn", reversePath: undefined, recipient: message.reversePath, message: composed };
}

/** The enhanced status code in a reply, or `otherwise`. RFC 3463. */
export function statusOf(reply: string, otherwise: string): string {
  return /\b([45]\.\d{1,3}\.\d{1,3})\b/.exec(reply)?.[1] ?? otherwise;
}

function oneLine(reply: string): string {
  return toAscii(reply.replace(/\s+/g, " ")).slice(0, 500);
}
