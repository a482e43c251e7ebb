// EnvelopedData and AuthEnvelopedData: encrypts content for the owners of certificates, in one pass (RFC 5652 6, RFC 5083).
//
// The plaintext's length is known, so every length in the structure is too: it is written in DER, with definite lengths, and
// held in memory one chunk at a time.
import { createCipheriv, randomBytes } from "node:crypto";
import { concatSized, exactly, sizedBytes, throughStage, type Sized, type Stage } from "../mail/chunks.ts";
import type { Certificate } from "./certificate.ts";
import { derHeader, octetString, oid, sequence, setOf, smallInteger } from "./der-writing.ts";
import { recipientInfoFor, type KeyTransport } from "./recipient-info.ts";

export type EnvelopedDataOptions = {
  readonly contentEncryption: "aes256-cbc" | "aes256-gcm";
  readonly keyTransport: KeyTransport;
};

const ENVELOPED_DATA = oid("1.2.840.113549.1.7.3");
const AUTH_ENVELOPED_DATA = oid("1.2.840.113549.1.9.16.1.23");
const PKCS7_DATA = oid("1.2.840.113549.1.7.1");
const AES256_CBC = oid("2.16.840.1.101.3.4.1.42");
const AES256_GCM = oid("2.16.840.1.101.3.4.1.46");
const KEY_BYTES = 32;
const BLOCK_BYTES = 16;
const GCM_NONCE_BYTES = 12;
const GCM_TAG_BYTES = 16;

/** What frames the encrypted content of one message, and the cipher that makes it. */
type Framing = {
  readonly head: Buffer;
  /** Of the encrypted content, and of what follows it: the MAC. */
  readonly bodySize: number;
  cipher(): Stage;
};

/**
 * A ContentInfo in DER whose content is `plain`, encrypted to every certificate.
 *
 * Key and IV are drawn here, once: `chunks()` may be read again and gives the same octets each time. This is safe only because
 * a Sized gives the same octets each time: with GCM, two different plaintexts under one nonce would give both away. So the
 * same Sized must never be made to yield something else. Throws when there is no certificate or one that nothing can be
 * encrypted to; the iteration throws when `plain` does not have the size it announced.
 */
export function envelopedData(
  plain: Sized,
  certificates: readonly Certificate[],
  options: EnvelopedDataOptions,
): Sized {
  if (certificates.length === 0) throw new Error("EnvelopedData without a recipient");
  // one draw: each call costs as much as the octets
  const random = randomBytes(KEY_BYTES + BLOCK_BYTES);
  const key = random.subarray(0, KEY_BYTES);
  const recipients = certificates.map((certificate) => recipientInfoFor(certificate, options.keyTransport));
  const recipientInfos = setOf(...recipients.map((recipient) => recipient.wrap(key)));
  const isPlainVersion = recipients.every(({ kind }) => kind === "key-transport");
  const framing =
    options.contentEncryption === "aes256-gcm"
      ? gcmFraming(plain.size, key, random.subarray(KEY_BYTES, KEY_BYTES + GCM_NONCE_BYTES), recipientInfos)
      : cbcFraming(plain.size, key, random.subarray(KEY_BYTES), recipientInfos, isPlainVersion ? 0 : 2);
  return concatSized(
    sizedBytes(framing.head),
    throughStage(exactly(plain), framing.bodySize, () => framing.cipher()),
  );
}

function cbcFraming(plainSize: number, key: Buffer, iv: Buffer, recipientInfos: Buffer, version: number): Framing {
  // PKCS#7 padding: 1 to 16 octets (RFC 5652 6.3)
  const encryptedSize = plainSize - (plainSize % BLOCK_BYTES) + BLOCK_BYTES;
  const algorithm = sequence(AES256_CBC, octetString(iv));
  return {
    head: head(ENVELOPED_DATA, version, recipientInfos, algorithm, encryptedSize, 0),
    bodySize: encryptedSize,
    cipher() {
      const cbc = createCipheriv("aes-256-cbc", key, iv);
      return { next: (chunk) => filled(cbc.update(chunk)), end: () => [cbc.final()] };
    },
  };
}

/** A short chunk may not fill a block. */
function filled(octets: Buffer): Buffer[] {
  return octets.length > 0 ? [octets] : [];
}

/** AES-GCM in CMS: nonce of 12 octets, tag of 16 as the MAC after the content (RFC 5084 3.2, RFC 5083 2.1). */
function gcmFraming(plainSize: number, key: Buffer, nonce: Buffer, recipientInfos: Buffer): Framing {
  const algorithm = sequence(AES256_GCM, sequence(octetString(nonce), smallInteger(GCM_TAG_BYTES)));
  const tailSize = 2 + GCM_TAG_BYTES;
  return {
    head: head(AUTH_ENVELOPED_DATA, 0, recipientInfos, algorithm, plainSize, tailSize),
    bodySize: plainSize + tailSize,
    cipher() {
      const gcm = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: GCM_TAG_BYTES });
      return {
        next: (chunk) => [gcm.update(chunk)],
        end() {
          gcm.final();
          return [octetString(gcm.getAuthTag())];
        },
      };
    },
  };
}

/** Everything before the encrypted content. Built from the inside out: each header counts what it holds. */
function head(
  contentType: Buffer,
  version: number,
  recipientInfos: Buffer,
  algorithm: Buffer,
  encryptedSize: number,
  tailSize: number,
): Buffer {
  const wrapAround = (tag: number, before: Buffer, after: number) =>
    Buffer.concat([derHeader(tag, before.length + after), before]);
  const content = derHeader(0x80, encryptedSize);
  const encryptedContentInfo = wrapAround(0x30, Buffer.concat([PKCS7_DATA, algorithm, content]), encryptedSize);
  const rest = encryptedSize + tailSize;
  const enveloped = wrapAround(
    0x30,
    Buffer.concat([smallInteger(version), recipientInfos, encryptedContentInfo]),
    rest,
  );
  return wrapAround(0x30, Buffer.concat([contentType, wrapAround(0xa0, enveloped, rest)]), rest);
}
