// Signed attributes: what the signer says besides the content (RFC 5652 11, RFC 8551 2.5, RFC 5035).
import { createHash } from "node:crypto";
import { readTime, type Certificate } from "./certificate.ts";
import { contentOf, DerSequence, encodingOf, Malformed, oidOf, readDerElement, TAG, type Element } from "./der.ts";
import { readDigest } from "./signature-scheme.ts";

/** Names one certificate out of those that came along. */
export type CertificateIdentifier = (certificate: Certificate) => boolean;

export type SignedAttributes = {
  /** What the signature is over: DER with the tag of a SET OF (RFC 5652 5.4). */
  readonly signed: Uint8Array;
  readonly contentType: string;
  readonly messageDigest: Uint8Array;
  /** Milliseconds since 1970. */
  readonly signingTime: number | undefined;
  /** OIDs of the algorithms that the signer's program reads, in the order of preference; empty when nothing is said. */
  readonly capabilities: readonly string[];
  /** The certificates to encrypt to, in one writing or two. */
  readonly preferences: readonly CertificateIdentifier[];
  /** Each must be true of the certificate that the signature verifies with. */
  readonly signingCertificates: readonly CertificateIdentifier[];
};

const MAX_ATTRIBUTES = 100;
const MAX_CAPABILITIES = 200;

const CONTENT_TYPE = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST = "1.2.840.113549.1.9.4";
const SIGNING_TIME = "1.2.840.113549.1.9.5";
const CAPABILITIES = "1.2.840.113549.1.9.15";
const ENCRYPTION_KEY_PREFERENCE = "1.2.840.113549.1.9.16.2.11";
const MICROSOFT_ENCRYPTION_KEY_PREFERENCE = "1.3.6.1.4.1.311.16.4";
const SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12";
const SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47";

/** Reads the [0] of a SignerInfo. Throws Malformed: also for an attribute that occurs twice, and for what is not DER. */
export function readSignedAttributes(attributes: Element): SignedAttributes {
  const values = readValues(attributes);
  const read = <T>(oid: string, reader: (value: Element) => T): T | undefined => {
    const value = values.get(oid);
    return value === undefined ? undefined : reader(onlyValue(value, oid));
  };
  const contentType = read(CONTENT_TYPE, oidOf);
  const messageDigest = read(MESSAGE_DIGEST, (value) => contentOf(withTag(value, TAG.octetString, "messageDigest")));
  if (contentType === undefined) throw new Malformed("attribute contentType is missing");
  if (messageDigest === undefined) throw new Malformed("attribute messageDigest is missing");
  const signed = Buffer.from(encodingOf(attributes));
  signed[0] = TAG.set;
  return {
    signed,
    contentType,
    messageDigest,
    signingTime: read(SIGNING_TIME, (value) => readTime(value, "signingTime")),
    capabilities: read(CAPABILITIES, readCapabilities) ?? [],
    preferences: [
      read(ENCRYPTION_KEY_PREFERENCE, readPreference),
      read(MICROSOFT_ENCRYPTION_KEY_PREFERENCE, issuerAndSerialNumber),
    ].filter((preference) => preference !== undefined),
    signingCertificates: [
      read(SIGNING_CERTIFICATE, readSigningCertificate),
      read(SIGNING_CERTIFICATE_V2, readSigningCertificateV2),
    ].filter((identifier) => identifier !== undefined),
  };
}

/** The SET of values of each attribute. */
function readValues(attributes: Element): Map<string, Element> {
  const list = new DerSequence(readDerElement(attributes.bytes, attributes.start, attributes.end), "signedAttrs");
  const values = new Map<string, Element>();
  while (list.hasMore()) {
    const attribute = new DerSequence(list.take(TAG.sequence), "attribute");
    const oid = oidOf(attribute.take(TAG.oid));
    const set = attribute.take(TAG.set);
    attribute.close();
    // two answers to one question: which one counts would depend on the reader
    if (values.has(oid)) throw new Malformed(`attribute ${oid} occurs twice`);
    values.set(oid, set);
    if (values.size > MAX_ATTRIBUTES) throw new Malformed(`more than ${MAX_ATTRIBUTES} attributes`);
  }
  return values;
}

function onlyValue(set: Element, oid: string): Element {
  const values = new DerSequence(set, `attribute ${oid}`);
  const value = values.takeAny();
  values.close();
  return value;
}

function withTag(element: Element, tag: number, what: string): Element {
  if (element.tag !== tag) throw new Malformed(`${what} is malformed`);
  return element;
}

/** SMIMECapabilities (RFC 8551 2.5.2). */
function readCapabilities(value: Element): string[] {
  const list = new DerSequence(withTag(value, TAG.sequence, "sMIMECapabilities"), "sMIMECapabilities");
  const capabilities: string[] = [];
  while (list.hasMore()) {
    const capability = new DerSequence(list.take(TAG.sequence), "sMIMECapabilities");
    const oid = oidOf(capability.take(TAG.oid));
    if (capability.hasMore()) capability.takeAny();
    capability.close();
    if (capabilities.push(oid) > MAX_CAPABILITIES) throw new Malformed(`more than ${MAX_CAPABILITIES} capabilities`);
  }
  return capabilities;
}

/** SMIMEEncryptionKeyPreference (RFC 8551 2.5.3), whose module has implicit tags. */
function readPreference(value: Element): CertificateIdentifier {
  if (value.tag === 0xa0) return issuerAndSerialNumber({ ...value, tag: TAG.sequence });
  if (value.tag === 0xa1) {
    // RecipientKeyIdentifier: date and other are not for finding a certificate
    const sequence = new DerSequence(value, "RecipientKeyIdentifier");
    return subjectKeyIdentifier(contentOf(sequence.take(TAG.octetString)));
  }
  return subjectKeyIdentifier(contentOf(withTag(value, 0x82, "sMIMEEncryptionKeyPreference")));
}

/** IssuerAndSerialNumber (RFC 5652 10.2.4). Throws Malformed. */
export function issuerAndSerialNumber(element: Element): CertificateIdentifier {
  const sequence = new DerSequence(withTag(element, TAG.sequence, "issuerAndSerialNumber"), "issuerAndSerialNumber");
  const issuer = encodingOf(sequence.take(TAG.sequence));
  const serial = contentOf(sequence.take(TAG.integer));
  sequence.close();
  return (certificate) => isSame(certificate.issuerDer, issuer) && isSame(certificate.serial, serial);
}

export function subjectKeyIdentifier(identifier: Uint8Array): CertificateIdentifier {
  return (certificate) =>
    certificate.subjectKeyIdentifier !== undefined && isSame(certificate.subjectKeyIdentifier, identifier);
}

/** SigningCertificate (RFC 5035 5): the first hash is of the signer's certificate; a hash says more than issuerSerial does. */
function readSigningCertificate(value: Element): CertificateIdentifier {
  const hash = contentOf(firstCertificateId(value).take(TAG.octetString));
  return ({ der }) => isSame(createHash("sha1").update(der).digest(), hash);
}

/** SigningCertificateV2 (RFC 5035 3): sha256 when no algorithm is named. */
function readSigningCertificateV2(value: Element): CertificateIdentifier {
  const id = firstCertificateId(value);
  const algorithm = id.takeIf(TAG.sequence);
  const digest = algorithm === undefined ? "sha256" : readDigest(algorithm).digest;
  const hash = contentOf(id.take(TAG.octetString));
  return ({ der }) => isSame(createHash(digest).update(der).digest(), hash);
}

function firstCertificateId(value: Element): DerSequence {
  const attribute = new DerSequence(withTag(value, TAG.sequence, "signingCertificate"), "signingCertificate");
  const certificates = new DerSequence(attribute.take(TAG.sequence), "signingCertificate");
  return new DerSequence(certificates.take(TAG.sequence), "signingCertificate");
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
