// application/pkcs7-mime: one EnvelopedData or AuthEnvelopedData for a group of readers (RFC 8551 3.3).
import type { SmimeKey } from "../keys/recipient-key.ts";
import { base64Lines } from "../mail/base64-lines.ts";
import { concatSized, sizedBytes } from "../mail/chunks.ts";
import { Ciphertext } from "../mail/outgoing.ts";
import { envelopedData } from "../smime/enveloped-data.ts";
import { readerId } from "../smime/recipient-info.ts";
import type { MessageCipher } from "./cipher.ts";

export type SmimeOptions = {
  readonly contentEncryption: "aes256-cbc" | "aes256-gcm";
  readonly keyTransport: "rsa-pkcs1" | "rsa-oaep";
};

/** Encrypts with S/MIME. Throws when a reader's key is of a kind that CMS cannot encrypt to. */
export function smimeCipher(options: SmimeOptions): MessageCipher<SmimeKey> {
  const smimeType = options.contentEncryption === "aes256-gcm" ? "authEnveloped-data" : "enveloped-data";
  const entityHeader = Buffer.from(
    "MIME-Version: 1.0\r\n" +
      `Content-Type: application/pkcs7-mime; smime-type=${smimeType};\r\n name="smime.p7m"\r\n` +
      "Content-Transfer-Encoding: base64\r\n" +
      'Content-Disposition: attachment; filename="smime.p7m"\r\n\r\n',
  );
  return {
    kind: "smime",
    // async so that a throw becomes a rejection like any cipher's
    // eslint-disable-next-line @typescript-eslint/require-await
    async encrypt(split, readers) {
      const certificates = readers.map((reader) => reader.certificate);
      const body = base64Lines(envelopedData(split.inner, certificates, options));
      const message = concatSized(sizedBytes(split.outerFields), sizedBytes(entityHeader), body);
      return new Ciphertext("smime", message, certificates.map(readerId));
    },
  };
}
