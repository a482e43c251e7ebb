// Key-store readers: the bytes of a store file to keys of one kind, through the S/MIME and OpenPGP libraries.
import { asError } from "../as-error.ts";
import { pgpKey, smimeKey, type PgpKey, type SmimeKey } from "../keys/recipient-key.ts";
import { readKeyring, type KeyringFault } from "../pgp/keyring.ts";
import { parseCertificate } from "../smime/certificate.ts";
import { readLargeCertificateStore } from "../smime/certificate-store.ts";
import type { StoreFault, StoreReader } from "./key-store-file.ts";

/** Of the CA certificates in a store so many serve to build certification paths. */
const MAX_COMPANIONS = 1_000;

/** Certificates out of PKCS#7, PEM, BKS, JKS and the X.509 blobs of a keybox. */
export function certificateReader(password: string | undefined): StoreReader<SmimeKey> {
  return async (bytes, now) => {
    if (isKeybox(bytes)) return keyboxCertificates(bytes, now);
    const contents = await readLargeCertificateStore(bytes, password);
    if (contents.kind === "unreadable") return contents;
    const { format, certificates, faults, notes } = contents;
    const companions = certificates.filter(({ isCa }) => isCa).slice(0, MAX_COMPANIONS);
    const keys = certificates.map((one) => smimeKey(one, { companions }));
    return { kind: "keys", format, keys, faults, notes };
  };
}

/** OpenPGP keys out of armored and binary rings and keyboxes. */
export const keyringReader: StoreReader<PgpKey> = async (bytes, now) => {
  const contents = await readKeyring(bytes, now);
  if (contents.kind === "unreadable") return contents;
  const { format, certificates, faults, notes } = contents;
  return { kind: "keys", format, keys: certificates.map(pgpKey), faults: faults.map(storeFault), notes };
};

function storeFault({ entry, reason, isSettled, claimedAddresses }: KeyringFault): StoreFault {
  return { entry, reason, ...(claimedAddresses === undefined || isSettled === true ? {} : { claimedAddresses }) };
}

const isKeybox = (bytes: Buffer) => bytes.toString("latin1", 8, 12) === "KBXf";

async function keyboxCertificates(bytes: Buffer, now: number): ReturnType<StoreReader<SmimeKey>> {
  const contents = await readKeyring(bytes, now);
  if (contents.kind === "unreadable") return contents;
  const keys: SmimeKey[] = [];
  const faults = [];
  for (const [index, der] of contents.x509.entries()) {
    try {
      keys.push(smimeKey(parseCertificate(der)));
    } catch (cause) {
      faults.push({
        entry: `certificate ${index + 1}`,
        reason: asError(cause).message,
      });
    }
  }
  return { kind: "keys", format: contents.format, keys, faults, notes: contents.notes };
}
