// Key bytes: keys as they are stored, the bytes that they came as, and parsed again whenever they are read.
import { pgpKey, smimeKey, type KeyKind, type RecipientKey } from "../keys/recipient-key.ts";
import { readPgpCertificate } from "../pgp/certificate.ts";
import { parseCertificate } from "../smime/certificate.ts";

/** DER of a certificate, or the binary packets of an OpenPGP certificate. Public keys only. */
export function keyBytes(key: RecipientKey): Uint8Array {
  return key.kind === "smime" ? key.certificate.der : key.certificate.bytes;
}

/** The key in these bytes; an OpenPGP one is judged at `now` (ms). Rejects when they cannot be read. */
export async function readKey(kind: KeyKind, bytes: Uint8Array, now: number): Promise<RecipientKey> {
  return kind === "smime" ? smimeKey(parseCertificate(bytes)) : pgpKey(await readPgpCertificate(bytes, now));
}
