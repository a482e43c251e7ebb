// The extensions of a certificate: who it is for and what its key may do (RFC 5280 4.2).
import { contentOf, DerSequence, Malformed, oidOf, readDerElement, TAG, type Element } from "./der.ts";
import { asciiText, stringOf } from "./distinguished-name.ts";

export type KeyUsage =
  | "digitalSignature"
  | "nonRepudiation"
  | "keyEncipherment"
  | "dataEncipherment"
  | "keyAgreement"
  | "keyCertSign"
  | "cRLSign";

export type Extensions = {
  readonly addresses: readonly string[];
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly isCa: boolean;
  /** pathLenConstraint; negative when it is malformed, so that every path is too long. */
  readonly pathLength: number | undefined;
  readonly subjectKeyIdentifier: Uint8Array | undefined;
  readonly authorityKeyIdentifier: Uint8Array | undefined;
  /** DER as in the certificate: read only when a path is judged. */
  readonly subjectAltName: Uint8Array | undefined;
  readonly nameConstraints: Uint8Array | undefined;
  readonly unknownCritical: readonly string[];
};

const SUBJECT_KEY_IDENTIFIER = "2.5.29.14";
const KEY_USAGE = "2.5.29.15";
const SUBJECT_ALT_NAME = "2.5.29.17";
const BASIC_CONSTRAINTS = "2.5.29.19";
const EXTENDED_KEY_USAGE = "2.5.29.37";
const NAME_CONSTRAINTS = "2.5.29.30";
const AUTHORITY_KEY_IDENTIFIER = "2.5.29.35";
/**
 * Say nothing that forbids a use: issuerAltName, CRL distribution points, certificate policies; policyMappings and
 * inhibitAnyPolicy only count where a policy is asked for (RFC 5280 6.1.5 g), which policyConstraints alone could do.
 */
const HARMLESS: ReadonlySet<string> = new Set(["2.5.29.18", "2.5.29.31", "2.5.29.32", "2.5.29.33", "2.5.29.54"]);

export const SMTP_UTF8_MAILBOX = "1.3.6.1.5.5.7.8.9";
/** The forms of a GeneralName that are read (RFC 5280 4.2.1.6), by tag. */
export const GENERAL_NAME = { otherName: 0xa0, rfc822Name: 0x81, dnsName: 0x82, directoryName: 0xa4 } as const;

const KEY_USAGES: readonly KeyUsage[] = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
];

/** Reads `Extensions`; undefined stands for a certificate without any. Throws Malformed. */
export function readExtensions(extensions: Element | undefined): Extensions {
  const values = new Map<string, Uint8Array>();
  const critical: string[] = [];
  if (extensions !== undefined) {
    const list = new DerSequence(extensions, "extensions");
    while (list.hasMore()) {
      const { oid, isCritical, value } = readExtension(list.take(TAG.sequence));
      // two answers to one question: which one counts would depend on the reader
      if (values.has(oid)) throw new Malformed(`extension ${oid} occurs twice`);
      values.set(oid, value);
      if (isCritical && !READ.has(oid) && !HARMLESS.has(oid)) critical.push(oid);
    }
  }
  const read = <T>(oid: string, reader: (value: Uint8Array) => T): T | undefined => {
    const value = values.get(oid);
    return value === undefined ? undefined : reader(value);
  };
  const { isCa, pathLength } = read(BASIC_CONSTRAINTS, readBasicConstraints) ?? { isCa: false, pathLength: undefined };
  return {
    addresses: read(SUBJECT_ALT_NAME, readAddresses) ?? [],
    keyUsage: read(KEY_USAGE, readKeyUsage),
    extendedKeyUsage: read(EXTENDED_KEY_USAGE, readExtendedKeyUsage),
    isCa,
    pathLength,
    subjectKeyIdentifier: read(SUBJECT_KEY_IDENTIFIER, (value) => contentOf(whole(value, TAG.octetString))),
    authorityKeyIdentifier: read(AUTHORITY_KEY_IDENTIFIER, readAuthorityKeyIdentifier),
    subjectAltName: values.get(SUBJECT_ALT_NAME),
    nameConstraints: values.get(NAME_CONSTRAINTS),
    // name constraints are judged with the path, of which an end entity is never but the end
    unknownCritical: critical.filter((oid) => oid !== NAME_CONSTRAINTS || !isCa),
  };
}

const READ: ReadonlySet<string> = new Set([
  SUBJECT_KEY_IDENTIFIER,
  KEY_USAGE,
  SUBJECT_ALT_NAME,
  BASIC_CONSTRAINTS,
  AUTHORITY_KEY_IDENTIFIER,
  EXTENDED_KEY_USAGE,
]);

/** An Extension of a certificate, a revocation list or an entry of one (RFC 5280 4.1). Throws Malformed. */
export function readExtension(element: Element): { oid: string; isCritical: boolean; value: Uint8Array } {
  const sequence = new DerSequence(element, "extension");
  const oid = oidOf(sequence.take(TAG.oid));
  const critical = sequence.takeIf(TAG.boolean);
  const value = contentOf(sequence.take(TAG.octetString));
  sequence.close();
  return { oid, isCritical: critical !== undefined && isTrue(critical), value };
}

function isTrue(boolean: Element): boolean {
  return contentOf(boolean).some((octet) => octet !== 0);
}

/** The one element that makes up the whole value of an extension. */
function whole(value: Uint8Array, tag: number): Element {
  const element = readDerElement(value);
  if (element.tag !== tag || element.end !== value.length) throw new Malformed("an extension has a malformed value");
  return element;
}

/**
 * rfc822Name and SmtpUTF8Mailbox in the order of the certificate; an empty text stands for one that is broken, which still
 * means that the subject is not asked. A UPN (1.3.6.1.4.1.311.20.2.3) is not an address.
 */
function readAddresses(value: Uint8Array): string[] {
  const names = new DerSequence(whole(value, TAG.sequence), "subjectAltName");
  const addresses: string[] = [];
  while (names.hasMore()) {
    const name = names.takeAny();
    if (name.tag === GENERAL_NAME.rfc822Name) addresses.push(asciiText(contentOf(name)) ?? "");
    if (name.tag === GENERAL_NAME.otherName) addresses.push(...utf8Mailbox(name));
  }
  return addresses;
}

/** SmtpUTF8Mailbox (RFC 9598 3): otherName { type-id, [0] EXPLICIT UTF8String }. */
function utf8Mailbox(otherName: Element): string[] {
  const sequence = new DerSequence(otherName, "otherName");
  if (oidOf(sequence.take(TAG.oid)) !== SMTP_UTF8_MAILBOX) return [];
  const explicit = new DerSequence(sequence.take(0xa0), "SmtpUTF8Mailbox");
  return [stringOf(explicit.take(0x0c)) ?? ""];
}

function readKeyUsage(value: Uint8Array): ReadonlySet<KeyUsage> {
  const bits = contentOf(whole(value, TAG.bitString));
  const first = bits[1] ?? 0;
  return new Set(KEY_USAGES.filter((_, index) => (first & (0x80 >> index)) !== 0));
}

function readExtendedKeyUsage(value: Uint8Array): string[] {
  const sequence = new DerSequence(whole(value, TAG.sequence), "extendedKeyUsage");
  const purposes: string[] = [];
  while (sequence.hasMore()) purposes.push(oidOf(sequence.take(TAG.oid)));
  return purposes;
}

function readBasicConstraints(value: Uint8Array): { isCa: boolean; pathLength: number | undefined } {
  const sequence = new DerSequence(whole(value, TAG.sequence), "basicConstraints");
  const ca = sequence.takeIf(TAG.boolean);
  const length = sequence.takeIf(TAG.integer);
  const isCa = ca !== undefined && isTrue(ca);
  return { isCa, pathLength: length && lengthOf(contentOf(length)) };
}

function lengthOf(integer: Uint8Array): number {
  const [first = 0x80] = integer;
  if (first >= 0x80) return -1;
  return integer.reduce((sum, octet) => Math.min(sum * 256 + octet, Number.MAX_SAFE_INTEGER), 0);
}

/** keyIdentifier; undefined when there is none or it is broken: it only says which issuer to try first. */
function readAuthorityKeyIdentifier(value: Uint8Array): Uint8Array | undefined {
  try {
    const identifier = new DerSequence(whole(value, TAG.sequence), "authorityKeyIdentifier").takeIf(0x80);
    return identifier && contentOf(identifier);
  } catch (cause) {
    if (cause instanceof Malformed) return undefined;
    throw cause;
  }
}
