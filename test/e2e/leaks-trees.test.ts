// A thousand random mails for both kinds of key: what openssl and gpg decrypt is octet by octet what was handed in.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { between, randomOf } from "../crash/random.ts";
import { fixture, fixtureBytes } from "../fixtures.ts";
import { gpgDecrypt } from "../interop/judges.ts";
import { handIn } from "../interop/raw-dialog.ts";
import { armorOf, cmsOf, entityInside, rawMail } from "../interop/raw-mail.ts";
import type { RecordedTransaction } from "../upstream.ts";
import { field, protection } from "./arrived.ts";
import { randomMail } from "./random-mail.ts";
import { stage } from "./stage.ts";

const MAILS = 1_000;
const SESSIONS = 8;
/** By certificate and by OpenPGP key: RSA and P-256, Curve25519 twice. */
const READERS = {
  smime: ["alice@example.com", "bob@example.com"],
  pgp: ["joe@example.org", "heidi.meyer@example.com"],
} as const;

type Tree = {
  readonly id: string;
  readonly to: readonly string[];
  readonly message: Buffer;
  readonly isHidden: boolean;
};

function treeOf(seed: number, number: number): Tree {
  const random = randomOf(seed, "tree", number);
  const to = [READERS.smime[between(random, 0, 1)]!, READERS.pgp[between(random, 0, 1)]!];
  const project = random() < 0.5 ? "KEEP" : "HIDE";
  const id = `tree.${number}`;
  return { id, to, message: randomMail(random, { id, to: to.join(", "), project }), isHidden: project === "HIDE" };
}

/** What openssl decrypts of each, as the owner of the certificate of this name; one shell for all. */
async function opensslDecryptAll(all: readonly Buffer[], name: string): Promise<Buffer[]> {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-trees-"));
  try {
    all.forEach((cms, index) => writeFileSync(join(folder, `${index}.der`), cms));
    const decrypt = "openssl cms -decrypt -binary -inform DER -inkey $1 -recip $2 -in $3/$n.der -out $3/$n.out";
    const loop = `n=0; while [ $n -lt $0 ]; do ${decrypt} || exit 1; n=$((n + 1)); done`;
    const files = [fixture(`smime/keys/${name}.key`), fixture(`smime/certs/${name}.pem`), folder];
    await promisify(execFile)("sh", ["-c", loop, String(all.length), ...files]);
    return all.map((_, index) => readFileSync(join(folder, `${index}.out`)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Whether this is what a reader has to find inside: the whole entity, or below a protected header the whole body. */
function isInside(tree: Tree, inside: Buffer): boolean {
  const original = rawMail(tree.message);
  if (!tree.isHidden) return inside.equals(entityInside(original));
  return rawMail(inside).body.equals(original.body);
}

test(`CONF-40: ${MAILS} random MIME trees are decrypted by openssl and gpg byte for byte`, async () => {
  const seed = Number(process.env["TREE_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`TREE_SEED=${seed}`);
  const { relay, upstream } = await stage(
    [
      "log: { level: info }",
      "encryption: { rules: [{ project: HIDE, subject: hide }] }",
      "smime: { keyStore: { file: people.pem } }\npgp: { keyStore: { file: people.asc } }",
    ].join("\n"),
    {
      "people.pem": Buffer.concat([fixtureBytes("smime/certs/alice.pem"), fixtureBytes("smime/certs/bob.pem")]),
      "people.asc": fixtureBytes("pgp/all.asc"),
    },
  );
  const trees = Array.from({ length: MAILS }, (_, number) => treeOf(seed, number));
  const shares = Array.from({ length: SESSIONS }, (_, share) =>
    trees.filter((_, number) => number % SESSIONS === share),
  );
  const mails = (share: readonly Tree[]) =>
    share.map(({ to, message }) => ({ message, rcptTo: to, mailParameters: "BODY=8BITMIME" }));
  await Promise.all(shares.map((share) => handIn(relay.port, mails(share))));
  await upstream.until(() => upstream.transactions.length >= 2 * MAILS, 120_000).catch(() => undefined);
  expect(upstream.transactions).toHaveLength(2 * MAILS);

  const byId = new Map(trees.map((tree) => [tree.id, tree]));
  const wrong: string[] = [];
  const judge = (some: readonly RecordedTransaction[], insides: readonly Buffer[]) => {
    for (const [index, { data, rcptTo }] of some.entries()) {
      const tree = byId.get(/^<(.*)@/.exec(field(data, "Message-ID"))?.[1] ?? "")!;
      if (!isInside(tree, insides[index]!)) wrong.push(`${tree.id} for ${rcptTo.join()}`);
    }
  };
  const of = (kind: string, address?: string) =>
    upstream.transactions.filter((one) => protection(one) === kind && (address ?? one.rcptTo[0]) === one.rcptTo[0]);
  await Promise.all(
    READERS.smime.map(async (address) => {
      const mine = of("smime", address);
      judge(
        mine,
        await opensslDecryptAll(
          mine.map(({ data }) => cmsOf(rawMail(data))),
          address.split("@")[0]!,
        ),
      );
    }),
  );
  const armored = of("pgp");
  judge(
    armored,
    gpgDecrypt(armored.map(({ data }) => armorOf(rawMail(data)))).map(({ content }) => content),
  );
  expect([of("smime").length, armored.length]).toEqual([MAILS, MAILS]);
  expect(wrong).toEqual([]);
  expect(upstream.violations).toEqual([]);
}, 240_000);
