// Files of keys in every form, whole and damaged: who is read, who is named as a fault, and that neighbours survive.
import fc from "fast-check";
import { generateKey } from "openpgp";
import { describe, expect, test } from "vitest";
import type { PgpCertificate } from "../../src/pgp/certificate.ts";
import { readKeybox } from "../../src/pgp/keybox.ts";
import { readKeyring } from "../../src/pgp/keyring.ts";
import { writePacket } from "../../src/pgp/packets.ts";
import { splitRing } from "../../src/pgp/ring.ts";
import { fixtureBytes } from "../fixtures.ts";
import { gnupgHome } from "./gnupg.ts";
import { NOW, ringOf } from "./fixture-keys.ts";

const BEA = "d7d141d92d7533612a163a34e46b7ea871e2ce89";
const whole = await ringOf(fixtureBytes("pgp/all.gpg"));
const fingerprints = whole.certificates.map(({ fingerprint }) => fingerprint);

const CUT_SHORT = expect.stringMatching(/^the file is cut short: /) as string;

/** All that a damaged neighbour must not change. */
const verdict = ({ fingerprint, addresses, encryption }: PgpCertificate) =>
  JSON.stringify([fingerprint, addresses, encryption]);

describe("the fixtures", () => {
  test.each([
    ["all.asc", "armored", 16],
    ["all-minimal.asc", "armored", 16],
    ["concat.asc", "armored", 16],
    ["concat-crlf.asc", "armored", 16],
    ["alice-two-keys.asc", "armored", 2],
    ["all.gpg", "binary", 16],
    ["pubring-legacy.gpg", "binary", 16],
    ["pubring.kbx", "keybox", 16],
    ["all-secret.asc", "armored", 16],
    ["alice-secret.asc", "armored", 2],
    ["vera-v6-public.asc", "armored", 1],
    ["nora-v4x25519-public.asc", "armored", 1],
    ["otto-v4aead-public.asc", "armored", 1],
    ["alice.gpg", "binary", 2],
    ["bare.gpg", "binary", 1],
  ])("%s is %s and has %d certificates, none at fault", async (file, format, count) => {
    const ring = await ringOf(fixtureBytes(`pgp/${file}`));
    expect([ring.format, ring.certificates.length, ring.faults]).toEqual([format, count, []]);
    if (count === 16) expect(ring.certificates.map(verdict)).toEqual(whole.certificates.map(verdict));
  });

  test("gpg lists the same primary fingerprints", () => {
    const home = gnupgHome(true);
    try {
      const lines = home.run(["--with-colons", "--list-keys"]).stdout.toString().split("\n");
      const listed = lines.filter((line, at) => line.startsWith("fpr:") && lines[at - 1]!.startsWith("pub:"));
      expect(listed.map((line) => line.split(":")[9]!.toLowerCase()).toSorted()).toEqual(fingerprints.toSorted());
    } finally {
      home.close();
    }
  });

  test("of pubring-deleted-and-x509.kbx the deleted key is gone and the four X.509 certificates are returned", async () => {
    const ring = await ringOf(fixtureBytes("pgp/pubring-deleted-and-x509.kbx"));
    expect(ring.certificates.map(({ fingerprint }) => fingerprint)).toEqual(
      fingerprints.filter((fingerprint) => fingerprint !== BEA),
    );
    expect(ring.x509.map((der) => der[0])).toEqual([0x30, 0x30, 0x30, 0x30]);
    expect(ring.faults).toEqual([]);
  });

  test("HARV-37: a file of secret keys is noted, its public halves are used", async () => {
    const ring = await ringOf(fixtureBytes("pgp/all-secret.asc"));
    expect(ring.secretKeys).toBe(16);
    expect(ring.notes).toEqual([expect.stringMatching(/^the file contains secret keys/)]);
    expect(ring.certificates.map(verdict)).toEqual(whole.certificates.map(verdict));
    expect(whole.notes).toEqual([]);
  });

  test("no certificate keeps a trust packet", () => {
    for (const { bytes } of whole.certificates) expect([...splitRing(bytes)].length).toBe(1);
  });
});

describe("what is no key store is named", () => {
  test.each([
    ["heidi.gpg", /empty/],
    ["ownertrust.txt", /no OpenPGP key store/],
    ["gnupghome/trustdb.gpg", /trust database/],
    ["gnupghome/tofu.db", /SQLite/],
    ["../pgp-messages/gpg-rsa-cv.asc", /OpenPGP message/],
    ["../smime/certs/alice.pem", /X\.509/],
  ])("%s", async (file, reason) => {
    const contents = await readKeyring(fixtureBytes(`pgp/${file}`), NOW);
    expect(contents).toEqual({ kind: "unreadable", reason: expect.stringMatching(reason) as string });
    expect(contents).toMatchObject({ reason: expect.stringMatching(/gpg --export --armor$/) as string });
  });

  test("armor without a sound BEGIN line", async () => {
    const contents = await readKeyring(Buffer.from("-----BEGIN PGP PUBLIC KEY BLOCK\n\nAAAA\n"), NOW);
    expect(contents).toMatchObject({ kind: "unreadable" });
  });

  test("more than 64 MiB", async () => {
    expect(await readKeyring(Buffer.alloc(64 * 1024 * 1024 + 1), NOW)).toMatchObject({ kind: "unreadable" });
  });

  test("random octets, also behind the beginnings of every form, are answered without an error", async () => {
    const heads = [
      "",
      "\u0099",
      "\u00c6",
      "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n",
      "\0\0\0 \u0001\u0001\0\u0002KBXf",
    ];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...heads), fc.uint8Array({ maxLength: 600 }), async (head, bytes) => {
        const contents = await readKeyring(Buffer.concat([Buffer.from(head, "latin1"), bytes]), NOW);
        if (contents.kind === "ring") expect(contents.certificates).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });
});

describe("text around and within armor", () => {
  const armor = fixtureBytes("pgp/concat.asc").toString("latin1");

  test("UTF-16 as PowerShell writes it is read", async () => {
    const ring = await ringOf(Buffer.from(`\ufeff${armor}`, "utf16le"));
    expect(ring.certificates.length).toBe(16);
  });

  test("a byte order mark before the first block is passed over", async () => {
    const text = fixtureBytes("pgp/all.asc");
    expect((await ringOf(Buffer.concat([Buffer.from("\ufeff"), text]))).certificates.length).toBe(16);
  });

  test("one block with a wrong checksum is named with its line, the other fifteen keys are read", async () => {
    let block = 0;
    const bad = armor.replace(/^=....$/gm, (sum) => (++block === 3 ? "=AAAA" : sum));
    const ring = await ringOf(Buffer.from(bad, "latin1"));
    expect(ring.certificates.map(verdict)).toEqual(whole.certificates.filter((_, at) => at !== 2).map(verdict));
    expect(ring.faults).toEqual([
      { entry: expect.stringMatching(/^block at line \d+$/) as string, reason: "the checksum of the armor is wrong" },
    ]);
  });

  test("a message among keys is named and the keys are read", async () => {
    const message = fixtureBytes("pgp-messages/gpg-rsa-cv.asc").toString("latin1");
    const ring = await ringOf(Buffer.from(message + armor, "latin1"));
    expect(ring.certificates.length).toBe(16);
    expect(ring.faults).toEqual([{ entry: "block at line 1", reason: "it is a message and not a key" }]);
  });

  test("a block that breaks off before another one loses its last key only", async () => {
    const text = fixtureBytes("pgp/all.asc").toString("latin1");
    const [alice = ""] = /^-----BEGIN[^]+?-----END.*$/m.exec(armor) ?? [];
    const ring = await ringOf(Buffer.from(`${text.slice(0, text.length - 400)}\n${alice}`, "latin1"));
    expect(ring.certificates.map(verdict)).toEqual(whole.certificates.slice(0, -1).map(verdict));
    expect(ring.faults.map(({ reason }) => reason)).toEqual(["the END line is missing", "the key is cut off"]);
  });
});

describe("a damaged binary ring", () => {
  const bytes = fixtureBytes("pgp/all.gpg");
  const parts = [...splitRing(bytes)];
  const keyAt = (octet: number) => parts.findIndex(({ start, end }) => octet >= start && octet < end);
  const without = (index: number) => whole.certificates.filter((_, at) => at !== index).map(verdict);

  test("whatever octets stand between two keys, both are read and the octets are named", async () => {
    const boundary = fc.integer({ min: 1, max: 15 }).map((index) => parts[index]!.start);
    await fc.assert(
      fc.asyncProperty(boundary, fc.uint8Array({ minLength: 1, maxLength: 200 }), async (at, junk) => {
        const ring = await ringOf(Buffer.concat([bytes.subarray(0, at), junk, bytes.subarray(at)]));
        expect(ring.certificates.map(verdict)).toEqual(whole.certificates.map(verdict));
      }),
      {
        numRuns: 40,
        examples: [
          [parts[4]!.start, Buffer.from("some notes\n")],
          [parts[1]!.start, Buffer.from([199, 1])],
        ],
      },
    );
  });

  test("whatever octet is changed, the other fifteen keys are as before", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: bytes.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        async (at, mask) => {
          const damaged = Buffer.from(bytes);
          damaged[at]! ^= mask;
          const ring = await readKeyring(damaged, NOW);
          // a length in the last key that leads beyond the end looks as if the rest were missing
          if (ring.kind === "unreadable") expect([keyAt(at), ring.reason]).toEqual([15, CUT_SHORT]);
          else {
            const have = new Set(ring.certificates.map(verdict));
            expect(without(keyAt(at)).filter((one) => !have.has(one))).toEqual([]);
          }
        },
      ),
      // a primary key's tag lost: its packets must not make the key before look damaged
      {
        numRuns: 60,
        examples: [
          [parts[4]!.start, 0xca],
          [parts[1]!.start, 0x20],
          [parts[14]!.start + 1, 0xf0],
          [parts[15]!.start + 1, 0xf0],
        ],
      },
    );
  });

  test("a key whose last packet swallows the next key does not hide it", async () => {
    const { start, end } = parts[15]!;
    const carol = parts[2]!;
    const swallowing = writePacket(2, Buffer.concat([Buffer.alloc(30), bytes.subarray(start, end)]));
    const ring = await ringOf(Buffer.concat([bytes.subarray(carol.start, carol.end), swallowing]));
    expect(ring.certificates.map(({ fingerprint }) => fingerprint)).toEqual([fingerprints[2], fingerprints[15]]);
  });

  test("a key with a hole, wherever it is, is not used: what is missing might be a revocation", async () => {
    const sue = parts[15]!;
    const alice = bytes.subarray(0, parts[0]!.end);
    for (let at = sue.start + 60; at < sue.end - 10; at += 3) {
      const ring = await ringOf(
        Buffer.concat([bytes.subarray(sue.start, at), bytes.subarray(at + 10, sue.end), alice]),
      );
      const usable = ring.certificates.filter(({ encryption }) => encryption.usable);
      expect(usable.map(({ fingerprint }) => fingerprint)).toEqual([fingerprints[0]]);
    }
  });
});

describe("a damaged keybox", () => {
  const bytes = fixtureBytes("pgp/pubring-deleted-and-x509.kbx");
  const sound = readKeybox(bytes);

  test("a blob with a wrong checksum is a fault and its neighbours are read", async () => {
    const damaged = Buffer.from(bytes);
    damaged[200]! ^= 1;
    const ring = await ringOf(damaged);
    expect([ring.certificates.length, ring.x509.length]).toEqual([14, 4]);
    expect(ring.faults).toEqual([{ entry: "blob 2 at octet 32", reason: "its checksum is wrong" }]);
  });

  test.each([0xffff_ffff, 0x0000_0800, 3, 0x100])("a blob with length %d does not hide the others", (length) => {
    const damaged = Buffer.from(bytes);
    damaged.writeUInt32BE(length, 32);
    const read = readKeybox(damaged);
    expect([read.keyblocks.length, read.x509.length]).toEqual([14, 4]);
    expect(read.faults.length).toBeGreaterThan(0);
  });

  test("whatever octet is changed, at most one blob is lost", () => {
    fc.assert(
      fc.property(fc.integer({ min: 32, max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const damaged = Buffer.from(bytes);
        damaged[at]! ^= mask;
        const read = readKeybox(damaged);
        const before = [...sound.keyblocks.map((blob) => blob.bytes), ...sound.x509];
        const after = new Set([...read.keyblocks.map((blob) => blob.bytes), ...read.x509].map(hex));
        expect(before.filter((one) => !after.has(hex(one))).length).toBeLessThanOrEqual(1);
      }),
      { numRuns: 300 },
    );
  });

  test("an ephemeral blob is passed over", () => {
    const damaged = Buffer.from(bytes);
    damaged[32 + 7]! |= 2;
    const read = readKeybox(damaged);
    expect([read.keyblocks.length, read.faults]).toEqual([14, []]);
  });
});

test("other work gets its turn while a large ring is read", async () => {
  const { publicKey } = await generateKey({
    type: "ecc",
    curve: "curve25519Legacy",
    userIDs: [{ email: "many@example.com" }],
    date: new Date(NOW - 1000),
    format: "binary",
  });
  let turns = 0;
  let isReading = true;
  const count = () => {
    if (!isReading) return;
    turns++;
    setImmediate(count);
  };
  setImmediate(count);
  const ring = await ringOf(Buffer.concat(Array.from({ length: 50 }, () => publicKey)));
  isReading = false;
  expect(ring.certificates.length).toBe(1);
  expect(turns).toBeGreaterThanOrEqual(50);
});

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
