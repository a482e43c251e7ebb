// RecipientKey: a certificate or OpenPGP key of one person, whatever source it came from.
import type { Certificate } from "../smime/certificate.ts";
import type { PgpCertificate } from "../pgp/certificate.ts";

export type KeyKind = "smime" | "pgp";

/** Where within its source a key was: of two fit keys the one of the lower rank is used, however old (RULES R5). */
export type Place = { readonly name: string; readonly rank: number };

export type SmimeKey = {
  readonly kind: "smime";
  readonly fingerprint: string;
  readonly certificate: Certificate;
  readonly place?: Place;
  /** Certificates that came along, of which a certification path may be made. */
  readonly companions?: readonly Certificate[];
  /** OIDs of the algorithms that the owner's program announced (SMIMECapabilities, RFC 8551 2.5.2). */
  readonly announced?: readonly string[];
};
export type PgpKey = {
  readonly kind: "pgp";
  readonly fingerprint: string;
  readonly certificate: PgpCertificate;
  readonly place?: Place;
};
export type RecipientKey = SmimeKey | PgpKey;

/** What encrypting needs of a key. */
export type SmimeReader = Pick<SmimeKey, "kind" | "fingerprint" | "certificate" | "announced">;
export type PgpReader = Pick<PgpKey, "kind" | "fingerprint"> & {
  readonly certificate: Pick<PgpCertificate, "encryption" | "readsSeipd2">;
};
export type Reader = SmimeReader | PgpReader;

/** Where a personal key came from. */
export type KeyOrigin = "upload" | "incoming" | "autocrypt";

export function smimeKey(
  certificate: Certificate,
  found: Pick<SmimeKey, "place" | "companions" | "announced"> = {},
): SmimeKey {
  return { kind: "smime", fingerprint: certificate.fingerprint, certificate, ...found };
}

export function pgpKey(certificate: PgpCertificate): PgpKey {
  return { kind: "pgp", fingerprint: certificate.fingerprint, certificate };
}
