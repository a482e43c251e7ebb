// Certificate: one X.509 certificate, read once: who it is for, what its key may do, how long it holds.

export type CertificatePublicKey =
  | { readonly algorithm: "rsa"; readonly bits: number; readonly exponent: bigint }
  | { readonly algorithm: "ec"; readonly curve: "P-256" | "P-384" | "P-521" }
  /** A key that we cannot encrypt to (Ed25519, RSASSA-PSS, brainpool, X25519, DSA …), named for people. */
  | { readonly algorithm: "unsupported"; readonly name: string };

/** A parsed certificate. Byte fields are DER as in the original; times are milliseconds since 1970. */
export type Certificate = {
  readonly der: Uint8Array;
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
  /** OIDs of critical extensions that nothing here understands. */
  readonly unknownCriticalExtensions: readonly string[];
  readonly publicKey: CertificatePublicKey;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  /** Digest of the signature algorithm for people and policy: "sha1", "md5", "sha256", …; "unknown" when not recognised. */
  readonly signatureDigest: string;
};

export type KeyUsage =
  | "digitalSignature"
  | "nonRepudiation"
  | "keyEncipherment"
  | "dataEncipherment"
  | "keyAgreement"
  | "keyCertSign"
  | "cRLSign";
