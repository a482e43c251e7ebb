// Keys out of attachments and Autocrypt fields, and whose addresses a certificate that came along may speak for.
import { enums, generateKey, type PrivateKey } from "openpgp";
import { afterAll, describe, expect, test } from "vitest";
import { readPgpCertificate } from "../../src/pgp/certificate.ts";
import { autocryptKey, candidatesIn, type OfferedKey } from "../../src/pgp/offered-certificates.ts";
import { writePacket } from "../../src/pgp/packets.ts";
import { verifyPgpSignature } from "../../src/pgp/signed-message.ts";
import { fixtureBytes } from "../fixtures.ts";
import { fixtureCertificates, NOW, ringOf } from "./fixture-keys.ts";
import { gnupgHome } from "./gnupg.ts";
import { DAY_MS, madeKey, signatureOver, signaturePacket } from "./made-signatures.ts";
import { detachedSignature, exportedKeys, pgpSignedMail, textPart } from "./signed-mail.ts";

const certificates = await fixtureCertificates();
const alice = certificates.get("alice")!;
const home = gnupgHome(true);
afterAll(() => home.close());

const CONTENT = textPart("Hello.");

function keysIn(attachment: Uint8Array): readonly OfferedKey[] {
  const found = candidatesIn(attachment);
  if ("fault" in found) throw new Error(found.fault);
  return found;
}

async function fingerprintsIn(attachment: Uint8Array) {
  return Promise.all(keysIn(attachment).map(async ({ bytes }) => (await readPgpCertificate(bytes, NOW)).fingerprint));
}

describe("attachments", () => {
  test.each(["all.asc", "all.gpg", "concat.asc", "concat-crlf.asc", "all-minimal.asc"])(
    "%s gives the sixteen keys that the key store reader finds in it",
    async (file) => {
      const bytes = fixtureBytes(`pgp/${file}`);
      const expected = (await ringOf(bytes)).certificates.map(({ fingerprint }) => fingerprint);
      expect((await fingerprintsIn(bytes)).toSorted()).toEqual(expected.toSorted());
      expect(keysIn(bytes).map(({ isSecret }) => isSecret)).toEqual(Array(16).fill(false));
    },
  );

  test("gpg's armored and binary exports of two keys give the two, and the signer's makes the signature good", async () => {
    const names = ["alice@example.com", "bob@example.com"];
    const signature = detachedSignature(home, CONTENT, { signer: alice.fingerprint, signedAt: NOW });
    for (const form of ["armored", "binary"] as const) {
      const keys = keysIn(exportedKeys(home, names, form));
      // alice's address is in two keys
      expect(keys.length).toBe(3);
      const verdict = await verifyPgpSignature(
        CONTENT,
        signature,
        keys.map(({ bytes }) => bytes),
        NOW,
      );
      expect(verdict).toMatchObject({ kind: "good", certificate: { fingerprint: alice.fingerprint } });
    }
  });

  test("HARV-38: secret keys are flagged, whole or with damaged armor, and public ones beside them are not", async () => {
    const key = await madeKey();
    const armor = key.armor();
    const both = Buffer.concat([key.toPublic().write(), key.write()]);
    expect(keysIn(Buffer.from(armor)).map(({ isSecret }) => isSecret)).toEqual([true]);
    expect(keysIn(both).map(({ isSecret }) => isSecret)).toEqual([false, true]);
    expect(keysIn(Buffer.from(armor.slice(0, 200)))).toEqual([{ bytes: new Uint8Array(0), isSecret: true }]);
    expect(keysIn(both.subarray(0, -3)).map(({ isSecret }) => isSecret)).toEqual([false, true]);
    expect(keysIn(fixtureBytes("pgp/all-secret.asc")).every(({ isSecret }) => isSecret)).toBe(true);
  });

  test("a damaged key does not hide the one behind it", () => {
    const damaged = Buffer.from(certificates.get("bob")!.bytes);
    damaged.writeUInt8(0, 0);
    const keys = keysIn(Buffer.concat([damaged, alice.bytes]));
    expect(keys.some(({ bytes }) => Buffer.compare(bytes, alice.bytes) === 0)).toBe(true);
  });

  test.each([
    ["nothing", Buffer.alloc(0), /no OpenPGP key/],
    ["text", Buffer.from("hello"), /no OpenPGP key/],
    [
      "an armored signature",
      Buffer.from("-----BEGIN PGP SIGNATURE-----\n\niA==\n-----END PGP SIGNATURE-----\n"),
      /no OpenPGP key/,
    ],
    [
      "HARV-32: more than 2 MiB",
      Buffer.concat([alice.bytes, Buffer.alloc(2 * 1024 * 1024)]),
      /at most 2097152 are read/,
    ],
    ["more than 1000 keys", Buffer.concat(Array.from({ length: 1001 }, () => alice.bytes)), /more than 1000 keys/],
  ])("%s is a fault", (_, attachment, fault) => {
    expect(candidatesIn(attachment)).toEqual({ fault: expect.stringMatching(fault) as string });
  });

  test("HARV-32: a key with two thousand third-party certifications still verifies, without them", async () => {
    const certification = (await madeKey()).toPublic().users[0]!.selfCertifications[0]!.write();
    const flood = Buffer.concat(Array.from({ length: 2000 }, () => writePacket(2, certification)));
    const flooded = Buffer.concat([alice.bytes, flood]);
    const signature = detachedSignature(home, CONTENT, { signer: alice.fingerprint, signedAt: NOW });
    const verdict = await verifyPgpSignature(
      CONTENT,
      signature,
      keysIn(flooded).map(({ bytes }) => bytes),
      NOW,
    );
    expect(verdict.kind === "good" && verdict.certificate.bytes.length).toBe(alice.bytes.length);
  });

  test.each([
    ["third-party certifications", 3000, (key: PrivateKey) => key.users[0]!.selfCertifications[0]!.write(), 2],
    ["subkeys", 300, (key: PrivateKey) => key.toPublic().subkeys[0]!.keyPacket.write(), 14],
  ] as const)(
    "HARV-32: a key with so many %s that it is too large is refused unread",
    async (_, length, bodyOf, tag) => {
      const other = await madeKey();
      const packets = Array.from({ length }, (_none, index) => {
        const body = Buffer.from(bodyOf(other));
        // each another key
        if (tag === 14) body.writeUInt32BE(index, 1);
        return writePacket(tag, body);
      });
      const signature = detachedSignature(home, CONTENT, { signer: alice.fingerprint, signedAt: NOW });
      const verdict = await verifyPgpSignature(CONTENT, signature, [Buffer.concat([alice.bytes, ...packets])], NOW);
      expect(verdict).toEqual({
        kind: "refused",
        reason: expect.stringMatching(/too large; at most 524288/) as string,
      });
    },
  );

  test("HARV-32: a key with more than 200 packets of its own is refused", async () => {
    const key = await madeKey();
    const own = writePacket(2, key.toPublic().users[0]!.selfCertifications[0]!.write());
    const flooded = Buffer.concat([key.toPublic().write(), ...Array.from({ length: 300 }, () => own)]);
    const verdict = await verifyPgpSignature(CONTENT, await signatureOver(CONTENT, key.keyPacket), [flooded], NOW);
    expect(verdict).toEqual({ kind: "refused", reason: expect.stringMatching(/at most 200/) as string });
  });
});

describe("mails made for other tests", () => {
  test.each(["inside", "beside"] as const)(
    "one with two keys %s holds them in their place, and its signature is good",
    (keysStand) => {
      const keys = [exportedKeys(home, ["bob"], "armored"), exportedKeys(home, ["peter"], "binary")];
      const from = "Bob <bob@example.com>";
      const mail = pgpSignedMail(home, { from, signer: "bob@example.com", signedAt: NOW, keys, keysStand }).toString();
      const [, inner] = /boundary="=_signed_part"\r\n\r\n([^]*)$/.exec(mail)!;
      const [, signed, rest] = inner!.split("--=_signed_part");
      const content = Buffer.from(signed!.slice(2, -2));
      const [armor] = /-----BEGIN PGP SIGNATURE[^]*END PGP SIGNATURE-----/.exec(rest!)!;
      expect(content.includes("application/pgp-keys")).toBe(keysStand === "inside");
      expect(mail.match(/application\/pgp-keys/g)).toHaveLength(2);
      expect(mail).not.toMatch(/[^\r]\n/);
      return expect(
        verifyPgpSignature(content, Buffer.from(armor), [certificates.get("bob")!.bytes], NOW),
      ).resolves.toMatchObject({ kind: "good" });
    },
  );
});

describe("whose the certificate of a good verdict is", () => {
  async function addressesWith(userId: string) {
    const key = await madeKey({ userIDs: [{ email: "own@example.com" }] });
    const packet = { userID: { write: () => Buffer.from(userId) } };
    const certification = await signaturePacket(
      key.keyPacket,
      { key: key.keyPacket, ...packet },
      {
        type: enums.signature.certGeneric,
        created: NOW - DAY_MS,
        change: (made) => {
          made.keyFlags = new Uint8Array([enums.keyFlags.certifyKeys | enums.keyFlags.signData]);
        },
      },
    );
    const revocation = await signaturePacket(
      key.keyPacket,
      { key: key.keyPacket, ...packet },
      {
        type: enums.signature.certRevocation,
        created: NOW - DAY_MS / 2,
      },
    );
    const signature = await signatureOver(CONTENT, key.keyPacket);
    const [own, ...rest] = [key.toPublic().write(), writePacket(13, Buffer.from(userId))];
    const judge = async (...more: Uint8Array[]) => {
      const verdict = await verifyPgpSignature(CONTENT, signature, [Buffer.concat([own, ...rest, ...more])], NOW);
      return verdict.kind === "good"
        ? verdict.certificate.addresses.filter((one) => one !== "own@example.com")
        : verdict;
    };
    const signed = writePacket(2, certification.write());
    return {
      signed: await judge(signed),
      unsigned: await judge(),
      revoked: await judge(signed, writePacket(2, revocation.write())),
    };
  }

  test.each([
    ["Victim <victim@corp.test>", ["victim@corp.test"]],
    ["victim@corp.test", ["victim@corp.test"]],
    ["victim@corp.test <att@evil.test>", ["att@evil.test"]],
    ["A (victim@corp.test) <att@evil.test>", ["att@evil.test"]],
    ["x <victim@corp.test\0.evil.test>", []],
    ["x <victim@corp.test> y", []],
    ["victim@corp.test\n", []],
    ["x <victim@corp.test, att@evil.test>", []],
  ])("HARV-25: User ID %j speaks for %j when signed, for nobody when not signed or revoked", async (userId, signed) => {
    expect(await addressesWith(userId)).toEqual({ signed, unsigned: [], revoked: [] });
  });

  test("HARV-25: an address in a user attribute is none", async () => {
    const key = await madeKey();
    const attribute = writePacket(17, Buffer.from("\x14\x01<victim@corp.test>"));
    const bytes = Buffer.concat([key.toPublic().write(), attribute]);
    const verdict = await verifyPgpSignature(CONTENT, await signatureOver(CONTENT, key.keyPacket), [bytes], NOW);
    expect(verdict).toMatchObject({ kind: "good", certificate: { addresses: ["tess@example.com"] } });
  });
});

describe("HARV-43: Autocrypt fields", () => {
  const keydata = Buffer.from(alice.bytes).toString("base64");
  const folded = keydata.replace(/.{70}/g, "$& ");

  test.each([
    ["plain", `addr=alice@example.com; keydata=${keydata}`],
    ["with preference", `addr=alice@example.com; prefer-encrypt=mutual; keydata=${keydata}`],
    ["folded", ` addr=alice@example.com;prefer-encrypt=mutual;\tkeydata= ${folded}`],
    ["with a passed-over attribute", `_x=1; addr=alice@example.com; keydata=${keydata}`],
  ])("HARV-43: a field %s gives address and key", (_, value) => {
    expect(autocryptKey(value)).toEqual({ address: "alice@example.com", key: Buffer.from(alice.bytes) });
  });

  test.each([
    ["without addr", `keydata=${keydata}`, /addr .* no address/],
    ["without keydata", "addr=alice@example.com", /not base64/],
    ["with two addr", `addr=alice@example.com; addr=b@example.com; keydata=${keydata}`, /addr twice/],
    ["with an unknown attribute", `addr=alice@example.com; x=1; keydata=${keydata}`, /critical attribute x/],
    ["with keydata before addr", `keydata=${keydata}; addr=alice@example.com`, /not the last/],
    ["with another preference", `addr=alice@example.com; prefer-encrypt=never; keydata=${keydata}`, /not mutual/],
    ["with two addresses", `addr=a@example.com, b@example.com; keydata=${keydata}`, /no address/],
    ["with a display name", `addr=A <a@example.com>; keydata=${keydata}`, /no address/],
    ["with bad base64", `addr=alice@example.com; keydata=${keydata}!`, /not base64/],
    [
      "with two keys",
      `addr=alice@example.com; keydata=${Buffer.concat([alice.bytes, alice.bytes]).toString("base64")}`,
      /more than one key/,
    ],
    ["with no key", "addr=alice@example.com; keydata=aGVsbG8=", /not one key/],
    ["with a trailing semicolon", `addr=alice@example.com; keydata=${keydata};`, /no attribute/],
    ["beyond 10 KiB", `addr=alice@example.com; _x=${"x".repeat(10_240)}; keydata=${keydata}`, /more than 10240/],
    ["empty", "", /no attribute/],
  ])("HARV-43: a field %s is a fault", (_, value, fault) => {
    expect(autocryptKey(value)).toEqual({ fault: expect.stringMatching(fault) as string });
  });

  test("HARV-43, HARV-38: a secret key in it is a fault", async () => {
    const { privateKey } = await generateKey({ userIDs: [{ email: "a@example.com" }], format: "object" });
    const value = `addr=a@example.com; keydata=${Buffer.from(privateKey.write()).toString("base64")}`;
    expect(autocryptKey(value)).toEqual({ fault: expect.stringMatching(/secret key/) as string });
  });
});
