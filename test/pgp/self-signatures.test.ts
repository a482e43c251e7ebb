// What of a key stands when only its owner's strong signatures count, and how a copy of a known key adds to it.
import { enums, type PrivateKey } from "openpgp";
import { describe, expect, test } from "vitest";
import { decodeArmor } from "../../src/pgp/armor.ts";
import { readPgpCertificate, type PgpCertificate } from "../../src/pgp/certificate.ts";
import { packetsIn, writePacket } from "../../src/pgp/packets.ts";
import { checkSigningKey, mergedWith, verifiedKey } from "../../src/pgp/self-signatures.ts";
import { mergedKey } from "../../src/pgp/transferable-key.ts";
import { fixtureBytes } from "../fixtures.ts";
import { fixtureCertificates, NOW } from "./fixture-keys.ts";
import { gnupgHome } from "./gnupg.ts";
import { DAY_MS, madeKey, signaturePacket } from "./made-signatures.ts";
import { atTime, exportedKeys, generateKeyIn } from "./signed-mail.ts";

const certificates = await fixtureCertificates();
const packetsOf = ({ bytes }: PgpCertificate) => [...packetsIn(bytes)].length;
const bytesOf = (key: PrivateKey) => key.toPublic().write();

async function certification(key: PrivateKey, digest: enums.hash, created: number) {
  const over = { key: key.keyPacket, userID: key.users[0]!.userID };
  const type = enums.signature.certPositive;
  const keyFlags = new Uint8Array([enums.keyFlags.certifyKeys | enums.keyFlags.signData]);
  const packet = await signaturePacket(key.keyPacket, over, {
    type,
    digest,
    created,
    change: (made) => {
      made.keyFlags = keyFlags;
    },
  });
  return writePacket(2, packet.write());
}

/** Primary key and User ID of `key`, with these signatures instead of its own. */
function certifiedBy(key: PrivateKey, ...signatures: Uint8Array[]): Buffer {
  const user = writePacket(13, key.users[0]!.userID!.write());
  return Buffer.concat([writePacket(6, key.toPublic().keyPacket.write()), user, ...signatures]);
}

describe("what the owner has signed", () => {
  test.each(["alice", "bob", "dave", "peter", "bea", "sue", "rupert", "vera", "nora", "otto"])(
    "the key of %s keeps everything, octet for octet but for packet heads",
    async (name) => {
      const known = certificates.get(name)!;
      const again = await readPgpCertificate(await verifiedKey(known.bytes), NOW);
      expect({ ...again, bytes: undefined }).toEqual({ ...known, bytes: undefined });
      expect(mergedKey(again.bytes, known.bytes).length).toBe(mergedKey(known.bytes, known.bytes).length);
    },
  );

  test("a User ID, a subkey and a revocation that the owner did not sign are left out", async () => {
    const key = await madeKey();
    const other = await madeKey();
    const revocation = (await other.revoke({}, new Date(NOW))).revocationSignatures[0]!.write();
    const subkey = other.toPublic().subkeys[0]!;
    const foreign = [
      writePacket(13, Buffer.from("victim@corp.test")),
      writePacket(14, subkey.keyPacket.write()),
      writePacket(2, subkey.bindingSignatures[0]!.write()),
    ];
    const [primary] = [writePacket(6, key.toPublic().keyPacket.write())];
    const rest = bytesOf(key).subarray(primary.length);
    const mixed = Buffer.concat([primary, writePacket(2, revocation), rest, ...foreign]);
    expect(Buffer.compare(await verifiedKey(mixed), bytesOf(key))).toBe(0);
  });

  test("HARV-20: a User ID bound over SHA-1 alone, or last, is left out; one renewed over SHA-2 stays", async () => {
    const key = await madeKey({ type: "rsa", rsaBits: 2048 });
    const addresses = async (...signatures: Uint8Array[]) =>
      readPgpCertificate(await verifiedKey(certifiedBy(key, ...signatures)), NOW).then(
        (certificate) => certificate.addresses,
        () => [],
      );
    const weak = await certification(key, enums.hash.sha1, NOW - 2000);
    const strong = await certification(key, enums.hash.sha256, NOW - 1000);
    const weakLater = await certification(key, enums.hash.sha1, NOW);
    expect(await addresses(strong)).toEqual(["tess@example.com"]);
    expect(await addresses(weak, strong)).toEqual(["tess@example.com"]);
    expect(await addresses(weak)).toEqual([]);
    expect(await addresses(strong, weakLater)).toEqual([]);
    expect(await addresses(weakLater, await certification(key, enums.hash.sha256, NOW))).toEqual([]);
    expect((await readPgpCertificate(certifiedBy(key, weak), NOW)).addresses).toEqual(["tess@example.com"]);
  });

  test("HARV-20: a subkey bound over SHA-1 is left out, a revocation over SHA-1 counts", async () => {
    const key = await madeKey({ type: "rsa", rsaBits: 2048 });
    const over = { key: key.keyPacket, bind: key.subkeys[0]!.keyPacket };
    const binding = await signaturePacket(key.keyPacket, over, {
      type: enums.signature.subkeyBinding,
      digest: enums.hash.sha1,
      change: (made) => {
        made.keyFlags = new Uint8Array([enums.keyFlags.encryptCommunication]);
      },
    });
    const whole = key.toPublic();
    const subkey = writePacket(14, whole.subkeys[0]!.keyPacket.write());
    whole.subkeys = [];
    const weak = Buffer.concat([whole.write(), subkey, writePacket(2, binding.write())]);
    expect((await readPgpCertificate(weak, NOW)).encryption).toMatchObject({ usable: true });
    expect((await readPgpCertificate(await verifiedKey(weak), NOW)).encryption).toMatchObject({
      reason: "no-encryption-subkey",
    });
    const revocation = await signaturePacket(
      key.keyPacket,
      { key: key.keyPacket },
      {
        type: enums.signature.keyRevocation,
        digest: enums.hash.sha1,
      },
    );
    const primary = writePacket(6, whole.keyPacket.write());
    const revoked = Buffer.concat([primary, writePacket(2, revocation.write()), bytesOf(key).subarray(primary.length)]);
    expect((await readPgpCertificate(await verifiedKey(revoked), NOW)).encryption).toMatchObject({ reason: "revoked" });
  });

  test("signatures within signatures, thousands deep, end in an error or are left out", async () => {
    const key = await madeKey();
    let nested: Buffer = Buffer.from([0x05, 2, 0x6a, 0, 0, 0]);
    const area = (bytes: Buffer) =>
      Buffer.concat([
        Buffer.from(
          [6, 0x18, 22, 8, 0, bytes.length >> 16, bytes.length >> 8, bytes.length].map((octet) => octet & 255),
        ),
        bytes,
      ]);
    while (nested.length < 60_000) {
      const body = area(nested);
      const length = Buffer.from(
        [255, 0, (body.length + 1) >> 16, (body.length + 1) >> 8, body.length + 1].map((octet) => octet & 255),
      );
      nested = Buffer.concat([length, Buffer.from([32]), body]);
    }
    const id = Buffer.from(`162104${key.keyPacket.getFingerprint()}`, "hex");
    const packet = writePacket(2, area(Buffer.concat([id, nested])));
    const bomb = Buffer.concat([bytesOf(key), packet]);
    const outcome = await verifiedKey(bomb).then(
      (bytes) => Buffer.compare(bytes, bytesOf(key)),
      (error: unknown) => (error instanceof Error ? "an error" : "something else"),
    );
    expect([0, "an error"]).toContain(outcome);
  });
});

describe("HARV-36: keys to sign with", () => {
  const rsa = (modulus: Buffer, exponent: Buffer) => {
    const integer = (octets: Buffer) =>
      Buffer.concat([Buffer.from([octets.length >> 5, (octets.length * 8) & 255]), octets]);
    return Buffer.concat([Buffer.from([4, 0x5e, 0, 0, 0, 1]), integer(modulus), integer(exponent)]);
  };
  const F4 = Buffer.from([1, 0, 1]);

  test.each([
    ["2048 bits", rsa(Buffer.alloc(256, 0xff), F4), undefined],
    ["16384 bits", rsa(Buffer.alloc(2048, 0xff), F4), undefined],
    ["HARV-20: 1024 bits", rsa(Buffer.alloc(128, 0xff), F4), /RSA keys of 1024 bits/],
    ["HARV-36: 32768 bits", rsa(Buffer.alloc(4096, 0xff), F4), /keys of RSA with 32768 bits/],
    ["HARV-36: a long exponent", rsa(Buffer.alloc(256, 0xff), Buffer.alloc(100, 0xff)), /exponent/],
    ["HARV-20: exponent 1", rsa(Buffer.alloc(256, 0xff), Buffer.from([1])), /exponent/],
    ["HARV-20: exponent 3", rsa(Buffer.alloc(256, 0xff), Buffer.from([3])), /exponent/],
    ["an even exponent", rsa(Buffer.alloc(256, 0xff), Buffer.from([1, 0, 0])), /exponent/],
    ["no key", Buffer.alloc(0), /algorithm 0 are not accepted/],
  ])("%s", (_, body, reason) => {
    const check = () => checkSigningKey(body);
    if (reason === undefined) expect(check).not.toThrow();
    else expect(check).toThrow(reason);
  });
});

describe("another copy of a known key", () => {
  const alice = certificates.get("alice")!;

  test("HARV-17: with the revocation that gpg made with the key it is revoked, whoever sent it", async () => {
    const file = `pgp/revocs/${alice.fingerprint.toUpperCase()}.rev`;
    const text = fixtureBytes(file)
      .toString("latin1")
      .replace(/^:-----/m, "-----");
    const home = gnupgHome(false);
    try {
      expect(home.run([...atTime(NOW), "--import"], alice.bytes).status).toBe(0);
      expect(home.run([...atTime(NOW), "--import"], Buffer.from(text)).status).toBe(0);
      const merged = await mergedWith(alice, exportedKeys(home, [alice.fingerprint], "binary"), NOW);
      expect(merged).toMatchObject({
        kind: "merged",
        certificate: { fingerprint: alice.fingerprint, encryption: { usable: false, reason: "revoked" } },
      });
    } finally {
      home.close();
    }
    expect(decodeArmor(text).blocks.length).toBe(1);
  });

  test("HARV-18: with gpg's later end of validity it holds longer, and the older copy takes nothing back", async () => {
    const home = gnupgHome(false);
    try {
      generateKeyIn(home, "Ext <ext@example.com>", NOW - 10 * DAY_MS, "rsa2048", "default", "5d");
      const before = await readPgpCertificate(exportedKeys(home, ["ext@example.com"], "binary"), NOW);
      expect(before.encryption).toMatchObject({ usable: false, reason: "expired" });
      const fingerprint = before.fingerprint.toUpperCase();
      const args = [...atTime(NOW - 6 * DAY_MS), "--passphrase", "", "--quick-set-expire", fingerprint, "1y"];
      expect(home.run(args).status).toBe(0);
      const later = exportedKeys(home, ["ext@example.com"], "binary");
      const merged = await mergedWith(before, later, NOW);
      if (merged.kind !== "merged") throw new Error(merged.reason);
      expect(packetsOf(merged.certificate)).toBeGreaterThan(packetsOf(before));
      expect(merged.certificate.expires).toBeGreaterThan(NOW + 300 * DAY_MS);
      const back = await mergedWith(merged.certificate, before.bytes, NOW);
      if (back.kind !== "merged") throw new Error(back.reason);
      expect(back.certificate.expires).toBe(merged.certificate.expires);
      expect(packetsOf(back.certificate)).toBe(packetsOf(merged.certificate));
    } finally {
      home.close();
    }
  });

  test("the same copy again adds nothing", async () => {
    const bob = certificates.get("bob")!;
    const merged = await mergedWith(bob, fixtureBytes("pgp/bob.gpg"), NOW);
    expect(merged).toMatchObject({ kind: "merged", certificate: { addresses: bob.addresses } });
    expect(merged.kind === "merged" && packetsOf(merged.certificate)).toBe(packetsOf(bob));
  });

  test("forged additions change nothing, and no number of them can fill the key up", async () => {
    const key = await madeKey();
    const known = await readPgpCertificate(bytesOf(key), NOW);
    const forged = Buffer.from(key.toPublic().users[0]!.selfCertifications[0]!.write());
    const forgeries = Array.from({ length: 150 }, (_, index) => {
      forged.writeUInt32BE(index, forged.length - 8);
      return writePacket(2, forged);
    });
    const offered = Buffer.concat([bytesOf(key), ...forgeries, writePacket(13, Buffer.from("victim@corp.test"))]);
    const merged = await mergedWith(known, offered, NOW);
    expect(merged).toMatchObject({ kind: "merged", certificate: { addresses: ["tess@example.com"] } });
    expect(merged.kind === "merged" && Buffer.compare(merged.certificate.bytes, known.bytes)).toBe(0);
  });

  test.each([
    ["another key", () => certificates.get("bob")!.bytes, /is another key than/],
    ["HARV-32: a copy beyond 512 KiB", () => Buffer.concat([alice.bytes, Buffer.alloc(524_288)]), /is too large/],
    ["octets that are no key", () => Buffer.from("hello"), /no packet begins/],
    ["two keys", () => Buffer.concat([alice.bytes, alice.bytes]), /more than one key/],
  ])("%s is refused", async (_, offered, reason) => {
    expect(await mergedWith(alice, offered(), NOW)).toEqual({
      kind: "refused",
      reason: expect.stringMatching(reason) as string,
    });
  });
});
