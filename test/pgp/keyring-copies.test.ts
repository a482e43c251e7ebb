// Several copies of one key in a file: a revocation in any of them counts, also in one that cannot be read.
import { generateKey, revokeKey } from "openpgp";
import { describe, expect, test } from "vitest";
import { bodyOf, readPacket, writePacket } from "../../src/pgp/packets.ts";
import { fixtureBytes } from "../fixtures.ts";
import { NOW, ringOf } from "./fixture-keys.ts";

const MADE = new Date(NOW - 60_000);
const { privateKey } = await generateKey({
  userIDs: [{ name: "Tess", email: "tess@example.com" }],
  ...{ type: "curve25519", format: "object", date: MADE },
});
const TESS = privateKey.getFingerprint();
const live = privateKey.toPublic().write();
const revoked = (await revokeKey({ key: privateKey, format: "object", date: MADE })).publicKey.write();
const bob = fixtureBytes("pgp/bob.gpg");

const packetsOf = (bytes: Uint8Array) => {
  const packets: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const packet = readPacket(bytes, at);
    if ("fault" in packet) throw new Error(packet.fault);
    packets.push(bytes.subarray(packet.start, packet.end));
    at = packet.end;
  }
  return packets;
};
const [primary, revocation] = packetsOf(revoked) as [Uint8Array, Uint8Array];
const certification = bodyOfFirst(packetsOf(live)[2]!);

function bodyOfFirst(bytes: Uint8Array): Uint8Array {
  const packet = readPacket(bytes, 0);
  if ("fault" in packet) throw new Error(packet.fault);
  return bodyOf(bytes, packet);
}

/** Signatures that name the key as their issuer and verify nothing, each another one. */
const forged = (from: number, count: number) =>
  Array.from({ length: count }, (_, at) => {
    const body = Buffer.from(certification);
    body.writeUInt32BE(from + at, body.length - 4);
    return writePacket(2, body);
  });

/** Who is read, and why others are not; the reasons without octets and fingerprints. */
async function said(...parts: readonly Uint8Array[]) {
  const ring = await ringOf(Buffer.concat(parts));
  return {
    read: ring.certificates.map(({ userIds, encryption }) => (encryption.usable ? userIds[0] : encryption.reason)),
    faults: ring.faults.map(({ reason }) => reason.replace(TESS, "KEY")),
    dropped: ring.faults.flatMap(({ droppedKey }) => droppedKey ?? []),
  };
}
const BOB = "Bob Pgp <bob@example.com>";

describe("H1: a copy that cannot be read, perhaps the one with the revocation", () => {
  const TOO_MANY = /^the key has 2\d\d packets and \d+ octets of its own/;

  test("a copy of too many packets makes the key unused, wherever it stands, and its neighbour is read", async () => {
    const bloated = Buffer.concat([revoked, ...forged(0, 200)]);
    for (const parts of [
      [live, bloated, bob],
      [bloated, bob, live],
      [bob, live, bloated, live],
    ]) {
      const { read, faults, dropped } = await said(...parts);
      expect([read, dropped]).toEqual([[BOB], [TESS]]);
      expect(faults).toEqual([
        expect.stringMatching(TOO_MANY),
        expect.stringMatching(/^another copy of key KEY cannot be read: the key has 2\d\d packets/),
      ]);
    }
  });

  test("copies that are too much only together make the key unused", async () => {
    const { read, dropped } = await said(live, ...forged(0, 120), revoked, ...forged(200, 120), bob);
    expect([read, dropped]).toEqual([[BOB], [TESS]]);
  });

  test.each([
    ["before the revocation", [primary, Buffer.from([1]), revocation]],
    ["on both sides of the revocation", [primary, Buffer.from([1]), revocation, Buffer.from("x")]],
    ["and only the beginning of the revocation", [primary, Buffer.from([1]), revocation.subarray(0, 60)]],
  ])("a copy with octets that are no packet %s makes the key unused", async (_where, parts) => {
    for (const all of [
      [live, ...parts, bob],
      [bob, ...parts, live],
    ]) {
      const { read, dropped, faults } = await said(...all);
      expect([read, dropped]).toEqual([[BOB], [TESS]]);
      expect(faults[0]).toMatch(/^the key is damaged near octet \d+$/);
    }
  });

  test("a copy that is cut off by the end of the file makes the file unreadable", async () => {
    await expect(said(live, bob, primary, revocation.subarray(0, 60))).rejects.toThrow("the file is cut short");
  });

  test("the addresses that either copy of an unused key claims are named with it", async () => {
    const other = writePacket(13, Buffer.from("Tess <tess@other.example>"));
    const { faults } = await ringOf(Buffer.concat([live, bob, primary, other, Buffer.from([1]), revocation, bob]));
    expect(faults.flatMap(({ claimedAddresses }) => claimedAddresses ?? [])).toEqual([
      "tess@example.com",
      "tess@other.example",
    ]);
  });

  test("an armored copy with a wrong checksum makes the key unused", async () => {
    const armor = (bytes: Uint8Array, sum = "") =>
      `-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\n${Buffer.from(bytes).toString("base64")}\n${sum}-----END PGP PUBLIC KEY BLOCK-----\n`;
    const ring = await ringOf(Buffer.from(armor(live) + armor(Buffer.concat([revoked, bob]), "=AAAA\n") + armor(bob)));
    expect(ring.certificates).toEqual([]);
    expect(ring.faults.map(({ entry, reason }) => `${entry}: ${reason.replace(/[0-9a-f]{40}/, "KEY")}`)).toEqual([
      "block at line 6: the checksum of the armor is wrong",
      "block at line 1, key at octet 0: another copy of key KEY cannot be read: the checksum of the armor is wrong",
      "block at line 12, key at octet 0: another copy of key KEY cannot be read: the checksum of the armor is wrong",
    ]);
  });
});

describe("copies that take nothing away", () => {
  test("a copy of the primary key alone, or of forged signatures within the measure, leaves the key in use", async () => {
    for (const other of [[primary], [primary, ...forged(0, 100)], [live, ...forged(0, 100)]])
      expect(await said(live, ...other)).toEqual({ read: ["Tess <tess@example.com>"], faults: [], dropped: [] });
  });

  test("the revocation in a copy without User IDs counts in either order", async () => {
    for (const parts of [
      [live, primary, revocation],
      [primary, revocation, live],
      [live, primary, ...forged(0, 100), revocation],
    ])
      expect(await said(...parts)).toEqual({ read: ["revoked"], faults: [], dropped: [] });
  });

  test("a key that only has one copy, and that unreadable, is one fault and no dropped key", async () => {
    const { read, faults, dropped } = await said(bob, live, ...forged(0, 200));
    expect([read, faults.length, dropped]).toEqual([[BOB], 1, []]);
  });
});
