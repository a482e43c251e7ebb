// The four kinds of key of the matrix and who reads with them: fixtures' people, their key stores, foreign ciphertext for them.
import { execFileSync } from "node:child_process";
import { fixture, fixtureBytes } from "../fixtures.ts";
import { gnupgHome } from "../pgp/gnupg.ts";

/** `key` is the fixture's name of the certificate, or the ID of the OpenPGP encryption subkey. */
export type Reader = { readonly mailbox: string; readonly key: string };

export type KeyKind = {
  readonly name: string;
  readonly protocol: "smime" | "pgp";
  readonly one: Reader;
  /** Visible beside `one`, in the same ciphertext. */
  readonly second: Reader;
  /** Only ever in RCPT. */
  readonly hidden: Reader;
  /** Visible, but of a kind that may not share a ciphertext with `one`. */
  readonly apart: Reader | undefined;
  /** With a mailbox that needs SMTPUTF8. */
  readonly international: Reader;
};

const owner = (key: string): Reader => ({ mailbox: `${key}@example.com`, key });
const JOERG = "jörg@bücher.example";
const PGP = { apart: undefined, international: { mailbox: JOERG, key: "B75988E12BED64BF" } };
const HEIDI: Reader = { mailbox: "heidi.meyer@example.com", key: "A4D8525644F64788" };

export const KEY_KINDS: readonly KeyKind[] = [
  {
    ...{ name: "S/MIME RSA", protocol: "smime", one: owner("alice"), second: owner("quinn"), hidden: owner("kim") },
    ...{ apart: owner("bob"), international: { mailbox: JOERG, key: "ivan" } },
  },
  {
    ...{ name: "S/MIME P-256", protocol: "smime", one: owner("bob"), second: owner("bob384"), hidden: owner("bob521") },
    ...{ apart: owner("alice"), international: { mailbox: JOERG, key: "ivan" } },
  },
  {
    ...{ name: "OpenPGP RSA", protocol: "pgp", ...PGP, hidden: HEIDI },
    one: { mailbox: "alice@example.com", key: "9D543AEB36079FD1" },
    second: { mailbox: "bob@example.com", key: "255F09B67B076EB4" },
  },
  {
    ...{ name: "OpenPGP Curve25519", protocol: "pgp", ...PGP, hidden: HEIDI },
    one: { mailbox: "alice@example.com", key: "2F50A34D0942EE83" },
    second: { mailbox: "joe@example.org", key: "5CCF60574556759F" },
  },
];

/** The key store with the keys of these readers and no others. */
export function keyStore(protocol: "smime" | "pgp", readers: readonly Reader[]): Buffer {
  if (protocol === "smime") return Buffer.concat(readers.map(({ key }) => fixtureBytes(`smime/certs/${key}.pem`)));
  return inGnupgHome((gpg) => Buffer.concat(readers.map(({ key }) => gpg(["--armor", "--export", key]))));
}

export function readersOf({ one, second, hidden, apart, international }: KeyKind): Reader[] {
  return [one, second, hidden, international, ...(apart === undefined ? [] : [apart])];
}

/** The Content fields and body of a message that somebody else has encrypted to this reader, with openssl or gpg. */
export function foreignCiphertext(protocol: "smime" | "pgp", { key }: Reader, entity: Buffer): [string, Buffer] {
  if (protocol === "smime") {
    const certificate = fixture(`smime/certs/${key}.pem`);
    const encrypt = ["cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", "-recip", certificate];
    const cms = execFileSync("openssl", encrypt, { input: entity });
    const fields =
      "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\n" +
      "Content-Transfer-Encoding: base64\r\n";
    return [fields, Buffer.from(cms.toString("base64").replace(/.{1,64}/g, "$&\r\n"))];
  }
  const encrypt = ["--armor", "--trust-model", "always", "--recipient", key, "--encrypt"];
  const armor = inGnupgHome((gpg) => gpg(encrypt, entity))
    .toString()
    .replace(/\r?\n/g, "\r\n");
  const fields = 'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary="foreign"\r\n';
  const body =
    "--foreign\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n" +
    `--foreign\r\nContent-Type: application/octet-stream\r\n\r\n${armor}\r\n--foreign--\r\n`;
  return [fields, Buffer.from(body)];
}

function inGnupgHome<T>(work: (gpg: (args: readonly string[], input?: Buffer) => Buffer) => T): T {
  const home = gnupgHome(true);
  try {
    return work((args, input) => {
      const { status, stdout, stderr } = home.run(args, input);
      if (status !== 0) throw new Error(`gpg exits with ${status}: ${stderr}`);
      return stdout;
    });
  } finally {
    home.close();
  }
}
