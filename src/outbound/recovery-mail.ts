// Recovery mail: is this an invitation, a password reset or an address confirmation that Jira itself has written.
//
// Nothing that a user of Jira can write may make a mail exempt. So the marks are those of Jira's own code, not words of the
// text alone: no issue thread (Message-ID JIRA.<number>, In-Reply-To, References: every issue notification has them), no
// issue key in the subject, no link to an issue, one recipient, no attachment, and a link to one of the recovery pages.
import { decodeWords } from "../mail/encoded-word.ts";
import { fieldValue, firstField, type HeaderSection } from "../mail/header.ts";
import { projectsOf } from "./rules.ts";

/** Larger messages are never recovery mails, in octets. */
export const MAX_RECOVERY_MAIL_BYTES = 65_536;

const RECOVERY_PATHS = [
  "/secure/ResetPassword!default.jspa?",
  "/secure/Signup!default.jspa?",
  "/secure/VerifyEmail",
  "/servicedesk/customer/user/signup?",
  "/servicedesk/customer/user/resetpassword?",
  "/servicedesk/customer/user/forgotpassword?",
  "/servicedesk/customer/verify-email?",
];
const ISSUE_LINK = /\/browse\/[A-Z][A-Z0-9_]+-\d+|\/servicedesk\/customer\/portal\/\d+\/[A-Z]/;

/** `message` is the whole message, at most MAX_RECOVERY_MAIL_BYTES; Reference: docs/TREATMENT.md. */
export function isRecoveryMail(header: HeaderSection, message: Buffer, recipientCount: number): boolean {
  if (recipientCount !== 1 || message.length > MAX_RECOVERY_MAIL_BYTES) return false;
  if (firstField(header, "x-jira-fingerprint") === undefined) return false;
  if (firstField(header, "in-reply-to") !== undefined || firstField(header, "references") !== undefined) return false;
  const value = (name: string) => {
    const field = firstField(header, name);
    return field === undefined ? "" : fieldValue(field);
  };
  if (/^<JIRA\.\d+\./.test(value("message-id"))) return false;
  if (projectsOf(decodeWords(value("subject"))).length > 0) return false;
  const text = decodedText(message.subarray(header.size).toString("latin1"));
  if (/^content-disposition:\s*attachment/im.test(text)) return false;
  return hasRecoveryLink(text) && !ISSUE_LINK.test(text);
}

/** Word by word, so that the time stays linear whatever the text is. */
function hasRecoveryLink(text: string): boolean {
  return text
    .split(/[\s"'<>]/)
    .some(
      (word) =>
        /^https?:\/\//i.test(word) && word.includes("token=") && RECOVERY_PATHS.some((path) => word.includes(path)),
    );
}

/** The body with quoted-printable and base64 parts decoded where they stand: enough to look for links, not to show. */
function decodedText(body: string): string {
  const plain = body
    .replace(/=\r\n/g, "")
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  const base64 = body.replace(/(?:[A-Za-z0-9+/]{60,76}\r\n)+[A-Za-z0-9+/]*={0,2}/g, (run) =>
    Buffer.from(run.replace(/\r\n/g, ""), "base64").toString("latin1"),
  );
  return `${plain}\n${base64}`.replace(/&amp;/g, "&");
}
