// The mails of the ledger: for each number of a seed one mail, its recipients and what is to become of each of them.
import { canaryMail } from "../e2e/canary.ts";
import { fixtureBytes } from "../fixtures.ts";
import { between, randomOf, weighted, type Random } from "./random.ts";

/** How a recipient's copy ends: encrypted in one of two ways, or as a notice to the sender that it was refused. */
export type Ending = "smime" | "pgp" | "dsn";
/** `key` is the fixture that reads it. */
export type Person = { readonly address: string; readonly ending: Ending; readonly key: string };

const smime = (key: string): Person => ({ address: `${key}@example.com`, ending: "smime", key });
const ALICE = smime("alice");
const QUINN = smime("quinn");
/** Only ever in RCPT. */
const KIM = smime("kim");
const JOE: Person = { address: "joe@example.org", ending: "pgp", key: "joe" };
/** Has a certificate, and the upstream always refuses him. */
const BOB: Person = { ...smime("bob"), ending: "dsn" };
/** Has no certificate before the end of a run: her mail is held until then. */
export const MIA = smime("mia");

const CASTS: readonly (readonly [number, readonly Person[]])[] = [
  [52, [ALICE]],
  [10, [JOE]],
  [5, [KIM]],
  [8, [ALICE, QUINN]],
  [8, [ALICE, JOE]],
  [5, [QUINN, KIM]],
  [4, [ALICE, QUINN, JOE, KIM]],
  [2, [MIA]],
  [2, [MIA, ALICE]],
  [2, [ALICE, BOB]],
  [2, [BOB, JOE, KIM]],
];

/** Sealed bodies of more than 256 KiB are files beside the database. */
export const LARGE_BYTES = 280_000;
const SIZES: readonly (readonly [number, (random: Random) => number])[] = [
  [76, () => 0],
  [20, (random) => between(random, 2_000, 48_000)],
  [4, (random) => between(random, LARGE_BYTES, 500_000)],
];

export type LedgerMail = {
  readonly number: number;
  readonly id: string;
  readonly reversePath: string;
  readonly recipients: readonly Person[];
  /** Octets of text beyond the canaries. */
  readonly sizeBytes: number;
  /** This recipient is first told to come again (450), the others of the mail are not. */
  readonly deferred: Person | undefined;
};

export function ledgerMail(seed: number, number: number): LedgerMail {
  const random = randomOf(seed, "mail", number);
  const recipients = weighted(random, CASTS);
  const sizeBytes = weighted(random, SIZES)(random);
  const deferred = random() < 0.04 ? recipients[between(random, 0, recipients.length - 1)] : undefined;
  return { number, id: `m${number}`, reversePath: `jira+m${number}@example.com`, recipients, sizeBytes, deferred };
}

/** The number of the mail that this reverse-path, or a DSN to it, belongs to. */
export function numberOfPath(path: string): number | undefined {
  const digits = /^jira\+m(\d+)@example\.com$/.exec(path)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** The number of the mail that has this Message-ID; it is in a header section, that of the ciphertext too. */
export function numberOfMessage(header: string): number | undefined {
  const digits = /^Message-ID: <JIRA\.10042\.m(\d+)@jira\.example\.com>\r$/im.exec(header)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** As Jira hands it over. The last line, behind the closing boundary, names the mail: it is encrypted with the rest. */
export function contentOf({ id, recipients, sizeBytes }: LedgerMail): Buffer {
  const visible = recipients.filter((one) => one !== KIM).map(({ address }) => address);
  const to = visible.length === 0 ? "undisclosed-recipients:;" : visible.join(", ");
  return Buffer.concat([canaryMail(id, to, sizeBytes), Buffer.from(`this was mail ${id}\r\n`)]);
}

export const KEY_STORES = "smime: { keyStore: { file: people.pem } }\npgp: { keyStore: { file: joe.gpg } }";

export function keyStoreFiles(): Record<string, Buffer> {
  const certificates = [ALICE, QUINN, KIM, BOB].map(({ key }) => fixtureBytes(`smime/certs/${key}.pem`));
  return { "people.pem": Buffer.concat(certificates), "joe.gpg": fixtureBytes("pgp/joe.gpg") };
}
