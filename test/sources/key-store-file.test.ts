import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { generateKey, revokeKey } from "openpgp";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RecipientKey } from "../../src/keys/recipient-key.ts";
import { mailbox } from "../../src/mail/address.ts";
import { readPacket, writePacket } from "../../src/pgp/packets.ts";
import { keyStoreFile, type StoreReader } from "../../src/sources/key-store-file.ts";
import { certificateReader, keyringReader } from "../../src/sources/key-store-readers.ts";
import { readOfferedKeys } from "../../src/sources/offered-keys.ts";
import { der, oid, smallInteger } from "../../src/smime/der-writing.ts";
import { fixture, fixtureBytes } from "../fixtures.ts";
import { FIXTURE_TIME } from "../keys-of.ts";

const never = new AbortController().signal;
let folder = "";
let told: string[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sealpost-store-"));
  told = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function store<K extends RecipientKey>(file: string, kind: K["kind"], read: StoreReader<K>) {
  const observe = {
    loaded: (_file: string, _kind: string, format: string, count: number) =>
      void told.push(`loaded ${format} ${count}`),
    failed: (_file: string, _kind: string, cause: Error) => void told.push(`failed ${cause.message}`),
  };
  return keyStoreFile<K>(file, kind, "smime.keyStore.file", read, observe, { minRsaBits: 2048 }, () => FIXTURE_TIME);
}
const certificates = (file: string) => store(file, "smime", certificateReader(undefined));
const fingerprints = async (source: ReturnType<typeof certificates>, address: string) => {
  const answer = await source.find(mailbox(address), never);
  return answer.kind === "found" ? answer.value.length : answer.kind;
};

describe("every format of store that the fixtures hold", () => {
  test.each([["smime/bundles/all.p7b"], ["smime/bundles/all-pem-crlf.p7b"], ["smime/bundles/all.b64"]])(
    "R2: %s: all certificates of alice are found",
    async (name) => {
      const count = await fingerprints(certificates(fixture(name)), "alice@example.com");
      expect(count).toBeGreaterThanOrEqual(4);
    },
  );

  test.each([
    "pgp/all.asc",
    "pgp/concat.asc",
    "pgp/concat-crlf.asc",
    "pgp/all.gpg",
    "pgp/pubring.kbx",
    "pgp/pubring-legacy.gpg",
  ])("R14: %s: both keys of alice and the one of jörg are found", async (name) => {
    const source = store(fixture(name), "pgp", keyringReader);
    const alice = await source.find(mailbox("alice@example.com"), never);
    expect(alice.kind === "found" && alice.value.length).toBe(2);
    expect((await source.find(mailbox("jörg@bücher.example"), never)).kind).toBe("found");
    expect((await source.find(mailbox("ob@example.com"), never)).kind).toBe("absent");
  });

  test("a keybox is a store of certificates too", async () => {
    const source = certificates(fixture("pgp/pubring-deleted-and-x509.kbx"));
    expect((await source.probe(never)).detail).toContain("2 of 2 keys are usable");
  });
});

describe("a store that changes", () => {
  const write = (name: string) => {
    writeFileSync(join(folder, "next"), fixtureBytes(name));
    renameSync(join(folder, "next"), join(folder, "store"));
  };

  test("a changed file is picked up, an unchanged one is not read again", async () => {
    write("smime/certs/alice.pem");
    const source = certificates(join(folder, "store"));
    expect(await fingerprints(source, "bob@example.com")).toBe("absent");
    expect(await source.refresh()).toBe(false);
    write("smime/certs/bob.pem");
    expect(await source.refresh()).toBe(true);
    expect(await fingerprints(source, "bob@example.com")).toBe(1);
    expect(await fingerprints(source, "alice@example.com")).toBe("absent");
    expect(told).toHaveLength(2);
  });

  test("one that breaks keeps the last good set, and says so once", async () => {
    write("smime/certs/alice.pem");
    const source = certificates(join(folder, "store"));
    await source.refresh();
    for (const broken of ["keystores/certs-uber.ks", "keystores/certs-bcfks.ks"]) {
      write(broken);
      expect(await source.refresh()).toBe(false);
      await source.refresh();
      expect(source.fault?.message).toContain("see smime.keyStore.file");
      expect(await fingerprints(source, "alice@example.com")).toBe(1);
    }
    rmSync(join(folder, "store"));
    await source.refresh();
    expect(await fingerprints(source, "alice@example.com")).toBe(1);
    expect(told.filter((line) => line.startsWith("failed"))).toHaveLength(3);
    write("smime/certs/bob.pem");
    expect(await source.refresh()).toBe(true);
    expect(source.fault).toBeUndefined();
  });

  test("one that was never good has failed: nobody is without a key because of it", async () => {
    const source = certificates(join(folder, "missing"));
    const answer = await source.find(mailbox("alice@example.com"), never);
    expect(answer.kind === "failed" && answer.cause.message).toMatch(
      /missing cannot be used: ENOENT.*; see smime\.keyStore\.file/,
    );
    expect(await source.probe(never)).toMatchObject({ ok: false });
  });

  test("one that was never good is read again when it has changed, and not for every look-up", async () => {
    write("keystores/certs-uber.ks");
    let reads = 0;
    const read: StoreReader<RecipientKey> = (bytes, now) => (reads++, certificateReader(undefined)(bytes, now));
    const source = store(join(folder, "store"), "smime", read);
    const findsAlice = async () => (await source.find(mailbox("alice@example.com"), never)).kind;
    for (let mail = 0; mail < 5; mail++) expect(await findsAlice()).toBe("failed");
    expect(reads).toBe(1);
    source.forget();
    for (let mail = 0; mail < 5; mail++) expect(await findsAlice()).toBe("failed");
    expect(reads).toBe(2);
    write("smime/certs/alice.pem");
    expect(await findsAlice()).toBe("found");
    expect(reads).toBe(3);
  });

  test("one whose reader fails is not read again before it changes either", async () => {
    write("smime/certs/alice.pem");
    let reads = 0;
    const source = store(join(folder, "store"), "smime", () => (reads++, Promise.reject(new Error("a fault of ours"))));
    for (let mail = 0; mail < 5; mail++) await source.find(mailbox("alice@example.com"), never);
    expect([reads, source.fault?.message]).toEqual([1, expect.stringContaining("a fault of ours")]);
  });

  test.each([
    ["an empty file", Buffer.alloc(0)],
    ["half a bundle", fixtureBytes("smime/bundles/all.p7b").subarray(0, 9_000)],
    ["a page of a web server", Buffer.from("<html><body>not found</body></html>")],
  ])("%s is a failure, not an empty store", async (_, bytes) => {
    writeFileSync(join(folder, "store"), bytes);
    expect((await certificates(join(folder, "store")).find(mailbox("alice@example.com"), never)).kind).toBe("failed");
  });

  test.each([
    ["pgp/all.asc", 0.5],
    ["pgp/all.gpg", 0.5],
    ["pgp/concat.asc", 0.98],
    ["pgp/pubring.kbx", 0.5],
    ["pgp/pubring-legacy.gpg", 0.99],
  ])(
    "CONF-35: %s of which only a part is there, %d of it, leaves the whole set in use and is told once",
    async (name, part) => {
      const bytes = fixtureBytes(name);
      const short = bytes.subarray(0, Math.floor(bytes.length * part));
      const file = join(folder, "store");
      writeFileSync(file, bytes);
      const source = store(file, "pgp", keyringReader);
      const everybody = ["alice@example.com", "joe@example.org", "jörg@bücher.example", "peter@example.com"];
      const answers = async (from: typeof source) =>
        Promise.all(everybody.map(async (address) => (await from.find(mailbox(address), never)).kind));
      expect(await answers(source)).toEqual(everybody.map(() => "found"));
      writeFileSync(file, short);
      for (let mail = 0; mail < 2; mail++) expect(await source.refresh()).toBe(false);
      expect(await answers(source)).toEqual(everybody.map(() => "found"));
      expect(source.fault?.message).toMatch(/cannot be used: the file is cut short: .*; see smime\.keyStore\.file$/);
      expect(told.map((line) => line.split(" ")[0])).toEqual(["loaded", "failed"]);
      expect(await answers(store(file, "pgp", keyringReader))).toEqual(everybody.map(() => "failed"));
      writeFileSync(file, bytes);
      expect([await source.refresh(), source.fault]).toEqual([true, undefined]);
    },
  );

  test("a folder is refused", async () => {
    const answer = await certificates(folder).find(mailbox("alice@example.com"), never);
    expect(answer.kind === "failed" && answer.cause.message).toContain("not a regular file");
  });
});

describe("a key of which one copy cannot be read, perhaps that with the revocation", async () => {
  const made = { type: "curve25519", date: new Date(FIXTURE_TIME - 60_000), format: "object" } as const;
  const { privateKey, publicKey } = await generateKey({ ...made, userIDs: [{ email: "Tess@Example.com" }] });
  const revoked = (await revokeKey({ key: privateKey, format: "object" })).publicKey;
  const armor = (bytes: Uint8Array, sum = "") =>
    `-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n${Buffer.from(bytes).toString("base64")}\n${sum}-----END PGP PUBLIC KEY BLOCK-----\n`;
  const finderIn = (...blocks: string[]) => {
    writeFileSync(join(folder, "store"), blocks.join(""));
    const source = store(join(folder, "store"), "pgp", keyringReader);
    return async (address: string) => source.find(mailbox(address), never);
  };
  const live = armor(publicKey.write());
  const torn = armor(revoked.write(), "=AAAA\n");
  const bob = armor(fixtureBytes("pgp/bob.gpg"));

  test.each([
    ["behind it", [live, bob, torn]],
    ["before it", [torn, bob, live]],
  ])("H1: the copy %s: its owner's look-up fails, her neighbour's does not", async (_where, blocks) => {
    const find = finderIn(...blocks);
    const answer = await find("tess@example.com");
    expect(answer).toMatchObject({ kind: "failed", isOnlyHere: true });
    expect(answer.kind === "failed" && answer.cause.message).toMatch(
      /store: another copy of key [0-9a-f]{40} cannot be read: the checksum of the armor is wrong; see smime\.keyStore\.file$/,
    );
    expect((await find("bob@example.com")).kind).toBe("found");
    expect((await find("eve@example.com")).kind).toBe("absent");
  });

  test("copies that can be read are found, and revoked", async () => {
    const answer = await finderIn(live, bob, armor(revoked.write()))("tess@example.com");
    expect(answer.kind === "found" && answer.value.map(({ certificate }) => certificate.encryption)).toMatchObject([
      { usable: false, reason: "revoked" },
    ]);
  });

  test("copies without a User ID that the owner signed leave their address absent", async () => {
    const bytes = publicKey.write();
    const primary = bytes.subarray(0, readPacketEnd(bytes));
    const claim = (name: string) => writePacket(13, Buffer.from(`${name} <tess@example.com>`));
    const find = finderIn(bob, ...["a", "b"].map((name) => armor(Buffer.concat([primary, claim(name)]))));
    expect((await find("tess@example.com")).kind).toBe("absent");
  });
});

test("LOOK-24: a store of 20,000 certificates of one address is read in turns with other work, each once", async () => {
  const all = Array.from({ length: 20_000 }, (_, number) => {
    const one = Buffer.from(fixtureBytes("smime/certs/bob.der"));
    // within the signature, which a store does not vouch for
    one.writeUInt32BE(number, one.length - 4);
    return one;
  });
  const nothing = der(0x30, oid("1.2.840.113549.1.7.1"));
  const certificates20k = der(0xa0, ...all, ...all.slice(0, 10));
  const signedData = der(0x30, smallInteger(1), der(0x31), nothing, certificates20k, der(0x31));
  writeFileSync(join(folder, "store"), der(0x30, oid("1.2.840.113549.1.7.2"), der(0xa0, signedData)));
  let turns = 0;
  const done = new AbortController();
  const others = (async () => {
    for (; !done.signal.aborted; turns++) await setImmediate();
  })();
  const source = certificates(join(folder, "store"));
  expect(await source.refresh()).toBe(true);
  done.abort();
  await others;
  expect(turns).toBeGreaterThan(200);
  expect(await fingerprints(source, "bob@example.com")).toBe(20_000);
});

function readPacketEnd(bytes: Uint8Array): number {
  const packet = readPacket(bytes, 0);
  if ("fault" in packet) throw new Error(packet.fault);
  return packet.end;
}

describe("what somebody hands over as a key", () => {
  const offered = async (bytes: Buffer) => {
    const answer = await readOfferedKeys(bytes, FIXTURE_TIME);
    return "refused" in answer ? answer.refused : answer.keys.map((key) => key.kind);
  };
  test.each(["smime/keys/alice.key", "pgp/alice-secret.asc", "pgp/all-secret.asc"])(
    "a private key is refused: %s",
    async (name) => {
      expect(await offered(fixtureBytes(name))).toMatch(/private|secret/);
    },
  );
  test("a PKCS#12 is refused", async () =>
    expect(await offered(fixtureBytes("smime/p12/alice.p12"))).toContain("PKCS#12"));
  test("certificates and keys of every form are taken", async () => {
    expect(await offered(fixtureBytes("smime/certs/alice.pem"))).toEqual(["smime"]);
    expect(await offered(fixtureBytes("smime/certs/alice.der"))).toEqual(["smime"]);
    expect(await offered(fixtureBytes("pgp/bob.gpg"))).toEqual(["pgp"]);
    expect(await offered(fixtureBytes("pgp/alice-two-keys.asc"))).toEqual(["pgp", "pgp"]);
  });
  test("anything else gets a sentence", async () =>
    expect(typeof (await offered(Buffer.from("hello")))).toBe("string"));
});
