// Certificates out of PKCS#7: a SignedData of certificates only, or a signed message (RFC 5652 5.1, 10.2.2).
import { elementsIn, encodingOf, Malformed, oidOf, readElement, TAG, type Element } from "./der.ts";
import { UnreadableStore, type StoreEntries } from "./store-contents.ts";

export const SIGNED_DATA = "1.2.840.113549.1.7.2";
const CERTIFICATES = 0xa0;
const REVOCATION_LISTS = 0xa1;

/**
 * Adds the certificates of a ContentInfo with SignedData, in BER or DER, to `entries`; `name` stands before their numbers in
 * faults. No signature is verified: what is in here is found, not vouched for. Throws UnreadableStore.
 */
export function readP7b(contentInfo: Uint8Array, name: string, entries: StoreEntries): void {
  try {
    readSignedData(signedDataOf(readElement(contentInfo)), name, entries);
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause;
    throw new UnreadableStore(`this PKCS#7 file is damaged: ${cause.message}`, { cause });
  }
}

function signedDataOf(contentInfo: Element): Element {
  const [type, explicit] = elementsIn(contentInfo);
  if (type === undefined || oidOf(type) !== SIGNED_DATA) throw new Malformed("not SignedData");
  if (explicit?.tag !== 0xa0) throw new Malformed("SignedData is missing");
  const [signedData] = elementsIn(explicit);
  if (signedData?.tag !== TAG.sequence) throw new Malformed("SignedData is missing");
  return signedData;
}

function readSignedData(signedData: Element, name: string, entries: StoreEntries): void {
  const [version, digestAlgorithms, contentInfo, ...rest] = elementsIn(signedData);
  if (version?.tag !== TAG.integer || digestAlgorithms?.tag !== TAG.set || contentInfo?.tag !== TAG.sequence) {
    throw new Malformed("SignedData is malformed");
  }
  for (const part of rest) {
    if (part.tag === CERTIFICATES) addCertificates(part, name, entries);
    if (part.tag === REVOCATION_LISTS) entries.notes.push("revocation lists in the file are not used");
    if (part.tag === TAG.set && !elementsIn(part).next().done)
      entries.notes.push("signatures in the file were not verified");
  }
}

function addCertificates(certificates: Element, name: string, entries: StoreEntries): void {
  let number = 0;
  for (const certificate of elementsIn(certificates)) {
    number += 1;
    const entry = `${name}certificate ${number}`;
    if (certificate.tag === TAG.sequence) entries.addCertificate(entry, encodingOf(certificate));
    else entries.addFault(entry, "an attribute or extended certificate, not X.509");
  }
}
