// Already encrypted: does a message consist of nothing but ciphertext, and for whom.
import { fieldsNamed, fieldValue, type HeaderSection } from "../mail/header.ts";
import { collect, sizedFrom, type Sized } from "../mail/chunks.ts";
import { decodeArmor } from "../pgp/armor.ts";
import { isWholeMessage, readMessageShape } from "../pgp/message-shape.ts";
import type { PgpKey, RecipientKey, SmimeKey } from "../keys/recipient-key.ts";
import { isWholeEnveloped, readEnvelopedShape } from "../smime/enveloped-shape.ts";
import { readerId } from "../smime/recipient-info.ts";

/** What RFC 3156 4 asks for in either part, and nothing that could carry text of its own. */
const VERSION_PART =
  /^\r\nContent-Type: *application\/pgp-encrypted\r\n(?:Content-(?:Description: PGP\/MIME version identification|Transfer-Encoding: 7bit)\r\n)*\r\nVersion: 1(?:\r\n)*$/i;
const DATA_PART =
  /^\r\nContent-Type: *application\/octet-stream(?:; *name="encrypted\.asc")?\r\n(?:Content-(?:Description: OpenPGP encrypted message(?:\.asc)?|Disposition: inline; filename="encrypted\.asc"|Transfer-Encoding: 7bit)\r\n)*\r\n(-----BEGIN PGP MESSAGE-----\r\n(?:Version: [\w .()-]{1,60}\r\n)?\r\n[A-Za-z0-9+/=\r\n]+-----END PGP MESSAGE-----)(?:\r\n)*$/i;

/** Larger messages are not examined: they are encrypted once more, which is always safe. */
const MAX_EXAMINED_BYTES = 4 * 1024 * 1024;

const AES = "2.16.840.1.101.3.4.1.";

export type Encrypted = { readonly kind: "smime" | "pgp"; readonly readerIds: readonly string[] };

/**
 * The readers of a message that is structurally encrypted and holds nothing else: one CMS (Auth)EnvelopedData, or a
 * multipart/encrypted of two parts whose second is one OpenPGP message. Undefined for everything else, also when in doubt.
 */
export async function encryptedFor(header: HeaderSection, content: Sized): Promise<Encrypted | undefined> {
  if (header.fields.some((field) => field.name === "bcc" || field.name === "resent-bcc")) return undefined;
  const type = contentType(header);
  if (type === undefined || content.size > MAX_EXAMINED_BYTES) return undefined;
  const isSmime = /^application\/(?:x-)?pkcs7-mime\s*(?:;|$)/i.test(type);
  const isPgp = /^multipart\/encrypted\s*;/i.test(type);
  if (!isSmime && !isPgp) return undefined;
  const body = await collect(sizedFrom(content, header.size));
  try {
    return isSmime ? smimeReaders(header, body) : pgpReaders(type, body);
  } catch {
    return undefined;
  }
}

/** Whether the message can be read with `keys` and by nobody but the owners of `others`. */
export function isForReader(
  encrypted: Encrypted,
  keys: readonly RecipientKey[],
  others: readonly RecipientKey[],
): boolean {
  const own = new Set(keys.flatMap(idsOf));
  const all = new Set([...own, ...others.flatMap(idsOf)]);
  return encrypted.readerIds.some((id) => own.has(id)) && encrypted.readerIds.every((id) => all.has(id));
}

function idsOf(key: RecipientKey): string[] {
  return key.kind === "smime" ? smimeIds(key) : pgpIds(key);
}

function smimeIds({ certificate }: SmimeKey): string[] {
  const ski = certificate.subjectKeyIdentifier;
  return [readerId(certificate), ...(ski === undefined ? [] : [`ski:${Buffer.from(ski).toString("hex")}`])];
}

function pgpIds({ certificate }: PgpKey): string[] {
  return certificate.encryption.usable
    ? [certificate.encryption.key.keyId, certificate.encryption.key.fingerprint]
    : [];
}

function contentType(header: HeaderSection): string | undefined {
  const fields = fieldsNamed(header, "content-type");
  return fields.length === 1 && fields[0] !== undefined ? fieldValue(fields[0]) : undefined;
}

function smimeReaders(header: HeaderSection, body: Buffer): Encrypted | undefined {
  const encoding = fieldsNamed(header, "content-transfer-encoding").map(fieldValue).join(",").toLowerCase();
  const cms = encoding === "base64" ? strictBase64(body) : encoding === "binary" ? body : undefined;
  if (cms === undefined || !isWholeEnveloped(cms)) return undefined;
  const { readerIds, contentEncryption } = readEnvelopedShape(cms);
  // what was encrypted with something older than AES is encrypted once more
  return contentEncryption.startsWith(AES) ? { kind: "smime", readerIds } : undefined;
}

function pgpReaders(type: string, body: Buffer): Encrypted | undefined {
  const boundary = /;\s*boundary\s*=\s*(?:"([^"\\]{1,70})"|([^\s;"]{1,70}))/i.exec(type);
  const mark = boundary?.[1] ?? boundary?.[2];
  if (mark === undefined) return undefined;
  const pieces = `\r\n${body.toString("latin1")}`.split(`\r\n--${mark}`);
  const [preamble, version, data, close, ...more] = pieces;
  if (preamble?.trim() !== "" || close === undefined || !/^--\s*$/.test(close) || more.length > 0) return undefined;
  if (!VERSION_PART.test(version ?? "")) return undefined;
  const block = DATA_PART.exec(data ?? "")?.[1];
  const { blocks, faults } = decodeArmor(block ?? "");
  const [only] = blocks;
  if (only === undefined || blocks.length !== 1 || faults.length > 0 || !isWholeMessage(only.bytes)) return undefined;
  return { kind: "pgp", readerIds: readMessageShape(only.bytes).readerIds };
}

function strictBase64(body: Buffer): Buffer | undefined {
  const text = body.toString("latin1").replace(/[\r\n\t ]+/g, "");
  return /^[A-Za-z0-9+/]+={0,2}$/.test(text) ? Buffer.from(text, "base64") : undefined;
}
