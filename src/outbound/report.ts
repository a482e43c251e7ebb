// Report: the notice to a recipient whose message could not be encrypted; it says why, and nothing of the message.
import { randomUUID } from "node:crypto";
import type { UnfitReason } from "../keys/fitness.ts";
import type { Mailbox } from "../mail/address.ts";
import { composeNotice } from "../mail/compose.ts";
import type { Notice } from "../spool/spool.ts";
import type { NoKeyReason } from "./treatment.ts";

/** Sentences for a recipient. */
const EXPLANATIONS: Readonly<Record<UnfitReason | NoKeyReason, string>> = {
  "set-aside": "A certificate or key of yours was found, but it cannot be read or may not be used.",
  untrusted: "Your certificate was not issued by an authority that is trusted here.",
  "revocation-unknown": "It cannot be told at present whether your certificate was revoked.",
  "unknown-critical-extension": "Your certificate has a condition on its use that is not understood here.",
  "no-key": "No certificate and no public key of yours is known.",
  expired: "Your certificate or key has expired.",
  revoked: "Your certificate or key was revoked.",
  "not-yet-valid": "Your certificate or key is not valid yet.",
  "wrong-mailbox": "The certificate or key that was found is for another address.",
  "no-encryption-use": "Your certificate may not be used for encryption, only for signing.",
  "no-encryption-subkey": "Your key has no part that can be used for encryption.",
  "weak-key": "Your certificate or key is too weak to be used.",
  "weak-signature": "Your certificate was signed with an algorithm that is no longer safe.",
  "unsupported-algorithm": "Your certificate or key is of a kind that cannot be used for encryption here.",
};
const explanations: ReadonlyMap<string, string> = new Map(Object.entries(EXPLANATIONS));

export type ReportSettings = { readonly hostname: string; readonly from: Mailbox };

/** The notice for one recipient; at most one for each recipient and reason leaves within a day. */
export async function problemReport(
  recipient: Mailbox,
  reason: string,
  isHeld: boolean,
  settings: ReportSettings,
  now: number,
): Promise<Notice> {
  const reasons = reason.split(", ").map((one) => explanations.get(one) ?? `The reason is: ${one}.`);
  const text = [
    "A message to you could not be encrypted and was therefore not sent.",
    "",
    ...reasons,
    "",
    isHeld
      ? "The message is kept. It will be sent to you, encrypted, as soon as a usable\ncertificate or key of yours is known."
      : "The message was not kept. You can read it where it was written, after signing in.",
    "",
    "What you can do:",
    `- send an e-mail that is digitally signed (S/MIME, or PGP with your public key\n  attached) to ${settings.from.address}, or`,
    "- give your certificate or public key to the people who look after this system;\n  they can upload it for you.",
    "",
    "This notice was written by a program. It shows nothing of the message itself.",
    "",
  ].join("\n");
  const message = await composeNotice(
    {
      from: { name: "Mail encryption", address: settings.from.address },
      to: recipient.address,
      subject: "A message to you could not be encrypted",
      date: new Date(now),
      messageId: `<${randomUUID()}@${settings.hostname}>`,
    },
    [{ contentType: "text/plain; charset=us-ascii", text }],
    "multipart/mixed",
  );
  return { class: "report", reversePath: undefined, recipient, message, onceADay: `${recipient.key} ${reason}` };
}
