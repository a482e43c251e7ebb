// The certificates of the OpenPGP fixtures by a short name, and the time at which the tests judge them.
import { readPrivateKeys, type PrivateKey } from "openpgp";
import { decodeArmor } from "../../src/pgp/armor.ts";
import type { PgpCertificate, PgpEncryptionKey } from "../../src/pgp/certificate.ts";
import { readKeyring } from "../../src/pgp/keyring.ts";
import { fixtureBytes } from "../fixtures.ts";

/** 2026-12-01: the fixtures were made in the week before, bob's short-lived subkey has ended. */
export const NOW = Date.UTC(2026, 11, 1);

export async function ringOf(bytes: Uint8Array, now: number = NOW) {
  const contents = await readKeyring(bytes, now);
  if (contents.kind !== "ring") throw new Error(contents.reason);
  return contents;
}

/** By first word of the User ID in lower case: alice, olaf, bob, … and vera, nora, otto. */
export async function fixtureCertificates(): Promise<ReadonlyMap<string, PgpCertificate>> {
  const files = ["all.asc", "vera-v6-public.asc", "nora-v4x25519-public.asc", "otto-v4aead-public.asc"];
  const rings = await Promise.all(files.map((file) => ringOf(fixtureBytes(`pgp/${file}`))));
  return new Map(
    rings
      .flatMap((ring) => ring.certificates)
      .map((certificate) => [(certificate.userIds[0] ?? "").split(/[ @]/)[0]!.toLowerCase(), certificate]),
  );
}

export function encryptionKeyOf(certificate: PgpCertificate | undefined): PgpEncryptionKey {
  if (certificate?.encryption.usable !== true) throw new Error("the certificate has no usable encryption key");
  return certificate.encryption.key;
}

/** All secret keys of the fixtures, for openpgp.js. */
export async function secretKeys(): Promise<PrivateKey[]> {
  const files = ["all-secret.asc", "vera-v6-secret.asc", "nora-v4x25519-secret.asc", "otto-v4aead-secret.asc"];
  const blocks = files.flatMap((file) => decodeArmor(fixtureBytes(`pgp/${file}`).toString("latin1")).blocks);
  return (await Promise.all(blocks.map(({ bytes }) => readPrivateKeys({ binaryKeys: bytes })))).flat();
}
