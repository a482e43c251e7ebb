// Certificate: one X.509 certificate, read once: who it is for, what its key may do, how long it holds.

import { createHash } from "node:crypto";
import { readExtensions, type KeyUsage } from "./certificate-extensions.ts";
import { contentOf, DerSequence, encodingOf, Malformed, readDerElement, TAG, type Element } from "./der.ts";
import { readDistinguishedName } from "./distinguished-name.ts";
import { readPublicKey, type CertificatePublicKey } from "./public-key.ts";
import { readSignatureDigest } from "./signature-digest.ts";

/** The largest certificate that is read, in octets of DER. */
const MAX_CERTIFICATE_BYTES = 65_536;

/** A parsed certificate. Byte fields are DER as in the original; times are milliseconds since 1970. */
export type Certificate = {
  readonly der: Uint8Array;
  readonly version: number;
  /** SHA-256 of the DER, lower-case hex. */
  readonly fingerprint: string;
  /** For people, e.g. `CN=Alice,O=Example`. */
  readonly subject: string;
  readonly issuer: string;
  /** DER of the issuer Name and the serial INTEGER's content octets: IssuerAndSerialNumber (RFC 5652 10.2.4). */
  readonly issuerDer: Uint8Array;
  readonly serial: Uint8Array;
  readonly subjectDer: Uint8Array;
  readonly subjectKeyIdentifier: Uint8Array | undefined;
  /** keyIdentifier of the issuer, where it is named. */
  readonly authorityKeyIdentifier: Uint8Array | undefined;
  /**
   * Addresses this certificate is for, as written in it: SAN rfc822Name and SmtpUTF8Mailbox (RFC 9598); only when there is
   * neither, emailAddress of the subject. Never CN, never a UPN. Values with control characters are left out.
   */
  readonly addresses: readonly string[];
  readonly notBefore: number;
  readonly notAfter: number;
  /** Undefined: no keyUsage extension, everything allowed (RFC 5280 4.2.1.3). */
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  /** OIDs; undefined: no extension. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly isCa: boolean;
  /** How many CA certificates may follow towards the end entity; undefined: any number (RFC 5280 4.2.1.9). */
  readonly pathLength: number | undefined;
  /** DER values of these extensions, not read yet; see name-constraints.ts. */
  readonly subjectAltName: Uint8Array | undefined;
  readonly nameConstraints: Uint8Array | undefined;
  /** OIDs of critical extensions that nothing here understands. */
  readonly unknownCriticalExtensions: readonly string[];
  readonly publicKey: CertificatePublicKey;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  /** Digest of the signature algorithm for people and policy: "sha1", "md5", "sha256", …; "unknown" when not recognised. */
  readonly signatureDigest: string;
};

/**
 * Reads one DER certificate (RFC 5280 4.1), copying it. Signature and validity are not judged. Throws an Error whose message
 * says for people what is wrong; reading takes time in proportion to the size, whatever the octets are.
 */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > MAX_CERTIFICATE_BYTES) {
    throw new Malformed(`certificate has ${der.length} octets, more than ${MAX_CERTIFICATE_BYTES}`);
  }
  try {
    // a copy: the certificate outlives the file or message that it came in
    return readCertificate(new Uint8Array(der));
  } catch (cause) {
    if (cause instanceof Malformed) throw new Malformed(`not a readable certificate: ${cause.message}`, { cause });
    throw cause;
  }
}

function readCertificate(der: Uint8Array): Certificate {
  const outer = readDerElement(der);
  if (outer.tag !== TAG.sequence) throw new Malformed("not a SEQUENCE");
  if (outer.end !== der.length) throw new Malformed(`${der.length - outer.end} octets follow its end`);
  const certificate = new DerSequence(outer, "certificate");
  const tbs = new DerSequence(certificate.take(TAG.sequence), "certificate");
  const algorithm = certificate.take(TAG.sequence);
  certificate.take(TAG.bitString);
  certificate.close();

  const version = readVersion(tbs.takeIf(0xa0));
  const serial = contentOf(tbs.take(TAG.integer));
  if (serial.length === 0) throw new Malformed("no serial number");
  if (Buffer.compare(encodingOf(tbs.take(TAG.sequence)), encodingOf(algorithm)) !== 0) {
    throw new Malformed("two different signature algorithms");
  }
  const issuer = tbs.take(TAG.sequence);
  const validity = new DerSequence(tbs.take(TAG.sequence), "validity");
  const notBefore = readTime(validity.takeAny());
  const notAfter = readTime(validity.takeAny());
  const subject = tbs.take(TAG.sequence);
  const spki = tbs.take(TAG.sequence);
  tbs.takeIf(0x81); // issuerUniqueID
  tbs.takeIf(0x82); // subjectUniqueID
  const explicit = tbs.takeIf(0xa3);
  tbs.close();
  const extensions = readExtensions(explicit && new DerSequence(explicit, "extensions").take(TAG.sequence));
  const subjectName = readDistinguishedName(subject);
  const addresses = extensions.addresses.length > 0 ? extensions.addresses : subjectName.emailAddresses;

  return {
    der,
    version,
    fingerprint: createHash("sha256").update(der).digest("hex"),
    subject: subjectName.text,
    issuer: readDistinguishedName(issuer).text,
    issuerDer: encodingOf(issuer),
    serial,
    subjectDer: encodingOf(subject),
    subjectKeyIdentifier: extensions.subjectKeyIdentifier,
    authorityKeyIdentifier: extensions.authorityKeyIdentifier,
    addresses: addresses.filter((address) => address !== "" && !/\p{Cc}/u.test(address)),
    notBefore,
    notAfter,
    keyUsage: extensions.keyUsage,
    extendedKeyUsage: extensions.extendedKeyUsage,
    isCa: extensions.isCa,
    pathLength: extensions.pathLength,
    subjectAltName: extensions.subjectAltName,
    nameConstraints: extensions.nameConstraints,
    unknownCriticalExtensions: extensions.unknownCritical,
    publicKey: readPublicKey(spki),
    spki: encodingOf(spki),
    signatureDigest: readSignatureDigest(algorithm),
  };
}

/** 1, 2 or 3; whoever writes anything else gets what version 3 gets. */
function readVersion(explicit: Element | undefined): number {
  return explicit === undefined ? 1 : (contentOf(explicit).at(-1) ?? 2) + 1;
}

/**
 * UTCTime and GeneralizedTime in the only forms that RFC 5280 4.1.2.5 allows, as milliseconds since 1970; `what` names the
 * structure in error texts. Throws Malformed.
 */
export function readTime(time: Element, what = "validity"): number {
  const text = Buffer.from(contentOf(time)).toString("latin1");
  const pattern =
    time.tag === TAG.utcTime
      ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/
      : time.tag === TAG.generalizedTime
        ? /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/
        : undefined;
  const parts = pattern?.exec(text)?.slice(1).map(Number);
  if (parts === undefined) throw new Malformed(`${what} has a time of unknown form`);
  const [first = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts;
  const year = time.tag === TAG.utcTime ? first + (first < 50 ? 2000 : 1900) : first;
  const date = new Date(0);
  // not Date.UTC: it takes the years 0 to 99 for 1900 to 1999
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day || hour > 23 || minute > 59 || second > 59) {
    throw new Malformed(`${what} has a time that does not exist`);
  }
  return date.getTime();
}
