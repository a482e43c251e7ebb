// Hand-signed: SignedData put together piece by piece with a genuine signature, for structures that no program would write.
import { createHash, createPrivateKey, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseCertificate } from "../../src/smime/certificate.ts";
import { der, NULL, octetString, oid, sequence, setOf, smallInteger } from "../../src/smime/der-writing.ts";
import { pemBlocks } from "../../src/smime/pem.ts";
import type { Signer } from "./signed-mail.ts";

export const OID = {
  data: "1.2.840.113549.1.7.1",
  signedData: "1.2.840.113549.1.7.2",
  contentType: "1.2.840.113549.1.9.3",
  messageDigest: "1.2.840.113549.1.9.4",
  signingTime: "1.2.840.113549.1.9.5",
  sha256: "2.16.840.1.101.3.4.2.1",
  sha512: "2.16.840.1.101.3.4.2.3",
  rsaSha256: "1.2.840.113549.1.1.11",
  rsaSha512: "1.2.840.113549.1.1.13",
  rsa: "1.2.840.113549.1.1.1",
} as const;

export const algorithm = (name: string) => sequence(oid(name), NULL);
export const attribute = (name: string, ...values: Uint8Array[]) => sequence(oid(name), setOf(...values));
export const contentTypeIs = (name: string) => attribute(OID.contentType, oid(name));
export const digestOf = (content: Uint8Array) =>
  attribute(OID.messageDigest, octetString(createHash("sha256").update(content).digest()));
export const timeIs = (utc: string) => attribute(OID.signingTime, der(0x17, Buffer.from(utc)));

export function certificateOf(by: Signer): Buffer {
  return [...pemBlocks(readFileSync(by.certificate, "latin1"))][0]!.der!;
}

/** Whatever is left out is as it should be. */
export type HandOrder = {
  readonly content: Uint8Array;
  readonly isOpaque?: boolean;
  /** Undefined: the usual two; "none": no signed attributes. */
  readonly attributes?: readonly Uint8Array[] | "none";
  /** What is signed instead of the attributes. */
  readonly over?: Uint8Array;
  readonly eContentType?: string;
  readonly announced?: readonly string[];
  readonly digest?: string;
  readonly signatureAlgorithm?: Uint8Array;
  readonly signatureDigest?: string;
  readonly certificates?: readonly Uint8Array[];
  /** SignerIdentifier. */
  readonly identifier?: Uint8Array;
  readonly unsigned?: readonly Uint8Array[];
  readonly signers?: number;
};

/** A SignedData with an RSA signature. */
export function handSigned(by: Signer, order: HandOrder): Buffer {
  const { content, eContentType = OID.data, digest = OID.sha256, signers = 1 } = order;
  const attributes = order.attributes ?? [contentTypeIs(OID.data), digestOf(content)];
  const signed = attributes === "none" ? content : setOf(...attributes);
  const certificate = parseCertificate(certificateOf(by));
  const signature = sign(
    order.signatureDigest ?? "sha256",
    order.over ?? signed,
    createPrivateKey(readFileSync(by.key)),
  );
  const inAttributes = Buffer.from(signed);
  inAttributes[0] = 0xa0;
  const signerInfo = sequence(
    smallInteger(1),
    order.identifier ?? sequence(certificate.issuerDer, der(0x02, certificate.serial)),
    algorithm(digest),
    ...(attributes === "none" ? [] : [inAttributes]),
    order.signatureAlgorithm ?? algorithm(OID.rsa),
    octetString(signature),
    ...(order.unsigned === undefined ? [] : [der(0xa1, ...order.unsigned)]),
  );
  return sequence(
    oid(OID.signedData),
    der(
      0xa0,
      sequence(
        smallInteger(1),
        setOf(...(order.announced ?? [digest]).map(algorithm)),
        sequence(oid(eContentType), ...(order.isOpaque === true ? [der(0xa0, octetString(content))] : [])),
        der(0xa0, ...(order.certificates ?? [certificateOf(by)])),
        der(0x31, ...Array.from({ length: signers }, () => signerInfo)),
      ),
    ),
  );
}
