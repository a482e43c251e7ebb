// Key bytes: keys as they are stored, the bytes that they came as, and parsed again whenever they are read.
import { pgpKey, smimeKey, type KeyKind, type RecipientKey } from "../keys/recipient-key.ts";
import { readPgpCertificate } from "../pgp/certificate.ts";
import { parseCertificate } from "../smime/certificate.ts";

/** DER of a certificate, or the binary packets of an OpenPGP certificate. Public keys only. */
export function keyBytes(key: RecipientKey): Uint8Array {
  return key.kind === "smime" ? key.certificate.der : key.certificate.bytes;
}

/** What came along with a certificate, as JSON; null when there is nothing. */
export function keyExtras(key: RecipientKey): Uint8Array | null {
  if (key.kind === "pgp") return null;
  const { companions = [], announced = [] } = key;
  if (companions.length + announced.length === 0) return null;
  return Buffer.from(JSON.stringify({ companions: companions.map(({ der }) => base64(der)), announced }));
}

/** The key in these bytes; an OpenPGP one is judged at `now` (ms). Rejects when they cannot be read. */
export async function readKey(
  kind: KeyKind,
  bytes: Uint8Array,
  now: number,
  extras: Uint8Array | null = null,
): Promise<RecipientKey> {
  if (kind === "pgp") return pgpKey(await readPgpCertificate(bytes, now));
  const certificate = parseCertificate(bytes);
  if (extras === null) return smimeKey(certificate);
  const stored = JSON.parse(Buffer.from(extras).toString()) as { companions: string[]; announced: string[] };
  const companions = stored.companions.map((text) => parseCertificate(Buffer.from(text, "base64")));
  return smimeKey(certificate, { companions, announced: stored.announced });
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
