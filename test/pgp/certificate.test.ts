// What is made of one OpenPGP certificate: addresses, the key for encryption or why there is none.
import { config, readKey, revokeKey, type generateKey } from "openpgp";
import { describe, expect, test } from "vitest";
import { addressIn, readPgpCertificate } from "../../src/pgp/certificate.ts";
import { readPacket, writePacket } from "../../src/pgp/packets.ts";
import { mergedKey } from "../../src/pgp/transferable-key.ts";
import { fixtureBytes } from "../fixtures.ts";
import { fixtureCertificates, NOW, ringOf } from "./fixture-keys.ts";
import { madeKey } from "./made-signatures.ts";

const DAY_MS = 86_400_000;
const certificates = await fixtureCertificates();

async function made(options: Partial<Parameters<typeof generateKey>[0]> = {}) {
  const privateKey = await madeKey(options);
  const publicKey = privateKey.toPublic();
  return { privateKey, publicKey, bytes: publicKey.write() };
}

describe("the fixtures", () => {
  test.each([
    ["alice", "alice@example.com", "cv25519", "2f50a34d0942ee83"],
    ["olaf", "alice@example.com", "rsa2048", "9d543aeb36079fd1"],
    ["bob", "bob@example.com", "cv25519", "255f09b67b076eb4"],
    ["peter", "peter@example.com", "P-256", "3ccedd4d0e06967f"],
    ["bea", "bea@example.com", "brainpoolP256r1", "a15a4e743b934ff5"],
    ["heidi", "Heidi.MEYER@Example.COM", "cv25519", "a4d8525644f64788"],
    ["jörg", "jörg@bücher.example", "cv25519", "b75988e12bed64bf"],
    ["joe", "joe@example.org", "cv25519", "5ccf60574556759f"],
    ["bare", "bare@example.com", "cv25519", "480d2127addbcbe5"],
    ["vera", "vera@example.com", "x25519", "c5cf213d31a69ab9"],
    ["nora", "nora@example.com", "x25519", "33d14d836108e017"],
    ["otto", "otto@example.com", "x25519", "b72f4d23e6d74e4b"],
  ])("%s (%s) is encrypted to with %s %s, the newest valid subkey", (name, address, algorithm, keyId) => {
    const certificate = certificates.get(name)!;
    expect(certificate.addresses).toEqual([address]);
    expect(certificate.encryption).toMatchObject({ usable: true, key: { algorithm, keyId } });
  });

  test.each([
    ["carol", "weak-key", /dsa/],
    ["erin", "expired", /2022-01-01/],
    ["grace", "no-encryption-subkey", /no subkey/],
    ["rupert", "revoked", /certificate is revoked/],
    ["nick", "weak-key", /RSA/],
    ["sue", "revoked", /subkey d4749d7a31639f22/],
  ] as const)("%s cannot be encrypted to: %s", (name, reason, detail) => {
    const certificate = certificates.get(name)!;
    expect(certificate.addresses).toEqual([`${name}@example.com`]);
    expect(certificate.encryption).toEqual({ usable: false, reason, detail: expect.stringMatching(detail) as string });
  });

  test("dave's revoked User ID is not listed, his two others are", () => {
    expect(certificates.get("dave")!.addresses.toSorted()).toEqual(["d.smith@example.net", "dave@example.com"]);
  });

  test("bob's subkey end and erin's end are told, alice has none", () => {
    expect(certificates.get("bob")!.encryption).toMatchObject({ usable: true, expires: 1_858_502_434_000 });
    expect(certificates.get("erin")!.expires).toBe(1_641_038_400_000);
    expect(certificates.get("alice")!.expires).toBeUndefined();
  });

  test("only vera and otto advertise SEIPDv2, and vera is of version 6", () => {
    const advertising = [...certificates].filter(([, { readsSeipd2 }]) => readsSeipd2).map(([name]) => name);
    expect(advertising.toSorted()).toEqual(["otto", "vera"]);
    expect(certificates.get("vera")).toMatchObject({
      version: 6,
      fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
  });

  test("erin was usable while her certificate held", async () => {
    const then = await readPgpCertificate(certificates.get("erin")!.bytes, Date.UTC(2021, 0, 1));
    expect(then.encryption).toMatchObject({ usable: true, expires: 1_641_038_400_000 });
  });
});

describe("validity in time", () => {
  test("a certificate made tomorrow is not yet valid and still says whose it is", async () => {
    const { bytes } = await made({ date: new Date(NOW + DAY_MS) });
    const certificate = await readPgpCertificate(bytes, NOW);
    expect(certificate.encryption).toMatchObject({ usable: false, reason: "not-yet-valid" });
    expect(certificate.addresses).toEqual(["tess@example.com"]);
    expect(certificate.judgedAt).toBe(NOW);
  });

  test("a certificate whose only encryption subkey has ended is expired and names the subkey", async () => {
    const { bytes } = await made({ date: new Date(NOW - 10 * DAY_MS), subkeys: [{ keyExpirationTime: 86_400 }] });
    const certificate = await readPgpCertificate(bytes, NOW);
    expect(certificate.encryption).toMatchObject({ usable: false, reason: "expired" });
    expect(certificate.expires).toBeUndefined();
  });

  test("an ended signing subkey is not taken for the reason", async () => {
    const { bytes } = await made({
      date: new Date(NOW - 10 * DAY_MS),
      subkeys: [{ sign: true, keyExpirationTime: 86_400 }],
    });
    expect((await readPgpCertificate(bytes, NOW)).encryption).toMatchObject({ reason: "no-encryption-subkey" });
  });

  test("the earlier end of certificate and subkey is told", async () => {
    const { bytes } = await made({ keyExpirationTime: 20 * 86_400, subkeys: [{ keyExpirationTime: 10 * 86_400 }] });
    const { expires, encryption } = await readPgpCertificate(bytes, NOW);
    expect(expires).toBe(NOW + 19 * DAY_MS);
    expect(encryption).toMatchObject({ usable: true, expires: NOW + 9 * DAY_MS });
  });
});

describe("what is kept", () => {
  test("of a secret key only the public half is kept, octet for octet the public key", async () => {
    const { privateKey, bytes } = await made();
    const certificate = await readPgpCertificate(privateKey.write(), NOW);
    expect(Buffer.compare(certificate.bytes, bytes)).toBe(0);
    expect((await readKey({ binaryKey: certificate.bytes })).isPrivate()).toBe(false);
    expect(certificate.encryption.usable).toBe(true);
  });

  test("every secret fixture gives the same certificate as its public half", async () => {
    const fromSecret = await ringOf(fixtureBytes("pgp/all-secret.asc"));
    expect(fromSecret.certificates.length).toBe(16);
    for (const certificate of fromSecret.certificates) {
      const name = (certificate.userIds[0] ?? "").split(/[ @]/)[0]!.toLowerCase();
      expect(certificate.encryption).toEqual(certificates.get(name)!.encryption);
      expect((await readKey({ binaryKey: certificate.bytes })).isPrivate()).toBe(false);
    }
  });

  test("trust packets, user attributes and third-party signatures are left out, even 100,000 of them", async () => {
    const { bytes } = await made();
    const alice = certificates.get("alice")!.bytes;
    const parts: Uint8Array[] = [];
    for (let at = 0; at < alice.length;) {
      const packet = readPacket(alice, at);
      if ("fault" in packet) throw new Error(packet.fault);
      if (packet.tag === 2) parts.push(alice.subarray(packet.start, packet.end));
      at = packet.end;
    }
    const foreign = Buffer.concat(parts);
    const photo = writePacket(17, Buffer.from([2, 100, 0]));
    const flood = Buffer.concat(Array.from({ length: 50_000 }, () => foreign));
    const flooded = Buffer.concat([bytes, photo, foreign, writePacket(12, Buffer.from([0, 0])), flood]);
    expect(flooded.length).toBeGreaterThan(10_000_000);
    const certificate = await readPgpCertificate(flooded, NOW);
    expect(Buffer.compare(certificate.bytes, bytes)).toBe(0);
  });

  test("a key with more than 200 packets of its own is refused before openpgp.js sees it", async () => {
    const { publicKey, bytes } = await made();
    const own = writePacket(2, publicKey.users[0]!.selfCertifications[0]!.write());
    const flooded = Buffer.concat([bytes, ...Array.from({ length: 20_000 }, () => own)]);
    await expect(readPgpCertificate(flooded, NOW)).rejects.toThrow(/at most 200/);
  });

  test("a User ID longer than the measure for a key is refused", async () => {
    const { bytes } = await made();
    const huge = writePacket(13, Buffer.alloc(300_000, 0x61));
    await expect(readPgpCertificate(Buffer.concat([bytes, huge]), NOW)).rejects.toThrow(/at most/);
  });
});

describe("what is refused", () => {
  test.each([
    ["nothing", Buffer.alloc(0), /no key packet/],
    ["a message", writePacket(11, Buffer.from("b")), /no key packet/],
    ["a key of version 3", writePacket(6, Buffer.from([3, 0, 0, 0, 0, 0, 0, 1])), /version 3/],
    ["a key of an unknown algorithm", writePacket(6, Buffer.from([4, 0, 0, 0, 0, 99, 1, 2, 3, 4])), /algorithm 99/],
  ])("%s", async (_, bytes, reason) => {
    await expect(readPgpCertificate(bytes, NOW)).rejects.toThrow(reason);
  });

  test("two keys at once", async () => {
    const { bytes } = await made();
    await expect(readPgpCertificate(Buffer.concat([bytes, bytes]), NOW)).rejects.toThrow(/more than one key/);
  });

  test("a User ID that the owner did not sign is not listed", async () => {
    const { bytes } = await made();
    const forged = writePacket(13, Buffer.from("Eve <victim@example.com>"));
    const certificate = await readPgpCertificate(Buffer.concat([bytes, forged]), NOW);
    expect(certificate.userIds).toEqual(["Tess <tess@example.com>"]);
  });

  test("a User ID moved from another certificate with its signature is not listed", async () => {
    const tess = await made();
    const other = await made({ userIDs: [{ email: "victim@example.com" }] });
    const user = other.publicKey.users[0]!;
    const moved = Buffer.concat([
      tess.bytes,
      writePacket(13, user.userID!.write()),
      writePacket(2, user.selfCertifications[0]!.write()),
    ]);
    expect((await readPgpCertificate(moved, NOW)).addresses).toEqual(["tess@example.com"]);
  });

  test("a certificate whose self-signatures all fail is an error", async () => {
    const { bytes } = await made();
    const broken = Buffer.from(bytes);
    const name = broken.indexOf("Tess");
    broken.write("Bess", name);
    await expect(readPgpCertificate(broken, NOW)).rejects.toThrow(/no User ID/);
  });

  test("openpgp.js still refuses what this file counts on it to refuse", () => {
    expect(config.minRSABits).toBe(2047);
    expect([...config.rejectPublicKeyAlgorithms].toSorted()).toEqual([16, 17]);
    expect(config.ignoreMalformedPackets).toBe(false);
  });
});

describe("two copies of one key", () => {
  test("a revocation in either copy counts", async () => {
    const { privateKey, bytes } = await made();
    const revoked = (await revokeKey({ key: privateKey, date: new Date(NOW - 1000), format: "object" })).publicKey;
    for (const merged of [mergedKey(bytes, revoked.write()), mergedKey(revoked.write(), bytes)])
      expect((await readPgpCertificate(merged, NOW)).encryption).toMatchObject({ reason: "revoked" });
  });

  test("a ring with the older copy behind the revoked one has one certificate, revoked", async () => {
    const { privateKey, bytes } = await made();
    const revoked = (await revokeKey({ key: privateKey, date: new Date(NOW - 1000), format: "object" })).publicKey;
    const ring = await ringOf(Buffer.concat([revoked.write(), bytes]));
    expect(ring.certificates.map(({ encryption }) => encryption)).toMatchObject([{ reason: "revoked" }]);
  });

  test("a subkey that only one copy has is found", async () => {
    const { privateKey, bytes } = await made();
    const grown = (
      await privateKey.addSubkey({ date: new Date(NOW - 1000), curve: "nistP256", type: "ecc" })
    ).toPublic();
    const merged = await readPgpCertificate(mergedKey(grown.write(), bytes), NOW);
    expect(merged.encryption).toMatchObject({ usable: true, key: { algorithm: "P-256" } });
  });
});

test.each([
  ["Alice <alice@example.com>", "alice@example.com"],
  ["bare@example.com", "bare@example.com"],
  ["<a@example.com>", "a@example.com"],
  ["victim@corp.example <att@evil.example>", "att@evil.example"],
  ["A (victim@corp.example) <att@evil.example>", "att@evil.example"],
  ["A <first@example.com> <last@example.com>", "last@example.com"],
  ["A (victim@corp.example)", undefined],
  ["A <victim@corp.example> (x)", undefined],
  ["x <victim@corp.example\0.evil.example>", undefined],
  ["x\n<victim@corp.example>", undefined],
  ["x <victim@corp.example\r\nBcc: y@z.example>", undefined],
  ["broken \ufffd <victim@corp.example>", undefined],
  ["x <a@example.com, b@example.com>", undefined],
  ['x <"a b"@example.com>', undefined],
  ["x <<a@example.com>>", undefined],
  ["no address", undefined],
  ["", undefined],
])("User ID %j is for %s", (userId, address) => {
  expect(addressIn(userId)).toBe(address);
});
