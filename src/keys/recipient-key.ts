// RecipientKey: a certificate or OpenPGP key of one person, whatever source it came from.
import type { Certificate } from "../smime/certificate.ts";
import type { PgpCertificate } from "../pgp/certificate.ts";

export type KeyKind = "smime" | "pgp";

export type SmimeKey = { readonly kind: "smime"; readonly fingerprint: string; readonly certificate: Certificate };
export type PgpKey = { readonly kind: "pgp"; readonly fingerprint: string; readonly certificate: PgpCertificate };
export type RecipientKey = SmimeKey | PgpKey;

/** Where a personal key came from. */
export type KeyOrigin = "upload" | "incoming";

export function smimeKey(certificate: Certificate): SmimeKey {
  return { kind: "smime", fingerprint: certificate.fingerprint, certificate };
}

export function pgpKey(certificate: PgpCertificate): PgpKey {
  return { kind: "pgp", fingerprint: certificate.fingerprint, certificate };
}
