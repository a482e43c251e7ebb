// What a DER or BER structure is, told by the tags it begins with.
import { contentOf, elementsIn, Malformed, oidText, readElement, readElementHeader, TAG, type Element } from "./der.ts";
import { SIGNED_DATA } from "./p7b.ts";

/** `refusal` is a sentence that says what it is and how to get certificates out of it. */
export type DerKind = "certificate" | "pkcs7" | { readonly refusal: string };

const TO_PKCS7 = "openssl crl2pkcs7 -nocrl -certfile CERTIFICATES.pem -outform DER -out recipients.p7b";
const PKCS12 =
  "this is a PKCS#12 key store, whose certificates are encrypted as a rule; export them with " +
  `openssl pkcs12 -in FILE -nokeys -out CERTIFICATES.pem, then ${TO_PKCS7}`;
const BCFKS =
  "this is a BouncyCastle BCFKS key store, which is encrypted; export it with " +
  "keytool -importkeystore -srcstoretype BCFKS -deststoretype BKS";
const PKI_PATH =
  "this is a PkiPath (a certification path of Java), not PKCS#7; export the path with the encoding PKCS7 or make a PEM file " +
  `of its certificates and use ${TO_PKCS7}`;
export const PRIVATE_KEY =
  "this is a private key, which belongs to its owner only; a key store here holds certificates";
const PUBLIC_KEY = "this is a bare public key without a certificate around it";
const ENCRYPTED_MESSAGE = "this is an encrypted CMS message, not a set of certificates";
const REVOCATION_LIST = "this is a certificate revocation list, not a set of certificates";
const REQUEST = "this is a certificate request, not a certificate";
const NOT_KNOWN =
  "this is an ASN.1 structure of a kind not known here; certificates are read from PKCS#7, PEM, BKS and JKS";

const CMS_ENCRYPTED: ReadonlySet<string> = new Set([
  "1.2.840.113549.1.7.3",
  "1.2.840.113549.1.7.6",
  "1.2.840.113549.1.9.16.1.23",
]);

/** Tells what `outer` is. Its elements may still turn out to be broken; what is broken here is of no known kind. */
export function derKind(outer: Element): DerKind {
  try {
    return kindOf(outer);
  } catch (cause) {
    if (cause instanceof Malformed) return { refusal: NOT_KNOWN };
    throw cause;
  }
}

function kindOf(outer: Element): DerKind {
  const [first, second] = firstElements(outer);
  if (outer.tag !== TAG.sequence || first === undefined) return { refusal: NOT_KNOWN };
  if (first.tag === TAG.oid) {
    const type = oidText(contentOf(first));
    if (type === SIGNED_DATA) return "pkcs7";
    return { refusal: CMS_ENCRYPTED.has(type) ? ENCRYPTED_MESSAGE : NOT_KNOWN };
  }
  if (first.tag === TAG.integer) {
    const isPkcs12 = second?.tag === TAG.sequence && contentOf(first)[0] === 3;
    return { refusal: isPkcs12 ? PKCS12 : PRIVATE_KEY };
  }
  return first.tag === TAG.sequence ? kindOfNested(first, second) : { refusal: NOT_KNOWN };
}

/** The structure is a SEQUENCE that begins with a SEQUENCE, `first`. */
function kindOfNested(first: Element, second: Element | undefined): DerKind {
  const [a, b, c, d] = firstElements(first);
  if (a?.tag === TAG.oid) {
    if (second?.tag === TAG.octetString) return { refusal: PRIVATE_KEY };
    return { refusal: second?.tag === TAG.bitString ? PUBLIC_KEY : NOT_KNOWN };
  }
  if (a?.tag === TAG.sequence) {
    const [deeper] = firstElements(a);
    return { refusal: deeper?.tag === TAG.oid ? BCFKS : deeper === undefined ? NOT_KNOWN : PKI_PATH };
  }
  if (a?.tag === TAG.integer) {
    // version or serial number; what comes fourth tells revocation lists (a time) and requests (attributes) from v1 certificates
    if (d?.tag === TAG.utcTime || d?.tag === TAG.generalizedTime) return { refusal: REVOCATION_LIST };
    if (d?.tag === 0xa0 && c?.tag === TAG.sequence && b?.tag === TAG.sequence) return { refusal: REQUEST };
  }
  return a?.tag === 0xa0 || a?.tag === TAG.integer ? "certificate" : { refusal: NOT_KNOWN };
}

/** At most four: a structure may have a hundred thousand. */
function firstElements(parent: Element): Element[] {
  const elements: Element[] = [];
  for (const element of elementsIn(parent)) if (elements.push(element) === 4) break;
  return elements;
}

/** Whether the octets begin as a SEQUENCE in binary; text that begins with "0" does not pass for one. */
export function looksLikeDer(bytes: Uint8Array): boolean {
  const [tag, length = 0] = bytes;
  return tag === TAG.sequence && (length === bytes.length - 2 || (length >= 0x80 && length <= 0x84));
}

/** The one element that these octets are. Throws Malformed saying how much is missing or too much. */
export function onlyElement(bytes: Uint8Array): Element {
  const { contentStart, length } = readElementHeader(bytes, 0);
  if (length !== undefined && contentStart + length > bytes.length) {
    throw new Malformed(`${bytes.length} octets are there, ${contentStart + length} should be`);
  }
  const element = readElement(bytes);
  if (element.end < bytes.length) throw new Malformed(`${bytes.length - element.end} octets follow its end`);
  return element;
}
