// Validity moments: when the keys and signatures of an OpenPGP certificate begin and end, each a time at which a verdict may change.
import type { Key, SignaturePacket } from "openpgp";

/**
 * Milliseconds since 1970, in no order; Infinity stands for what never ends. Between two of them the certificate is judged alike
 * (RFC 9580 5.2.3.11, 5.2.3.13, 5.2.3.18, 5.5.2).
 */
export function validityMoments(key: Key & { readonly directSignatures: readonly SignaturePacket[] }): number[] {
  const { users, subkeys } = key;
  const certifications = users.flatMap(({ selfCertifications }) => selfCertifications);
  const revocations = [key, ...users, ...subkeys].flatMap(({ revocationSignatures }) => revocationSignatures);
  return [
    { keyPacket: key.keyPacket, signatures: [...key.directSignatures, ...certifications, ...revocations] },
    ...subkeys.map(({ keyPacket, bindingSignatures }) => ({ keyPacket, signatures: bindingSignatures })),
  ].flatMap(({ keyPacket, signatures }) => [
    keyPacket.created.getTime(),
    ...signatures.flatMap((signature) => [
      signature.created?.getTime() ?? Infinity,
      Number(signature.getExpirationTime()),
      keyPacket.created.getTime() + (signature.keyExpirationTime ?? Infinity) * 1000,
    ]),
  ]);
}
