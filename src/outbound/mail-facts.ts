// MailFacts: what the treatment of a message's recipients needs to know about the message itself, read once.
import { collect, readHead, sizedBytes, type Sized } from "../mail/chunks.ts";
import { addressesOf } from "../mail/address-list.ts";
import type { Mailbox } from "../mail/address.ts";
import { decodeWords } from "../mail/encoded-word.ts";
import {
  fieldsNamed,
  fieldValue,
  firstField,
  MAX_HEADER_BYTES,
  readHeader,
  type HeaderSection,
} from "../mail/header.ts";
import { encryptedFor, type Encrypted } from "./already-encrypted.ts";
import { isRecoveryMail, MAX_RECOVERY_MAIL_BYTES } from "./recovery-mail.ts";
import type { StoredContent } from "../spool/sealed-file.ts";
import { projectsOf } from "./rules.ts";

export type MailFacts = {
  readonly header: HeaderSection;
  /** The message; a short one is in memory now. */
  readonly content: StoredContent;
  /** Projects of the issue keys in the subject. */
  readonly projects: readonly string[];
  /** The one mailbox of From; undefined when there are none or several. */
  readonly from: Mailbox | undefined;
  /** Keys of the mailboxes in To and Cc; every other recipient is hidden and stays so. */
  readonly visible: ReadonlySet<string>;
  readonly encrypted: Encrypted | undefined;
  readonly isRecoveryMail: boolean;
};

/** Room for our own Received field above the largest header section that is accepted. */
const HEAD_BYTES = MAX_HEADER_BYTES + 4096;

/** The octets in which the header section ends, and that. Throws when the stored message cannot be read. */
export async function readMessageHead(
  stored: Sized,
): Promise<{ readonly head: Buffer; readonly header: HeaderSection }> {
  const head = await readHead(stored, HEAD_BYTES);
  const header = readHeader(head, true);
  if (header === undefined) throw new Error("the header section of the message does not end");
  return { head, header };
}

/** Recovery mails are looked for only when a policy may exempt them. Throws when the stored message cannot be read. */
export async function readMailFacts(
  stored: StoredContent,
  recipientCount: number,
  mayExempt: boolean,
): Promise<MailFacts> {
  const { head, header } = await readMessageHead(stored);
  // what was read whole is not read and opened once more
  const content = head.length === stored.size ? sizedBytes(head) : stored;
  const value = (name: string) => {
    const field = firstField(header, name);
    return field === undefined ? "" : fieldValue(field);
  };
  const visible = ["to", "cc"]
    .flatMap((name) => fieldsNamed(header, name))
    .flatMap((field) => addressesOf(fieldValue(field)));
  const from = fieldsNamed(header, "from").flatMap((field) => addressesOf(fieldValue(field)));
  const isSmall = mayExempt && content.size <= MAX_RECOVERY_MAIL_BYTES;
  return {
    header,
    content,
    projects: projectsOf(decodeWords(value("subject"))),
    from: from.length === 1 ? from[0] : undefined,
    visible: new Set(visible.map((mailbox) => mailbox.key)),
    encrypted: await encryptedFor(header, content),
    isRecoveryMail: isSmall && isRecoveryMail(header, await collect(content), recipientCount),
  };
}
