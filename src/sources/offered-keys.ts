// Offered keys: what an administrator or user hands over as "my key": one or more certificates or OpenPGP keys, no secrets.
import type { RecipientKey } from "../keys/recipient-key.ts";
import { certificateReader, keyringReader } from "./key-store-readers.ts";

const MAX_BYTES = 1024 * 1024;

/** The keys in `bytes`, of whichever kind, or a sentence that says why they are not taken. A private key is always refused. */
export async function readOfferedKeys(
  bytes: Buffer,
  now: number,
): Promise<{ keys: readonly RecipientKey[] } | { refused: string }> {
  if (bytes.length > MAX_BYTES) return { refused: `it is larger than ${MAX_BYTES} bytes` };
  const text = bytes.toString("latin1");
  if (/-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----/.test(text)) {
    return { refused: "it holds a private key; keep that to yourself and give the certificate or public key only" };
  }
  const certificates = await certificateReader(undefined)(bytes, now);
  if (certificates.kind === "keys" && certificates.keys.length > 0) {
    return certificates.notes.some(saysSecret)
      ? { refused: `it holds more than certificates: ${certificates.notes.join("; ")}` }
      : { keys: certificates.keys };
  }
  const ring = await keyringReader(bytes, now);
  if (ring.kind === "unreadable")
    return { refused: certificates.kind === "unreadable" ? certificates.reason : ring.reason };
  if (ring.notes.some(saysSecret)) return { refused: "it holds a secret key; give the public key only" };
  return { keys: ring.keys };
}

const saysSecret = (note: string) => /secret|private/i.test(note);
