// multipart/encrypted: PGP/MIME by RFC 3156 for a group of readers.
import { randomBytes } from "node:crypto";
import type { PgpReader } from "../keys/recipient-key.ts";
import { concatSized, sizedBytes } from "../mail/chunks.ts";
import { Ciphertext } from "../mail/outgoing.ts";
import { armored } from "../pgp/armor.ts";
import type { PgpEncryptionKey } from "../pgp/certificate.ts";
import { encryptedMessage } from "../pgp/encrypted-message.ts";
import { readerIdOf } from "../pgp/message-shape.ts";
import type { MessageCipher } from "./cipher.ts";

/** Encrypts with OpenPGP: SEIPDv2 when every reader's key advertises it, else SEIPDv1, which all programs read. */
export function pgpMimeCipher(): MessageCipher<PgpReader> {
  return {
    kind: "pgp",
    async encrypt(split, readers) {
      const keys = readers.map(encryptionKey);
      const seipd2 = readers.every((reader) => reader.certificate.readsSeipd2);
      const boundary = `sealpost-${randomBytes(18).toString("base64url")}`;
      const head =
        "MIME-Version: 1.0\r\n" +
        `Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n boundary="${boundary}"\r\n\r\n` +
        `--${boundary}\r\nContent-Type: application/pgp-encrypted\r\nContent-Description: PGP/MIME version identification\r\n\r\nVersion: 1\r\n\r\n` +
        `--${boundary}\r\nContent-Type: application/octet-stream; name="encrypted.asc"\r\n` +
        'Content-Disposition: inline; filename="encrypted.asc"\r\n\r\n';
      const message = concatSized(
        sizedBytes(split.outerFields),
        sizedBytes(Buffer.from(head)),
        armored(await encryptedMessage(split.inner, keys, { seipd2 }), "MESSAGE"),
        sizedBytes(Buffer.from(`\r\n--${boundary}--\r\n`)),
      );
      return new Ciphertext(
        "pgp",
        message,
        keys.map((key) => readerIdOf(key, seipd2 ? 6 : 3)),
      );
    },
  };
}

function encryptionKey(reader: PgpReader): PgpEncryptionKey {
  const { encryption } = reader.certificate;
  if (!encryption.usable) throw new Error(`key ${reader.fingerprint} cannot be encrypted to: ${encryption.detail}`);
  return encryption.key;
}
