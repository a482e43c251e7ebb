// A message as raw octets: its fields, and by CONTRACT 3 what must be seen of it outside and what only inside.

export type RawMail = { readonly fields: readonly string[]; readonly body: Buffer };

/** Splits at the first blank line; fields are whole with their folds and CRLF, octets as latin1. */
export function rawMail(message: Buffer): RawMail {
  const end = message.indexOf("\r\n\r\n");
  if (end < 0) throw new Error("the message has no blank line");
  const fields = message.toString("latin1", 0, end + 2).match(/[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*/g) ?? [];
  return { fields, body: message.subarray(end + 4) };
}

export const nameOf = (field: string) => field.slice(0, field.indexOf(":")).toLowerCase();
const isContent = (field: string) => nameOf(field).startsWith("content-");
const NEVER_OUTSIDE = ["bcc", "dkim-signature", "mime-version"];

/** The fields of the message that stay readable, in their order. */
export function fieldsOutside({ fields }: RawMail): string[] {
  return fields.filter((field) => !isContent(field) && !NEVER_OUTSIDE.includes(nameOf(field)));
}

/** What a reader must decrypt: every Content field, a blank line, the body. */
export function entityInside({ fields, body }: RawMail): Buffer {
  return Buffer.concat([Buffer.from(`${fields.filter(isContent).join("")}\r\n`, "latin1"), body]);
}

/** The names of an arrived message's Content fields, sorted. */
export function contentNames({ fields }: RawMail): string[] {
  return fields.filter(isContent).map(nameOf).sort();
}

/** The CMS of an application/pkcs7-mime message. */
export function cmsOf({ body }: RawMail): Buffer {
  return Buffer.from(body.toString("latin1"), "base64");
}

/** The armored message of a multipart/encrypted message. */
export function armorOf({ body }: RawMail): Buffer {
  const [from, to, mark] = [body.indexOf("-----BEGIN PGP MESSAGE-----"), body.lastIndexOf(END_MARK), END_MARK.length];
  if (from < 0 || to < 0) throw new Error("there is no armored OpenPGP message");
  return body.subarray(from, to + mark);
}

const END_MARK = "-----END PGP MESSAGE-----";
