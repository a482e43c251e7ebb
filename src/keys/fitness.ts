// Fitness: may mail to this mailbox be encrypted with this key now, and if not, why (pure).
import { isAmong, type Mailbox } from "../mail/address.ts";
import type { Certificate } from "../smime/certificate.ts";
import type { TrustVerdict } from "../smime/trust.ts";
import type { PgpCertificate } from "../pgp/certificate.ts";
import type { RecipientKey, SmimeKey } from "./recipient-key.ts";

export type UnfitReason =
  | "wrong-mailbox"
  | "expired"
  | "not-yet-valid"
  | "no-encryption-use"
  | "weak-key"
  | "weak-signature"
  | "unsupported-algorithm"
  | "unknown-critical-extension"
  | "revoked"
  | "no-encryption-subkey"
  | "untrusted"
  /** Not known to be unfit: a chain must take it for a failed look-up. */
  | "revocation-unknown";

export type Fitness =
  { readonly fit: true } | { readonly fit: false; readonly reason: UnfitReason; readonly detail?: string };

/** Judges the certification path of a certificate at `now` (ms); `companions` came along with it. */
export type PathJudge = (certificate: Certificate, companions: readonly Certificate[], now: number) => TrustVerdict;

/**
 * What an administrator may set: `minRsaBits` counts for S/MIME; OpenPGP keys below 2048 bits are refused by openpgp.js.
 * `path` is there when every certificate needs a certification path (smime.trust.check).
 */
export type FitnessPolicy = {
  readonly minRsaBits: number;
  readonly path?: PathJudge;
  /** Resolves when what `path` needs has been loaded, or was tried; rejects when `signal` fires first. */
  ready?(signal: AbortSignal): Promise<void>;
};

const FIT: Fitness = { fit: true };
const unfit = (reason: UnfitReason): Fitness => ({ fit: false, reason });

const EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4";
const ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0";
const WEAK_DIGESTS: ReadonlySet<string> = new Set(["md2", "md4", "md5", "sha1"]);

/** Judges one key for one mailbox at `now` (ms). Nothing but the key itself is believed, wherever it was found. */
export function fitness(key: RecipientKey, mailbox: Mailbox, now: number, policy: FitnessPolicy): Fitness {
  switch (key.kind) {
    case "smime":
      return certificateFitness(key, mailbox, now, policy);
    case "pgp":
      return pgpFitness(key.certificate, mailbox, now);
  }
}

function certificateFitness(key: SmimeKey, mailbox: Mailbox, now: number, policy: FitnessPolicy): Fitness {
  const { certificate, companions = [] } = key;
  if (!isAmong(mailbox, certificate.addresses)) return unfit("wrong-mailbox");
  if (now > certificate.notAfter) return unfit("expired");
  if (now < certificate.notBefore) return unfit("not-yet-valid");
  if (certificate.unknownCriticalExtensions.length > 0) return unfit("unknown-critical-extension");
  const { publicKey } = certificate;
  if (publicKey.algorithm === "unsupported") return unfit("unsupported-algorithm");
  if (!mayEncrypt(certificate)) return unfit("no-encryption-use");
  if (publicKey.algorithm === "rsa" && (publicKey.bits < policy.minRsaBits || publicKey.exponent < 65_537n))
    return unfit("weak-key");
  if (WEAK_DIGESTS.has(certificate.signatureDigest)) return unfit("weak-signature");
  const verdict = policy.path?.(certificate, companions, now);
  if (verdict?.trusted === false) return { fit: false, reason: verdict.reason, detail: verdict.detail };
  return FIT;
}

/**
 * Key usage as RFC 8550 4.4.2: RSA keys transport a key, EC keys agree on one. Basic constraints say nothing of encryption:
 * self-signed certificates as `openssl req -x509` makes them are marked as CA.
 */
function mayEncrypt(certificate: Certificate): boolean {
  const { keyUsage, extendedKeyUsage, publicKey } = certificate;
  const use = publicKey.algorithm === "rsa" ? "keyEncipherment" : "keyAgreement";
  if (keyUsage !== undefined && !keyUsage.has(use)) return false;
  return (
    extendedKeyUsage === undefined ||
    extendedKeyUsage.includes(EMAIL_PROTECTION) ||
    extendedKeyUsage.includes(ANY_EXTENDED_KEY_USAGE)
  );
}

function pgpFitness(certificate: PgpCertificate, mailbox: Mailbox, now: number): Fitness {
  const { encryption } = certificate;
  // a revoked or expired certificate has no valid User ID left: its own reason says more than wrong-mailbox
  if (!encryption.usable && (encryption.reason === "revoked" || encryption.reason === "expired"))
    return unfit(encryption.reason);
  if (now < certificate.created) return unfit("not-yet-valid");
  if (!isAmong(mailbox, certificate.addresses)) return unfit("wrong-mailbox");
  if (!encryption.usable) return unfit(encryption.reason);
  if (certificate.expires !== undefined && now > certificate.expires) return unfit("expired");
  if (encryption.expires !== undefined && now > encryption.expires) return unfit("expired");
  return FIT;
}

/** Until when a key may be used, as far as it says so (ms). */
export function notAfter(key: RecipientKey): number | undefined {
  if (key.kind === "smime") return key.certificate.notAfter;
  const ends = [
    key.certificate.expires,
    key.certificate.encryption.usable ? key.certificate.encryption.expires : undefined,
  ];
  const known = ends.filter((end) => end !== undefined);
  return known.length > 0 ? Math.min(...known) : undefined;
}

/** When a key came into being: of several fit keys the newest wins. */
export function validFrom(key: RecipientKey): number {
  return key.kind === "smime" ? key.certificate.notBefore : key.certificate.created;
}
