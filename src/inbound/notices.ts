// Notices that learning from incoming mail causes: the question to the owner of a key, and the warning about a private key.
import { randomUUID } from "node:crypto";
import type { RecipientKey } from "../keys/recipient-key.ts";
import type { Mailbox } from "../mail/address.ts";
import { composeNotice } from "../mail/compose.ts";
import type { Notice } from "../spool/spool.ts";

export type NoticeParts = {
  readonly hostname: string;
  /** web.publicUrl, without a slash at its end. */
  readonly publicUrl: string;
  readonly now: () => number;
  /** The message, encrypted for one reader and proved to be. */
  seal(key: RecipientKey, message: Buffer): Promise<Uint8Array>;
};

/** Asks the owner, encrypted to the key in use, whether the new one is theirs; at most one a day for each address. */
export async function confirmationNotice(
  owner: Mailbox,
  held: RecipientKey,
  offered: RecipientKey,
  token: string,
  parts: NoticeParts,
): Promise<Notice> {
  const text = [
    "A signed mail in your name came with another key than the one that mail to you",
    "is encrypted with now. The new key:",
    "",
    `  ${offered.kind === "smime" ? "S/MIME certificate" : "OpenPGP key"} ${offered.fingerprint}`,
    "",
    "If that mail was yours, confirm it here, and the new key is used from then on:",
    "",
    `  ${parts.publicUrl}/confirm/${token}`,
    "",
    "If it was not yours, do nothing: nothing changes. Your administrator can decide",
    "too (sealpost harvest list).",
    "",
  ].join("\n");
  const message = await composed(owner, "Is this your new key?", text, parts);
  const sealed = await parts.seal(held, message);
  return {
    ...{ class: "report", reversePath: undefined, recipient: owner, message: sealed },
    // whoever makes key after key must not fill a mailbox; the link is the same each time, so a later question serves as well
    onceADay: `${owner.key} confirm`,
  };
}

/** Tells somebody who has mailed a private key; nothing of it is kept or shown. */
export async function privateKeyNotice(author: Mailbox, parts: NoticeParts): Promise<Notice> {
  const text = [
    "A mail of yours had a private key attached. Whoever reads mail on its way can",
    "have it now: decrypt your mail and sign in your name.",
    "",
    "Revoke that key and make a new one. Give away only the certificate or the public",
    "key. This relay has not kept the private key.",
    "",
  ].join("\n");
  const message = await composed(author, "You have sent a private key", text, parts);
  return {
    ...{ class: "report", reversePath: undefined, recipient: author, message },
    onceADay: `${author.key} private-key`,
  };
}

function composed(to: Mailbox, subject: string, text: string, { hostname, now }: NoticeParts): Promise<Buffer> {
  return composeNotice(
    {
      from: { name: "Mail encryption", address: `postmaster@${hostname}` },
      to: to.address,
      subject,
      date: new Date(now()),
      messageId: `<${randomUUID()}@${hostname}>`,
    },
    [{ contentType: "text/plain; charset=us-ascii", text }],
    "multipart/mixed",
  );
}
