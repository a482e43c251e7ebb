// The ordinary way of the libraries: a whole message in memory, encrypted by pkijs (RSA with OAEP, for WebCrypto has no PKCS #1 v1.5)
// or openpgp.js, as MIME.
import { fromBER } from "asn1js";
import { createMessage, encrypt, enums, readKey } from "openpgp";
import { Certificate, ContentInfo, EnvelopedData } from "pkijs";
import type { PgpReader, SmimeReader } from "./keys.ts";

const HEADER = 'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\n';

export function pkijsWay({ key }: SmimeReader, content: Buffer): () => Promise<string> {
  const { result } = fromBER(Uint8Array.from(key.certificate.der).buffer);
  const certificate = new Certificate({ schema: result });
  return async () => {
    const enveloped = new EnvelopedData();
    enveloped.addRecipientByCertificate(certificate, {});
    await enveloped.encrypt({ name: "AES-CBC", length: 256 }, Uint8Array.from(content).buffer);
    const info = new ContentInfo({ contentType: ContentInfo.ENVELOPED_DATA, content: enveloped.toSchema() });
    const base64 = Buffer.from(info.toSchema().toBER()).toString("base64");
    return `${HEADER}\r\n${base64.replace(/.{64}/g, "$&\r\n")}\r\n`;
  };
}

export function openpgpWay({ armored }: PgpReader, content: Buffer): () => Promise<string> {
  const reading = readKey({ armoredKey: armored });
  return async () => {
    const message = (await createMessage({ binary: Uint8Array.from(content) })) as unknown;
    const keys: unknown = await reading;
    const config = { preferredCompressionAlgorithm: enums.compression.uncompressed };
    const text = String(await encrypt({ message, encryptionKeys: keys, config } as never));
    return `Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\n\r\n${text}\r\n--b--\r\n`;
  };
}
