// Detached signatures: what gpg and openpgp.js made is judged as gpg judges it, or more strictly with a reason.
import fc from "fast-check";
import { enums, type PrivateKey } from "openpgp";
import { afterAll, describe, expect, test } from "vitest";
import { verifyPgpSignature } from "../../src/pgp/signed-message.ts";
import { fixtureCertificates, NOW, secretKeys } from "./fixture-keys.ts";
import { gnupgHome } from "./gnupg.ts";
import { DAY_MS, madeKey, signatureOver } from "./made-signatures.ts";
import { detachedSignature, textPart } from "./signed-mail.ts";

const MINUTE_MS = 60_000;
const certificates = await fixtureCertificates();
const secrets = await secretKeys();
const home = gnupgHome(true);
afterAll(() => home.close());

const CONTENT = textPart("Hello.\nSecond line.");
const ERIN_TIME = Date.UTC(2021, 0, 1);

const keyOf = (name: string) => certificates.get(name)!.bytes;
const secretOf = (name: string) => secrets.find((key) => key.getFingerprint() === certificates.get(name)!.fingerprint)!;
const bytesOf = (key: PrivateKey) => key.toPublic().write();

function signatureBy(name: string, options: Partial<Parameters<typeof detachedSignature>[2]> = {}) {
  return detachedSignature(home, CONTENT, { signer: certificates.get(name)!.fingerprint, signedAt: NOW, ...options });
}

async function reasonOf(signature: Uint8Array, candidates: readonly Uint8Array[], now = NOW, content = CONTENT) {
  const verdict = await verifyPgpSignature(content, signature, candidates, now);
  return verdict.kind === "good" ? "good" : verdict.reason;
}

describe("by each kind of key", () => {
  test.each([
    ["alice", "Ed25519"],
    ["olaf", "RSA 2048"],
    ["bob", "RSA 3072"],
    ["peter", "P-256"],
    ["bea", "brainpoolP256r1"],
  ])("a signature of gpg by %s (%s) is good in binary and text mode, armored and not", async (name) => {
    for (const isTextMode of [false, true])
      for (const isBinary of [false, true]) {
        const signature = signatureBy(name, { isTextMode, isBinary, digest: isTextMode ? "SHA384" : "SHA512" });
        expect(await verifyPgpSignature(CONTENT, signature, [keyOf(name)], NOW)).toMatchObject({
          kind: "good",
          signedAt: NOW,
          certificate: {
            fingerprint: certificates.get(name)!.fingerprint,
            addresses: certificates.get(name)!.addresses,
            encryption: certificates.get(name)!.encryption,
          },
        });
      }
  });

  test.each([
    ["a version 6 key", { type: "curve25519", config: { v6Keys: true } }],
    ["the new Ed25519", { type: "curve25519" }],
    ["Ed448", { type: "curve448" }],
  ] as const)("a signature of openpgp.js by %s is good over SHA-2 and SHA-3", async (_, options) => {
    const key = await madeKey(options);
    for (const digest of [enums.hash.sha512, enums.hash.sha3_512])
      for (const type of [enums.signature.binary, enums.signature.text])
        expect(await reasonOf(await signatureOver(CONTENT, key.keyPacket, { digest, type }), [bytesOf(key)])).toBe(
          "good",
        );
  });

  test("HARV-20: a signature by carol's DSA key is refused although it verifies for gpg", async () => {
    expect(await reasonOf(signatureBy("carol"), [keyOf("carol")])).toMatch(/algorithm 17 are not accepted/);
  });

  test("HARV-20: a signature by nick's RSA key of 1024 bits is refused", async () => {
    expect(await reasonOf(signatureBy("nick"), [keyOf("nick")])).toMatch(/RSA keys of 1024 bits/);
  });

  test.each(["SHA1", "RIPEMD160", "SHA224"])("HARV-20: a signature over %s is refused", async (digest) => {
    expect(await reasonOf(signatureBy("bob", { digest }), [keyOf("bob")])).toMatch(/over a weak digest, /);
  });

  test("a signature by P-521 is good over SHA-2 and refused over SHA-3, which would block the relay", async () => {
    const key = await madeKey({ curve: "nistP521" });
    expect(await reasonOf(await signatureOver(CONTENT, key.keyPacket), [bytesOf(key)])).toBe("good");
    const slow = await signatureOver(CONTENT, key.keyPacket, { digest: enums.hash.sha3_512 });
    expect(await reasonOf(slow, [bytesOf(key)])).toMatch(/ECDSA over SHA-3/);
  });

  test("HARV-20: a signature over MD5 is refused", async () => {
    const signature = await signatureOver(CONTENT, secretOf("bob").keyPacket, { digest: enums.hash.md5 });
    expect(await reasonOf(signature, [keyOf("bob")])).toMatch(/weak digest, MD5/);
  });
});

describe("which key", () => {
  test("no key, another key and a damaged one give the key id that is missing", async () => {
    const missing = `no key came along for key id ${certificates.get("alice")!.fingerprint.slice(-16)}`;
    const damaged = Buffer.concat([keyOf("alice"), Buffer.from("x")]);
    const two = Buffer.concat([keyOf("alice"), keyOf("bob")]);
    for (const candidates of [[], [keyOf("bob")], [damaged], [two]])
      expect(await reasonOf(signatureBy("alice"), candidates)).toBe(missing);
  });

  test("HARV-07: the signer is found among 500 keys and only its certificate is given", async () => {
    const others = await Promise.all(Array.from({ length: 25 }, () => madeKey().then(bytesOf)));
    const many = Array.from({ length: 500 }, (_, index) => others[index % 25]!);
    const verdict = await verifyPgpSignature(CONTENT, signatureBy("alice"), [...many, keyOf("alice")], NOW);
    expect(verdict).toMatchObject({ certificate: { addresses: ["alice@example.com"] } });
  });

  test("two copies of the signer's key count as one, and a revocation in either makes it refused", async () => {
    const key = await madeKey();
    const revoked = bytesOf(await key.revoke({}, new Date(NOW - MINUTE_MS)));
    const signature = await signatureOver(CONTENT, key.keyPacket);
    expect(await reasonOf(signature, [bytesOf(key), bytesOf(key)])).toBe("good");
    for (const copies of [
      [bytesOf(key), revoked],
      [revoked, bytesOf(key)],
    ])
      expect(await reasonOf(signature, copies)).toMatch(/primary key is revoked/);
  });

  test("HARV-38: the signer's secret key is not used", async () => {
    const key = await madeKey();
    const signature = await signatureOver(CONTENT, key.keyPacket);
    expect(await reasonOf(signature, [key.write()])).toMatch(/came along as a secret key, which is not used/);
  });

  test("HARV-09: of two signatures exactly one may be by a key that came along", async () => {
    const one = signatureBy("alice", { isBinary: true });
    const other = signatureBy("bob", { isBinary: true });
    const both = Buffer.concat([one, other]);
    const spoilt = Buffer.from(both);
    spoilt.writeUInt8(spoilt.at(-1)! ^ 1, spoilt.length - 1);
    expect(await reasonOf(both, [keyOf("alice")])).toBe("good");
    expect(await reasonOf(spoilt, [keyOf("bob")])).toMatch(/does not verify/);
    expect(await reasonOf(both, [keyOf("alice"), keyOf("bob")])).toMatch(/several signatures are by keys/);
    expect(await reasonOf(Buffer.concat([one, one]), [keyOf("alice")])).toMatch(/several signatures are by keys/);
    expect(await reasonOf(both, [keyOf("peter")])).toMatch(/no key came along for key id [0-9a-f]{16}, [0-9a-f]{16}$/);
  });
});

describe("time", () => {
  test("a signature made 14 minutes ahead is good, one of 16 minutes is from the future", async () => {
    const ahead = signatureBy("alice", { signedAt: NOW + 15 * MINUTE_MS });
    expect(await reasonOf(ahead, [keyOf("alice")], NOW + MINUTE_MS)).toBe("good");
    expect(await reasonOf(ahead, [keyOf("alice")], NOW - MINUTE_MS)).toMatch(/from the future, 2026-12-01T00:15/);
  });

  test("erin's signature was good while her key held and is refused since it ended", async () => {
    const signature = signatureBy("erin", { signedAt: ERIN_TIME });
    expect(await reasonOf(signature, [keyOf("erin")], ERIN_TIME)).toBe("good");
    expect(await reasonOf(signature, [keyOf("erin")])).toMatch(/primary key is expired/i);
  });

  test("a signature made after the key ended, or before the key was made, is refused at any time", async () => {
    const late = await signatureOver(CONTENT, secretOf("erin").keyPacket, { created: NOW });
    expect(await reasonOf(late, [keyOf("erin")])).toMatch(/expired/i);
    const early = await signatureOver(CONTENT, secretOf("alice").keyPacket, { created: Date.UTC(2020, 0, 1) });
    expect(await reasonOf(early, [keyOf("alice")])).toMatch(/does not verify: key is newer/);
  });

  test("a signature by rupert's revoked key is refused even when made before the revocation", async () => {
    const { created } = certificates.get("rupert")!;
    const signature = await signatureOver(CONTENT, secretOf("rupert").keyPacket, { created: created + 1000 });
    expect(await reasonOf(signature, [keyOf("rupert")])).toMatch(/primary key is revoked/i);
  });

  test("a signature that has ended itself is refused", async () => {
    const signature = await signatureOver(CONTENT, secretOf("alice").keyPacket, {
      created: NOW - DAY_MS,
      change: (packet) => {
        packet.signatureExpirationTime = 3600;
      },
    });
    expect(await reasonOf(signature, [keyOf("alice")])).toMatch(/does not verify: signature is expired/);
    expect(await reasonOf(signature, [keyOf("alice")], NOW - DAY_MS)).toBe("good");
  });
});

describe("one octet changed", () => {
  test("of the content, anywhere, makes the signature bad, and so does one more or less", async () => {
    const signature = signatureBy("alice");
    for (let at = 0; at < CONTENT.length; at++) {
      const changed = Buffer.from(CONTENT);
      changed.writeUInt8(CONTENT.readUInt8(at) ^ 0x01, at);
      expect(await reasonOf(signature, [keyOf("alice")], NOW, changed)).toMatch(/does not verify/);
    }
    for (const changed of [CONTENT.subarray(1), CONTENT.subarray(0, -1), Buffer.concat([CONTENT, Buffer.from("\n")])])
      expect(await reasonOf(signature, [keyOf("alice")], NOW, changed)).toMatch(/does not verify/);
  });

  test("of signature or key never gives a good verdict that says something else", async () => {
    const [signature, key] = [signatureBy("alice", { isBinary: true }), Buffer.from(keyOf("alice"))];
    const { fingerprint, addresses } = certificates.get("alice")!;
    const bytes = Buffer.concat([signature, key]);
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
        const changed = Buffer.from(bytes);
        changed.writeUInt8(changed.readUInt8(at) ^ mask, at);
        const [first, second] = [changed.subarray(0, signature.length), changed.subarray(signature.length)];
        const verdict = await verifyPgpSignature(CONTENT, first, [second], NOW);
        if (verdict.kind === "refused") return;
        expect(verdict).toMatchObject({ signedAt: NOW, certificate: { fingerprint } });
        expect(addresses).toEqual(expect.arrayContaining([...verdict.certificate.addresses]));
      }),
      { numRuns: 400 },
    );
  });
});
