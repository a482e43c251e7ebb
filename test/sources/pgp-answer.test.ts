// What a server sends as keys: whose they are, what is passed over, and what is no answer at all.
import { generateKey, readKey, revokeKey } from "openpgp";
import { describe, expect, test } from "vitest";
import { mailbox } from "../../src/mail/address.ts";
import { readPacket, writePacket } from "../../src/pgp/packets.ts";
import { splitRing } from "../../src/pgp/ring.ts";
import { keysInAnswer } from "../../src/sources/pgp-answer.ts";
import { fixtureBytes } from "../fixtures.ts";
import { FIXTURE_TIME } from "../keys-of.ts";
import { certified, dsaBody, rsaBody } from "../pgp/forged-keys.ts";

const all = fixtureBytes("pgp/all.gpg");
const MADE = new Date(FIXTURE_TIME - 60_000);
const ALICE = "alice@example.com";

const keysOf = (text: string) =>
  [...splitRing(all)].map(({ start, end }) => all.subarray(start, end)).filter((key) => key.includes(text));

/** `found` with the first User ID or the reason of each key, `absent`, or why it failed. */
async function said(body: Uint8Array | string, address = ALICE): Promise<string> {
  const answer = await keysInAnswer(Buffer.from(body), mailbox(address), FIXTURE_TIME);
  const setAside = answer.setAside === undefined ? "" : ` (${answer.setAside.join("; ")})`;
  switch (answer.kind) {
    case "found":
      return `found ${answer.value.map(({ certificate: { userIds, encryption } }) => (encryption.usable ? userIds[0] : encryption.reason)).join(", ")}${setAside}`;
    case "absent":
      return `absent${setAside}`;
    case "failed":
      return answer.cause.message;
  }
}

async function freshKey(...userIds: readonly { name?: string; email?: string }[]): Promise<Uint8Array> {
  const { publicKey } = await generateKey({ userIDs: [...userIds], type: "curve25519", format: "binary", date: MADE });
  return publicKey;
}

describe("whose keys they are", () => {
  test.each([
    [ALICE, "found Alice Pgp <alice@example.com>, Olaf Old <alice@example.com>"],
    ["ALICE@EXAMPLE.COM", "found Alice Pgp <alice@example.com>, Olaf Old <alice@example.com>"],
    ["heidi.meyer@example.com", "found Heidi Upper <Heidi.MEYER@Example.COM>"],
    ["bare@example.com", "found bare@example.com"],
    ["jörg@bücher.example", "found Jörg Müller <jörg@bücher.example>"],
    ["jörg@xn--bcher-kva.example", "found Jörg Müller <jörg@bücher.example>"],
    ["com@example.alice", "absent"],
    ["lice@example.com", "absent"],
    ["alice@example.co", "absent"],
    ["alice@example.com.example", "absent"],
    ["pgp@example.com", "absent"],
    ["gone@example.com", "absent"],
    ["rupert@example.com", "found revoked"],
    ["erin@example.com", "found expired"],
  ])("of sixteen people's keys, %s: %s", async (address, expected) => {
    expect(await said(all, address)).toBe(expected);
    expect(await said(fixtureBytes("pgp/concat-crlf.asc"), address)).toBe(expected);
  });

  test("a revoked User ID does not name its mailbox, the others of the key do", async () => {
    expect(await said(fixtureBytes("pgp/dave.gpg"), "gone@example.com")).toBe("absent");
    expect(await said(fixtureBytes("pgp/dave.gpg"), "dave@example.com")).toMatch(/^found Dave/);
  });

  test("a User ID that somebody else has put onto a key does not count", async () => {
    const key = await freshKey({ name: "Mallory", email: "mallory@example.org" });
    const forged = Buffer.concat([key, writePacket(13, Buffer.from(`Alice <${ALICE}>`))]);
    expect(await said(forged)).toBe("absent");
    expect(await said(forged, "mallory@example.org")).toMatch(/^found Mallory/);
  });

  test("a key of which the only User ID has no signature is passed over, and said so", async () => {
    const key = await freshKey({ email: "x@example.org" });
    const primary = key.subarray(0, packetEnd(key));
    const forged = Buffer.concat([primary, writePacket(13, Buffer.from(ALICE))]);
    expect(await said(forged)).toMatch(/^absent \(no User ID of key [0-9a-f]{40} has a valid self-signature\)$/);
    expect(await said(Buffer.concat([forged, all]))).toMatch(
      /^found Alice Pgp <.*>, Olaf Old <.*> \(no User ID of key/,
    );
  });

  test("a copy without User IDs that holds the revocation counts", async () => {
    const { privateKey: key } = await generateKey({
      userIDs: [{ email: ALICE }],
      ...{ type: "curve25519", format: "object", date: MADE },
    });
    const { publicKey } = await revokeKey({ key, format: "object", date: MADE });
    const whole = key.toPublic().write();
    // primary key and revocation come first
    const bare = publicKey.write().subarray(0, publicKey.write().length - (whole.length - packetEnd(whole)));
    expect(await said(whole)).toBe(`found <${ALICE}>`);
    expect(await said(bare)).toBe("absent");
    expect(await said(Buffer.concat([whole, bare]))).toBe("found revoked");
    expect(await said(Buffer.concat([bare, all, whole]))).toMatch(/^found .*revoked/);
  });
});

/** Where the packet at `at` ends. */
function packetEnd(bytes: Uint8Array, at = 0): number {
  const packet = readPacket(bytes, at);
  if ("fault" in packet) throw new Error(packet.fault);
  return packet.end;
}

describe("LOOK-16: what is no key", () => {
  test.each([
    ["nothing", "", "answered with nothing instead of a key"],
    [
      "a web page",
      "<!DOCTYPE html><html><body>alice@example.com</body></html>",
      "answered with a web page instead of a key",
    ],
    ["a bare web page", "\n <html>login</html>", "answered with a web page instead of a key"],
    ["a sentence", "no keys found", "answered with something else instead of a key"],
    ["one cut packet", Buffer.from([0x99, 1, 2, 3, 4]), "answered with something else instead of a key"],
    [
      "a message",
      "-----BEGIN PGP MESSAGE-----\n\nwcA=\n-----END PGP MESSAGE-----\n",
      "answered with an OpenPGP message instead of a key",
    ],
    ["secret keys", fixtureBytes("pgp/all-secret.asc"), "answered with an OpenPGP private key block instead of a key"],
    ["a certificate", fixtureBytes("smime/certs/alice.der"), "answered with something else instead of a key"],
  ])("%s fails", async (_what, body, sentence) => {
    expect(await said(body)).toBe(sentence);
  });

  test("binary secret keys are not used, the public ones beside them are", async () => {
    const { privateKey } = await generateKey({
      userIDs: [{ email: ALICE }],
      type: "curve25519",
      format: "binary",
      date: MADE,
    });
    expect(await said(privateKey)).toBe("answered with a secret key instead of a key");
    expect(await said(Buffer.concat([privateKey, fixtureBytes("pgp/bob.gpg")]))).toBe("absent (a secret key)");
    expect(await said(Buffer.concat([privateKey, all]))).toBe(
      "found Alice Pgp <alice@example.com>, Olaf Old <alice@example.com> (a secret key)",
    );
  });

  test("an answer that is cut off anywhere is never taken for one without a key", async () => {
    const binary = fixtureBytes("pgp/alice.gpg");
    const armor = fixtureBytes("pgp/alice-two-keys.asc");
    const { end } = [...splitRing(binary)][0]!;
    for (let at = 0; at < binary.length; at += 37) {
      const outcome = await said(binary.subarray(0, at));
      if (at !== end) expect([at, outcome]).toEqual([at, expect.stringMatching(/^answered with|^found/)]);
    }
    for (let at = 0; at < armor.length - 40; at += 97) {
      expect(await said(armor.subarray(0, at))).toMatch(/^answered with/);
    }
  });

  test("an armored answer of which one octet changed on its way fails", async () => {
    const armor = Buffer.from(fixtureBytes("pgp/alice-two-keys.asc"));
    armor[400] = armor[400] === 0x41 ? 0x42 : 0x41;
    expect(await said(armor)).toBe(
      "answered with a damaged key block (the checksum of the armor is wrong) instead of a key",
    );
  });
});

describe("LOOK-08, LOOK-11: answers of many and of large keys", () => {
  test("of a revoked key, a good one and another's, those that name the mailbox are given, each with its reason", async () => {
    const three = Buffer.concat(["rupert@", "alice@", "bob@"].flatMap(keysOf));
    expect(await said(three)).toBe("found Alice Pgp <alice@example.com>, Olaf Old <alice@example.com>");
    expect(await said(three, "rupert@example.com")).toBe("found revoked");
  });

  test("fifty keys of a mailbox are read, among any number of other keys; more are too many", async () => {
    const some = await Promise.all(Array.from({ length: 50 }, () => freshKey({ email: "many@example.com" })));
    const others = Array.from({ length: 40 }, () => all);
    const answer = await keysInAnswer(
      Buffer.concat([...others, ...some]),
      mailbox("many@example.com"),
      FIXTURE_TIME + 60_000,
    );
    expect(answer.kind === "found" && answer.value.length).toBe(50);
    const more = Buffer.concat([...some, await freshKey({ email: "many@example.com" })]);
    expect(await said(more, "many@example.com")).toBe("answered with 51 keys; at most 50 are read");
  });

  test("a key beyond the measure fails when it is the mailbox's, and is passed over when it is another's", async () => {
    const key = await freshKey({ email: "big@example.com" });
    const read = await readKey({ binaryKey: key });
    const certification = writePacket(2, read.users[0]!.selfCertifications[0]!.write());
    const userIdEnd = packetEnd(key, packetEnd(key));
    const bloated = Buffer.concat([
      key.subarray(0, userIdEnd),
      ...Array.from({ length: 250 }, () => certification),
      key.subarray(userIdEnd),
    ]);
    expect(await said(bloated, "big@example.com")).toMatch(
      /^answered with a key that cannot be read: the key has 25\d packets .* at most 200 and/,
    );
    expect(await said(Buffer.concat([bloated, all]))).toMatch(/^found Alice/);
  });

  test("a damaged key that holds the address fails, one that does not is passed over", async () => {
    const damaged = Buffer.from(fixtureBytes("pgp/bob.gpg"));
    // the version of the primary key, and one length after it
    damaged.fill(0xff, 3, 12);
    expect(await said(Buffer.concat([damaged, fixtureBytes("pgp/carol.gpg")]), "bob@example.com")).toMatch(
      /^answered with a key that cannot be read|^absent \(keys of version 255/,
    );
    expect(await said(Buffer.concat([damaged, fixtureBytes("pgp/alice.gpg")]))).toMatch(/^found Alice/);
  });
});

describe("H1: an answer of which one copy of the mailbox's key cannot be read", () => {
  const packetsOf = (bytes: Uint8Array) => {
    const packets: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at = packetEnd(bytes, at))
      packets.push(bytes.subarray(at, packetEnd(bytes, at)));
    return packets;
  };
  const twoCopies = async () => {
    const { privateKey: key } = await generateKey({
      userIDs: [{ email: "tess@example.com" }],
      ...{ type: "curve25519", format: "object", date: MADE },
    });
    const live = key.toPublic().write();
    const revoked = (await revokeKey({ key, format: "object", date: MADE })).publicKey.write();
    const certification = key.users[0]!.selfCertifications[0]!.write();
    const forged = (from: number, count: number) =>
      Array.from({ length: count }, (_, at) => {
        const body = Buffer.from(certification);
        body.writeUInt32BE(from + at, body.length - 4);
        return writePacket(2, body);
      });
    return { live, revoked, forged };
  };

  test("too large, too large together or with a hole: it fails, also beside another good key of the mailbox", async () => {
    const { live, revoked, forged } = await twoCopies();
    const [primary, revocation] = packetsOf(revoked) as [Uint8Array, Uint8Array];
    const other = await freshKey({ email: "tess@example.com" });
    for (const [parts, reason] of [
      [[live, revoked, ...forged(0, 200)], /another copy of key [0-9a-f]{40} cannot be read: the key has 20\d packets/],
      [[live, ...forged(0, 120), revoked, ...forged(120, 120)], /another copy of key .*: the key has 24\d packets/],
      [[live, primary, Buffer.from([1]), revocation], /the key is damaged near octet \d+$/],
      [[primary, Buffer.from([1]), revocation, live], /the key is damaged near octet \d+$/],
      [[other, live, primary, Buffer.from([1]), revocation], /the key is damaged near octet \d+$/],
      [[live, revoked, ...forged(0, 200), other], /another copy of key/],
    ] as const) {
      const body = Buffer.concat(parts);
      expect(await said(body, "tess@example.com")).toMatch(reason);
      expect(await keysInAnswer(body, mailbox("tess@example.com"), FIXTURE_TIME)).toMatchObject({ isOnlyHere: true });
      // somebody else's key beside it is another matter
      expect(await said(Buffer.concat([body, fixtureBytes("pgp/alice.gpg")]))).toMatch(/^found Alice/);
    }
    expect(await said(Buffer.concat([live, revoked]), "tess@example.com")).toBe("found revoked");
  });
});

describe("C1: answers made to keep a reader busy", () => {
  test("more than a thousand signatures, or a hundred slow ones, of all keys together are not verified", async () => {
    const many = Array.from({ length: 6 }, () => certified(rsaBody(2048), ALICE, { count: 170 }));
    expect(await said(Buffer.concat(many))).toBe(
      "answered with keys with 1020 signatures of their own; at most 1000 are read",
    );
    const slow = Array.from({ length: 3 }, () => certified(dsaBody(1024, 160), ALICE, { count: 34 }));
    expect(await said(Buffer.concat(slow))).toBe(
      "answered with keys with 102 signatures that are slow to verify; at most 100 are read",
    );
    expect(await said(Buffer.concat([...many, ...slow]), "bob@example.com")).toBe("absent");
  });

  test("a key of such a size is set aside, and the good one beside it is found", async () => {
    const body = Buffer.concat([certified(dsaBody(8192), ALICE, { count: 1 }), fixtureBytes("pgp/alice.gpg")]);
    expect(await said(body)).toMatch(/^found Alice .*\(keys of DSA with 8192 bits are not supported\)$/);
  });
});

describe("H5: failures that are about one mailbox only", () => {
  const alice = fixtureBytes("pgp/alice.gpg");
  const first = alice.subarray(0, [...splitRing(alice)][0]!.end);
  const bloated = certified(rsaBody(2048), ALICE, { count: 201 });
  test.each([
    ["a key that is cut off", alice.subarray(0, 300), true],
    ["a damaged block", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!\n-----END PGP PUBLIC KEY BLOCK-----\n", true],
    ["a message", "-----BEGIN PGP MESSAGE-----\n\nwcA=\n-----END PGP MESSAGE-----\n", true],
    ["secret keys", fixtureBytes("pgp/alice-secret.asc"), true],
    ["a key too large to read", bloated, true],
    ["a key with a hole", Buffer.concat([first.subarray(0, 150), first.subarray(160)]), true],
    ["too many keys", Buffer.concat(Array.from({ length: 51 }, () => alice)), true],
    ["nothing", "", undefined],
    ["a web page", "<html>log in</html>", undefined],
    ["a sentence", "no keys found", undefined],
  ])("%s", async (_what, body, isOnlyHere) => {
    const answer = await keysInAnswer(Buffer.from(body), mailbox(ALICE), FIXTURE_TIME);
    expect([answer.kind, answer.isOnlyHere]).toEqual(["failed", isOnlyHere]);
  });
});
