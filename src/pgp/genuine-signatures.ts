// Genuine signatures: takes out of a key what it did not sign itself, one signature at a time.
import { setImmediate } from "node:timers/promises";
import type { Key, SignaturePacket } from "openpgp";
import { asError } from "../as-error.ts";
import { ALGORITHM, isEcdsaSignature, readPublicKey } from "./public-key.ts";

/** What openpgp.js has and its types leave out: also signatures of type 0x1f, and `null` for "at no time in particular". */
export type WholeKey = Key & {
  directSignatures: SignaturePacket[];
  getPrimarySelfSignature(date: Date): Promise<SignaturePacket>;
};
type VerifiableSignature = {
  /** The first two octets of the digest. */
  readonly signedHashValue: Uint8Array;
  readonly params: { readonly r?: Uint8Array; readonly s?: Uint8Array };
  toHash(type: number | null, over: object): Uint8Array;
  verify(key: Key["keyPacket"], type: number | null, over: object, date: null): Promise<void>;
};

/**
 * Takes out of `key` its revocations, direct signatures, certifications and bindings that its primary key did not make. `isKept`
 * is told what openpgp.js says against a signature, at whatever time it is judged, and keeps it in spite of that. Gives way to
 * other work before each signature, and throws at the next one after `signal`.
 */
export async function dropForged(
  key: WholeKey,
  isKept: (fault: Error) => boolean = () => false,
  signal?: AbortSignal,
): Promise<void> {
  const primary = key.keyPacket;
  const genuine = async (signatures: readonly SignaturePacket[], over: object): Promise<SignaturePacket[]> => {
    const kept: SignaturePacket[] = [];
    for (const signature of signatures) {
      await setImmediate();
      signal?.throwIfAborted();
      const fault = await faultOf(signature, primary, over);
      if (fault === undefined || isKept(fault)) kept.push(signature);
    }
    return kept;
  };
  key.revocationSignatures = await genuine(key.revocationSignatures, { key: primary });
  key.directSignatures = await genuine(key.directSignatures, { key: primary });
  for (const user of key.users) {
    const over = { key: primary, userID: user.userID };
    user.revocationSignatures = await genuine(user.revocationSignatures, over);
    user.selfCertifications = await genuine(user.selfCertifications, over);
  }
  for (const subkey of key.subkeys) {
    const over = { key: primary, bind: subkey.keyPacket };
    subkey.revocationSignatures = await genuine(subkey.revocationSignatures, over);
    subkey.bindingSignatures = await genuine(subkey.bindingSignatures, over);
  }
}

function faultOf(signature: SignaturePacket, primary: Key["keyPacket"], over: object): Promise<Error | undefined> {
  return verifySelfSignature(signature, primary, over).then(() => undefined, asError);
}

/**
 * Rejects when the signature is not one of `primary` over this. openpgp.js gives ECDSA signatures over a digest that begins with a
 * zero octet a second chance, as programs of 2018 made them, in JavaScript and with a table that takes half a second to make:
 * they are verified by OpenSSL first.
 */
async function verifySelfSignature(packet: SignaturePacket, primary: Key["keyPacket"], over: object): Promise<void> {
  const signature = packet as unknown as VerifiableSignature;
  const key = readPublicKey(primary.write());
  if (key?.algorithm === ALGORITHM.ecdsa && signature.signedHashValue[0] === 0) {
    const content = signature.toHash(packet.signatureType, over);
    if (!isEcdsaSignature(key, packet.hashAlgorithm ?? 0, signature.params, content))
      throw new Error("the signature does not verify");
  }
  await signature.verify(primary, packet.signatureType, over, null);
}
