// The readers of the engines' bench: one of each kind of key, known to our engines, to the programs and to the libraries.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { pgpKey, smimeKey, type PgpKey, type SmimeKey } from "../../src/keys/recipient-key.ts";
import { decodeArmor } from "../../src/pgp/armor.ts";
import { readPgpCertificate } from "../../src/pgp/certificate.ts";
import { parseCertificate } from "../../src/smime/certificate.ts";
import { fixture, fixtureBytes } from "../../test/fixtures.ts";

export type SmimeReader = {
  readonly name: string;
  readonly key: SmimeKey;
  readonly file: string;
  readonly isRsa: boolean;
};
export type PgpReader = {
  readonly name: string;
  readonly key: PgpKey;
  readonly armored: string;
  readonly userId: string;
};

export function smimeReaders(): SmimeReader[] {
  const files: readonly [string, string][] = [
    ["RSA-2048", "alice"],
    ["RSA-3072", "alice-new"],
    ["P-256", "bob"],
  ];
  return files.map(([name, certificate]) => {
    const file = `smime/certs/${certificate}.pem`;
    const base64 = /-----BEGIN CERTIFICATE-----([^-]*)/.exec(fixtureBytes(file).toString("latin1"))?.[1] ?? "";
    const key = smimeKey(parseCertificate(Buffer.from(base64, "base64")));
    return { name, key, file: fixture(file), isRsa: name.startsWith("RSA") };
  });
}

/** Made by gpg in `home`, which then knows them. */
export async function pgpReaders(home: string): Promise<PgpReader[]> {
  const algorithms: readonly [name: string, primary: string, subkey: string][] = [
    ["RSA-2048", "rsa2048", "rsa2048"],
    ["RSA-3072", "rsa3072", "rsa3072"],
    ["P-256", "nistp256", "nistp256"],
    ["Curve25519", "ed25519", "cv25519"],
  ];
  const readers: PgpReader[] = [];
  for (const [name, primary, subkey] of algorithms) {
    const userId = `${primary}@example.com`;
    gpg(home, ["--passphrase", "", "--quick-generate-key", userId, primary, "sign", "never"]);
    const listing = gpg(home, ["--with-colons", "--list-keys", userId]).toString();
    const fingerprint = /^fpr:+([0-9A-F]+):/m.exec(listing)?.[1] ?? "";
    gpg(home, ["--passphrase", "", "--quick-add-key", fingerprint, subkey, "encr", "never"]);
    const armored = gpg(home, ["--armor", "--export", userId]).toString();
    const [block] = decodeArmor(armored).blocks;
    if (block === undefined) throw new Error("the key has no armor block");
    readers.push({ name, key: pgpKey(await readPgpCertificate(block.bytes, Date.now())), armored, userId });
  }
  return readers;
}

export function gpg(home: string, args: readonly string[]): Buffer {
  const common = ["--homedir", home, "--batch", "--quiet", "--no-tty", "--yes", "--trust-model", "always"];
  return execFileSync("gpg", [...common, ...args], { stdio: ["ignore", "pipe", "pipe"], maxBuffer: 2 ** 30 });
}

export const outFile = (folder: string) => join(folder, "out");
