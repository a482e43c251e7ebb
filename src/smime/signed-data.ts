// Verifies the signature of a mail (RFC 5652 5, RFC 8551 2): who signed, and what the signer says of keys. Nothing of trust.
//
// Good means: one signer, whose certificate came along, signed exactly this content with a strong algorithm. Whose certificate
// it is, who vouches for it and whether its key may sign is for others to judge. Anything unclear is refused.
import { createHash } from "node:crypto";
import { parseCertificate, type Certificate } from "./certificate.ts";
import { issuerKey } from "./certification-path.ts";
import { contentOf, DerSequence, Malformed, readDerElement, TAG, type Element } from "./der.ts";
import { isSignature, keyFault, readDigest, readSignatureScheme } from "./signature-scheme.ts";
import {
  issuerAndSerialNumber,
  readSignedAttributes,
  subjectKeyIdentifier,
  type CertificateIdentifier,
  type SignedAttributes,
} from "./signed-attributes.ts";
import { readSignedShape, type SignedShape } from "./signed-shape.ts";

export type SignedVerdict =
  | {
      readonly kind: "good";
      readonly signer: Certificate;
      /** All that came along and could be read, the signer's own included; nobody vouches for them. */
      readonly certificates: readonly Certificate[];
      /** signingTime in ms since 1970, never later than `now`; undefined when the signer does not say. */
      readonly signedAt: number | undefined;
      /** OIDs, in the order of preference. */
      readonly capabilities: readonly string[];
      /** The certificate that the signer wants mail encrypted to; undefined when not said, or when it did not come along. */
      readonly preferred: Certificate | undefined;
    }
  | { readonly kind: "refused"; readonly reason: string };

const DATA = "1.2.840.113549.1.7.1";

/**
 * Verifies a ContentInfo with SignedData, in BER or DER. `detached` is the content as it stands in the mail, for
 * multipart/signed the very octets of the first part; undefined when the content is inside. `now` in ms. Never throws:
 * `reason` is for people.
 */
export function verifySignedData(
  contentInfo: Uint8Array,
  detached: Uint8Array | undefined,
  now: number,
): SignedVerdict {
  try {
    return verdictOf(readSignedShape(contentInfo), detached, now);
  } catch (cause) {
    if (cause instanceof Malformed) return refused(cause.message);
    throw cause;
  }
}

function verdictOf(shape: SignedShape, detached: Uint8Array | undefined, now: number): SignedVerdict {
  const [signerInfo, second] = shape.signerInfos;
  if (signerInfo === undefined) return refused("no signer");
  if (second !== undefined) return refused("more than one signer");
  // RFC 8551 2.4.1: the content of a mail is data, whatever else may be signed with the same key
  if (shape.contentType !== DATA) return refused(`content type ${shape.contentType} instead of data`);
  const content = detached ?? shape.content;
  if (content === undefined) return refused("content is missing");
  if (detached !== undefined && shape.content !== undefined) return refused("content is there twice");

  const info = readSignerInfo(signerInfo);
  const { oid, digest } = readDigest(info.digestAlgorithm);
  if (!shape.digestAlgorithms.includes(oid)) return refused(`digest ${digest} is not announced`);
  const scheme = readSignatureScheme(info.signatureAlgorithm, digest);
  const attributes = info.attributes && readSignedAttributes(info.attributes);
  const certificates = readCertificates(shape.certificates);
  const [signer, other] = certificates.filter(info.isSigner);
  if (signer === undefined) return refused("signer certificate is missing");
  if (other !== undefined) return refused("more than one certificate answers to the name of the signer's");
  if (attributes?.signingCertificates.some((isNamed) => !isNamed(signer)))
    return refused("attribute signingCertificate names another certificate");

  const key = issuerKey(signer);
  if (key === undefined) return refused("key of the signer is not readable");
  const unfit = keyFault(scheme, key);
  if (unfit !== undefined) return refused(unfit);
  const signed = attributes === undefined ? bareContent(content) : attributesOver(content, attributes, digest);
  if (!isSignature(scheme, signed, key, info.signature)) return refused("signature does not verify");
  return {
    kind: "good",
    signer,
    certificates,
    signedAt: attributes?.signingTime === undefined ? undefined : Math.min(attributes.signingTime, now),
    capabilities: attributes?.capabilities ?? [],
    preferred: preferredOf(certificates, attributes?.preferences ?? []),
  };
}

/** SignerInfo (RFC 5652 5.3). Unsigned attributes are not looked at: anybody can add them. */
function readSignerInfo(signerInfo: Element) {
  const sequence = new DerSequence(readDerElement(signerInfo.bytes, signerInfo.start, signerInfo.end), "SignerInfo");
  sequence.take(TAG.integer); // version
  const identifier = sequence.takeAny();
  const digestAlgorithm = sequence.take(TAG.sequence);
  const attributes = sequence.takeIf(0xa0);
  const signatureAlgorithm = sequence.take(TAG.sequence);
  const signature = contentOf(sequence.take(TAG.octetString));
  sequence.takeIf(0xa1);
  sequence.close();
  const isSigner =
    identifier.tag === 0x80 ? subjectKeyIdentifier(contentOf(identifier)) : issuerAndSerialNumber(identifier);
  return { isSigner, digestAlgorithm, attributes, signatureAlgorithm, signature };
}

/** Those that can be read, each once. */
function readCertificates(ders: readonly Uint8Array[]): Certificate[] {
  const certificates = new Map<string, Certificate>();
  for (const der of ders) {
    try {
      const certificate = parseCertificate(der);
      certificates.set(certificate.fingerprint, certificate);
    } catch (cause) {
      // one bad certificate never hides its neighbours
      if (!(cause instanceof Malformed)) throw cause;
    }
  }
  return [...certificates.values()];
}

/** What a signature without attributes is over. */
function bareContent(content: Uint8Array): Uint8Array {
  // a SET: else the attributes of a genuine message could be passed off as a content that was signed
  if (content[0] === TAG.set) throw new Malformed("content looks like signed attributes");
  return content;
}

function attributesOver(content: Uint8Array, attributes: SignedAttributes, digest: string): Uint8Array {
  if (attributes.contentType !== DATA) throw new Malformed("attribute contentType is not that of the content");
  if (Buffer.compare(createHash(digest).update(content).digest(), attributes.messageDigest) !== 0)
    throw new Malformed("content is not what was signed");
  return attributes.signed;
}

/** The certificate that all preferences name. Throws Malformed when they name different ones. */
function preferredOf(
  certificates: readonly Certificate[],
  preferences: readonly CertificateIdentifier[],
): Certificate | undefined {
  const [preferred, other] = preferences.map((isNamed) => {
    const [named, second] = certificates.filter(isNamed);
    return second === undefined ? named : undefined;
  });
  if (preferences.length > 1 && preferred !== other) throw new Malformed("two different encryption key preferences");
  return preferred;
}

function refused(reason: string): SignedVerdict {
  return { kind: "refused", reason };
}
