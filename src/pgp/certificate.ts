// PgpCertificate: one OpenPGP certificate, read once: verified User IDs, the encryption subkey, how long it holds.

/** The subkey (or primary key) that mail is encrypted to. */
export type PgpEncryptionKey = {
  /** Lower-case hex, 40 digits (v4) or 64 (v6). */
  readonly fingerprint: string;
  /** Lower-case hex, 16 digits. */
  readonly keyId: string;
  readonly version: 4 | 6;
  /** For people: `rsa3072`, `cv25519`, `x25519`, `P-256`, `brainpoolP256r1`, `elgamal2048`. */
  readonly algorithm: string;
  /** Body octets of the public (sub)key packet: what a PKESK is made for. */
  readonly packet: Uint8Array;
};

/** Why a certificate has no key that mail could be encrypted to, as far as OpenPGP itself says it. */
export type PgpUnusable =
  "revoked" | "expired" | "not-yet-valid" | "weak-key" | "no-encryption-subkey" | "unsupported-algorithm";

/** A parsed certificate; times are milliseconds since 1970 or undefined for "never". Validity was judged at `judgedAt`. */
export type PgpCertificate = {
  /** The transferable public key, binary packets, without trust packets and without secret material. */
  readonly bytes: Uint8Array;
  /** Of the primary key, lower-case hex. */
  readonly fingerprint: string;
  readonly version: 4 | 6;
  readonly created: number;
  readonly expires: number | undefined;
  /** Full User IDs with a valid, unrevoked self-signature. */
  readonly userIds: readonly string[];
  /** Their addr-specs: what stands in the last `<…>`, or the whole User ID when it is a bare address. */
  readonly addresses: readonly string[];
  readonly judgedAt: number;
  readonly encryption:
    | { readonly usable: true; readonly key: PgpEncryptionKey; readonly expires: number | undefined }
    | { readonly usable: false; readonly reason: PgpUnusable; readonly detail: string };
  /** Features subpacket advertises SEIPDv2 (RFC 9580 5.2.3.32). */
  readonly readsSeipd2: boolean;
};
