// Departure: what is to leave in one transaction, as data that has no part in how it is done; and how it is made ready: encrypted,
// and read by the guard.
import { asError } from "../as-error.ts";
import type { Ciphers, MessageCipher } from "../encrypt/cipher.ts";
import { splitMessage, withoutPrivateFields, type SubjectMode } from "../encrypt/outer-header.ts";
import type { Reader } from "../keys/recipient-key.ts";
import { needsSmtpUtf8 } from "../mail/address.ts";
import type { Sized } from "../mail/chunks.ts";
import { ApprovedClear, Ciphertext, type Guarded } from "../mail/outgoing.ts";
import { readerIdOf } from "../pgp/message-shape.ts";
import { readerId } from "../smime/recipient-info.ts";
import type { Transaction } from "../smtp/sender.ts";
import type { StoredContent } from "../spool/sealed-file.ts";
import type { Leased, LeasedRecipient } from "../spool/spool.ts";
import { guard } from "./guard.ts";
import { readMessageHead } from "./mail-facts.ts";

export type Departure = {
  /** The message as it is in the spool. */
  readonly content: StoredContent;
  readonly manner: Manner;
  /** As the client has said it; what is encrypted is 7-bit. */
  readonly envelope: Omit<Transaction, "outgoing">;
};

export type Manner =
  | { readonly kind: "smime" | "pgp"; readonly readers: readonly Reader[]; readonly subject: SubjectMode }
  /** It came encrypted, in this way and for these, and leaves as it came. */
  | { readonly kind: "pass"; readonly encrypted: "smime" | "pgp"; readonly readerIds: readonly string[] }
  | {
      readonly kind: "clear";
      /** Of the configuration, or of ours for notices: what allows it. */
      readonly rule: string;
      /** Fields that nobody is to see stay out. */
      readonly isWithoutPrivateFields: boolean;
    };

/** What leaves for these recipients, who share it. */
export type Shipment = {
  readonly recipients: readonly LeasedRecipient[];
  readonly treatment: "smime" | "pgp" | "clear" | "pass";
  readonly departure: Departure;
  /** One key that cannot be encrypted to must not keep the others from their mail, and the sender's keeps nobody from it. */
  readonly apart: readonly Shipment[];
};

/** The message as it came, for all that are due, for which this rule stands. */
export function clearShipment(leased: Leased, rule: string): Shipment {
  const manner = { kind: "clear", rule, isWithoutPrivateFields: false } as const;
  const departure = { content: leased.content, manner, envelope: envelopeFor(leased, leased.due) };
  return { recipients: leased.due, treatment: "clear", departure, apart: [] };
}

/** The envelope for some of a message's recipients, as its client has said it. */
export function envelopeFor({ envelope }: Leased, recipients: readonly LeasedRecipient[]): Departure["envelope"] {
  const { reversePath, smtpUtf8, is8bit } = envelope;
  return {
    ...{ reversePath, smtpUtf8, is8bit },
    recipients: recipients.map(({ mailbox, notify }) => (notify === undefined ? { mailbox } : { mailbox, notify })),
  };
}

/** No ciphertext can be made for these readers together. */
export class Unencryptable extends Error {}

/** Throws Unencryptable, GuardStop when it may not leave, or what went wrong when the message was read. */
export async function madeReady({ content, manner, envelope }: Departure, ciphers: Ciphers): Promise<Transaction> {
  switch (manner.kind) {
    case "smime":
    case "pgp":
      return encrypted(content, manner, envelope, ciphers);
    case "pass": {
      const { readerIds } = manner;
      const outgoing = await guard(new Ciphertext(manner.encrypted, content, readerIds), { kind: "pass", readerIds });
      return { ...envelope, outgoing };
    }
    case "clear":
      return { ...envelope, outgoing: await inClear(content, manner) };
  }
}

async function inClear(content: Sized, manner: Extract<Manner, { kind: "clear" }>): Promise<Guarded> {
  const { rule, isWithoutPrivateFields } = manner;
  const leaving = isWithoutPrivateFields
    ? withoutPrivateFields((await readMessageHead(content)).header, content)
    : content;
  return guard(new ApprovedClear(leaving, rule), { kind: "clear", rule });
}

async function encrypted(
  content: Sized,
  { kind, readers, subject }: Extract<Manner, { subject: SubjectMode }>,
  envelope: Departure["envelope"],
  ciphers: Ciphers,
): Promise<Transaction> {
  const split = splitMessage((await readMessageHead(content)).header, content, subject);
  const [first, ...more] = readers;
  if (first === undefined) throw new Error("there is no reader to encrypt to");
  const cipher = ciphers[kind] as MessageCipher<Reader>;
  const ciphertext = await cipher.encrypt(split, [first, ...more]).catch((cause: unknown) => {
    throw new Unencryptable(asError(cause).message, { cause });
  });
  const readerIds = readers.map((reader) => plannedId(reader, readers));
  const outgoing = await guard(ciphertext, { kind, readerIds, isSubjectHidden: subject !== "keep" });
  return { ...envelope, is8bit: false, smtpUtf8: needsUtf8(envelope, split.outerFields), outgoing };
}

/** What a reader's RecipientInfo or PKESK has to say, from the chosen key itself. */
export function plannedId(key: Reader, readers: readonly Reader[]): string {
  if (key.kind === "smime") return readerId(key.certificate);
  const { encryption } = key.certificate;
  if (!encryption.usable) throw new Error(`key ${key.fingerprint} cannot be encrypted to`);
  const isSeipd2 = readers.every((reader) => reader.kind === "pgp" && reader.certificate.readsSeipd2);
  return readerIdOf(encryption.key, isSeipd2 ? 6 : 3);
}

function needsUtf8({ reversePath, recipients, smtpUtf8 }: Departure["envelope"], outerFields: Uint8Array): boolean {
  if (recipients.some(({ mailbox }) => needsSmtpUtf8(mailbox))) return true;
  return (
    (reversePath !== undefined && needsSmtpUtf8(reversePath)) || (smtpUtf8 && outerFields.some((octet) => octet > 127))
  );
}
