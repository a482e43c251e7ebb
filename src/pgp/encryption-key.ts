// PgpEncryptionKey: the one key of an OpenPGP certificate that mail is encrypted to.

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
