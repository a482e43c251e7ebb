// Keys and leases for tests, made from fixtures.
import { readFileSync } from "node:fs";
import { pgpKey, smimeKey, type PgpKey, type SmimeKey } from "../src/keys/recipient-key.ts";
import { readPgpCertificate } from "../src/pgp/certificate.ts";
import { parseCertificate } from "../src/smime/certificate.ts";
import { fixture } from "./fixtures.ts";

/** A time at which the fixtures' keys are valid: shortly after they were made. */
export const FIXTURE_TIME = Date.now();

export function certificateOf(name: string): SmimeKey {
  return smimeKey(parseCertificate(readFileSync(fixture(`smime/certs/${name}.der`))));
}

export async function pgpKeyOf(name: string): Promise<PgpKey> {
  return pgpKey(await readPgpCertificate(readFileSync(fixture(`pgp/${name}.gpg`)), FIXTURE_TIME));
}
