// application/pkcs7-mime: one EnvelopedData or AuthEnvelopedData for a group of readers (RFC 8551 3.3).
import type { SmimeReader } from "../keys/recipient-key.ts";
import { base64Lines } from "../mail/base64-lines.ts";
import { concatSized, sizedBytes } from "../mail/chunks.ts";
import { Ciphertext } from "../mail/outgoing.ts";
import { envelopedData } from "../smime/enveloped-data.ts";
import { readerId } from "../smime/recipient-info.ts";
import type { MessageCipher } from "./cipher.ts";

/** `auto`: what the programs of all readers have announced (SMIMECapabilities), else what every program reads. */
export type SmimeOptions = {
  readonly contentEncryption: "aes256-cbc" | "aes256-gcm" | "auto";
  readonly keyTransport: "rsa-pkcs1" | "rsa-oaep" | "auto";
};

const AES256_GCM = "2.16.840.1.101.3.4.1.46";
const RSAES_OAEP = "1.2.840.113549.1.1.7";

/** Encrypts with S/MIME. Throws when a reader's key is of a kind that CMS cannot encrypt to. */
export function smimeCipher(options: SmimeOptions): MessageCipher<SmimeReader> {
  return {
    kind: "smime",
    // async so that a throw becomes a rejection like any cipher's
    // eslint-disable-next-line @typescript-eslint/require-await
    async encrypt(split, readers) {
      const chosen = chosenFor(readers, options);
      const certificates = readers.map((reader) => reader.certificate);
      const body = base64Lines(envelopedData(split.inner, certificates, chosen));
      const header = sizedBytes(entityHeader(chosen.contentEncryption));
      const message = concatSized(sizedBytes(split.outerFields), header, body);
      return new Ciphertext("smime", message, certificates.map(readerId));
    },
  };
}

function chosenFor(readers: readonly SmimeReader[], { contentEncryption, keyTransport }: SmimeOptions) {
  const allRead = (oid: string) => readers.every(({ announced }) => announced?.includes(oid) === true);
  const content = allRead(AES256_GCM) ? "aes256-gcm" : "aes256-cbc";
  const transport = allRead(RSAES_OAEP) ? "rsa-oaep" : "rsa-pkcs1";
  return {
    contentEncryption: contentEncryption === "auto" ? content : contentEncryption,
    keyTransport: keyTransport === "auto" ? transport : keyTransport,
  } as const;
}

function entityHeader(contentEncryption: "aes256-cbc" | "aes256-gcm"): Buffer {
  const smimeType = contentEncryption === "aes256-gcm" ? "authEnveloped-data" : "enveloped-data";
  return Buffer.from(
    "MIME-Version: 1.0\r\n" +
      `Content-Type: application/pkcs7-mime; smime-type=${smimeType};\r\n name="smime.p7m"\r\n` +
      "Content-Transfer-Encoding: base64\r\n" +
      'Content-Disposition: attachment; filename="smime.p7m"\r\n\r\n',
  );
}
