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
  readonly subjectKeyIdentifier: Uint8Array | undefined;
  readonly unknownCritical: readonly string[];
};

const SUBJECT_KEY_IDENTIFIER = "2.5.29.14";
const KEY_USAGE = "2.5.29.15";
const SUBJECT_ALT_NAME = "2.5.29.17";
const BASIC_CONSTRAINTS = "2.5.29.19";
const EXTENDED_KEY_USAGE = "2.5.29.37";
/** Say nothing that forbids a use: issuerAltName, CRL distribution points, certificate policies, authority key identifier. */
const HARMLESS: ReadonlySet<string> = new Set(["2.5.29.18", "2.5.29.31", "2.5.29.32", "2.5.29.35"]);

const SMTP_UTF8_MAILBOX = "1.3.6.1.5.5.7.8.9";
const OTHER_NAME = 0xa0;
const RFC822_NAME = 0x81;

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
  const unknownCritical: string[] = [];
  if (extensions !== undefined) {
    const list = new DerSequence(extensions, "extensions");
    while (list.hasMore()) {
      const { oid, isCritical, value } = readExtension(list.take(TAG.sequence));
      // two answers to one question: which one counts would depend on the reader
      if (values.has(oid)) throw new Malformed(`extension ${oid} occurs twice`);
      values.set(oid, value);
      if (isCritical && !READ.has(oid) && !HARMLESS.has(oid)) unknownCritical.push(oid);
    }
  }
  const read = <T>(oid: string, reader: (value: Uint8Array) => T): T | undefined => {
    const value = values.get(oid);
    return value === undefined ? undefined : reader(value);
  };
  return {
    addresses: read(SUBJECT_ALT_NAME, readAddresses) ?? [],
    keyUsage: read(KEY_USAGE, readKeyUsage),
    extendedKeyUsage: read(EXTENDED_KEY_USAGE, readExtendedKeyUsage),
    isCa: read(BASIC_CONSTRAINTS, readIsCa) ?? false,
    subjectKeyIdentifier: read(SUBJECT_KEY_IDENTIFIER, (value) => contentOf(whole(value, TAG.octetString))),
    unknownCritical,
  };
}

const READ: ReadonlySet<string> = new Set([
  SUBJECT_KEY_IDENTIFIER,
  KEY_USAGE,
  SUBJECT_ALT_NAME,
  BASIC_CONSTRAINTS,
  EXTENDED_KEY_USAGE,
]);

function readExtension(element: Element): { oid: string; isCritical: boolean; value: Uint8Array } {
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
    if (name.tag === RFC822_NAME) addresses.push(asciiText(contentOf(name)) ?? "");
    if (name.tag === OTHER_NAME) addresses.push(...utf8Mailbox(name));
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

function readIsCa(value: Uint8Array): boolean {
  const ca = new DerSequence(whole(value, TAG.sequence), "basicConstraints").takeIf(TAG.boolean);
  return ca !== undefined && isTrue(ca);
}
