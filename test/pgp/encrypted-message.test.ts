// Encrypted messages are judged by gpg, and by openpgp.js for what gpg 2.2 cannot read.
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { decrypt, generateKey, readMessage, type PrivateKey } from "openpgp";
import { afterAll, describe, expect, test } from "vitest";
import { collect, concatSized, sizedBytes, type Sized } from "../../src/mail/chunks.ts";
import { armored } from "../../src/pgp/armor.ts";
import { readPgpCertificate, type PgpEncryptionKey } from "../../src/pgp/certificate.ts";
import { encryptedMessage } from "../../src/pgp/encrypted-message.ts";
import { isWholeMessage, readerIdOf, readMessageShape } from "../../src/pgp/message-shape.ts";
import { publicKeyEncryptedSessionKey } from "../../src/pgp/pkesk.ts";
import { encryptionKeyOf, fixtureCertificates, NOW, ringOf, secretKeys } from "./fixture-keys.ts";
import { gnupgHome } from "./gnupg.ts";

const certificates = await fixtureCertificates();
const secrets = await secretKeys();
const keyOf = (name: string) => encryptionKeyOf(certificates.get(name));
const home = gnupgHome(true);
afterAll(() => home.close());

const SIZES = [0, 1, 17, 191, 192, 8383, 8384, 65_535, 65_536, 65_537, 5_000_000];
const V1 = { seipd2: false };
const V2 = { seipd2: true };

async function opened(message: Uint8Array, decryptionKeys: PrivateKey[] = secrets): Promise<Uint8Array> {
  const result = (await decrypt({
    message: await readMessage({ binaryMessage: message }),
    decryptionKeys,
    format: "binary",
    date: new Date(NOW),
  })) as { data: Uint8Array };
  return result.data;
}

function expectGpgOpens(message: Uint8Array, plain: Uint8Array) {
  const { status, stdout, stderr } = home.run(["--decrypt"], message);
  expect(status, stderr).toBe(0);
  expect(Buffer.compare(stdout, plain)).toBe(0);
}

describe("gpg opens SEIPDv1 and ends with 0", () => {
  const cases = ["alice", "olaf", "bob", "peter", "bea"].flatMap((name) => SIZES.map((size) => [name, size] as const));

  test.each(cases)("armored to %s, %d octets", async (name, size) => {
    const plain = randomBytes(size);
    const message = armored(await encryptedMessage(sizedBytes(plain), [keyOf(name)], V1), "MESSAGE");
    const bytes = await collect(message);
    expect(bytes.length).toBe(message.size);
    expectGpgOpens(bytes, plain);
  });

  test.each(SIZES)("binary to alice, %d octets", async (size) => {
    const plain = randomBytes(size);
    expectGpgOpens(await collect(await encryptedMessage(sizedBytes(plain), [keyOf("alice")], V1)), plain);
  });

  test("several readers, among them one whose key gpg does not know", async () => {
    const plain = randomBytes(1000);
    const keys = ["nora", "olaf", "bea"].map(keyOf);
    const message = await collect(await encryptedMessage(sizedBytes(plain), keys, V1));
    expectGpgOpens(message, plain);
    expect(Buffer.compare(await opened(message), plain)).toBe(0);
  });

  test("whatever the content and its chunks", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 6 }), async (chunks) => {
        const plain = concatSized(...chunks.map(sizedBytes));
        const message = armored(await encryptedMessage(plain, [keyOf("alice")], V1), "MESSAGE");
        expectGpgOpens(await collect(message), Buffer.concat(chunks));
      }),
      { numRuns: 15 },
    );
  });

  test.each(["nistp384", "nistp521", "brainpoolP384r1", "brainpoolP512r1", "rsa4096"])("%s", async (algorithm) => {
    const other = gnupgHome(false);
    try {
      const isRsa = algorithm.startsWith("rsa");
      const parameters = isRsa
        ? ["Key-Type: RSA", "Key-Length: 4096", "Key-Usage: sign,encrypt"]
        : ["Key-Type: ECDSA", `Key-Curve: ${algorithm}`, "Subkey-Type: ECDH", `Subkey-Curve: ${algorithm}`];
      const recipe = ["%no-protection", ...parameters, "Name-Email: curve@example.com", "%commit", ""].join("\n");
      const made = other.run(["--faked-system-time", "20261120T000000", "--gen-key"], Buffer.from(recipe));
      expect(made.status, made.stderr).toBe(0);
      const ring = await ringOf(other.run(["--export"]).stdout);
      const plain = randomBytes(5000);
      const key = encryptionKeyOf(ring.certificates[0]);
      const message = await collect(await encryptedMessage(sizedBytes(plain), [key], V1));
      const { status, stdout, stderr } = other.run(["--decrypt"], message);
      expect(status, stderr).toBe(0);
      expect(Buffer.compare(stdout, plain)).toBe(0);
      expect(readMessageShape(message).readerIds).toEqual([key.keyId]);
    } finally {
      other.close();
    }
  });
});

describe("openpgp.js opens", () => {
  test.each(["vera", "nora", "otto", "alice", "olaf", "peter", "bea"])("SEIPDv1 to %s", async (name) => {
    const plain = randomBytes(70_000);
    const message = await collect(await encryptedMessage(sizedBytes(plain), [keyOf(name)], V1));
    expect(Buffer.compare(await opened(message), plain)).toBe(0);
  });

  // PKESK version 6 to keys of either version and every algorithm
  test.each(["vera", "otto", "alice", "olaf", "peter", "bea"])("SEIPDv2 to %s", async (name) => {
    const plain = randomBytes(70_000);
    const message = await collect(await encryptedMessage(sizedBytes(plain), [keyOf(name)], V2));
    expect(readMessageShape(message)).toMatchObject({ seipdVersion: 2, readerIds: [keyOf(name).fingerprint] });
    expect(Buffer.compare(await opened(message), plain)).toBe(0);
  });

  test.each(SIZES.filter((size) => size < 100_000))("SEIPDv2 of %d octets", async (size) => {
    const plain = randomBytes(size);
    const message = await encryptedMessage(sizedBytes(plain), [keyOf("vera"), keyOf("otto")], V2);
    const bytes = await collect(message);
    expect(bytes.length).toBe(message.size);
    expect(Buffer.compare(await opened(bytes), plain)).toBe(0);
  });

  test("SEIPDv2 whose literal packet fills its chunks exactly, and one octet more or less", async () => {
    for (const size of [65_536 - 12, 131_072 - 13, 131_072 - 12, 131_072 - 11]) {
      const plain = randomBytes(size);
      const message = await encryptedMessage(sizedBytes(plain), [keyOf("otto")], V2);
      const bytes = await collect(message);
      expect(bytes.length).toBe(message.size);
      expect(Buffer.compare(await opened(bytes), plain)).toBe(0);
    }
  });

  test.each(["curve25519", "curve448"] as const)("both versions to a v6 key of %s", async (type) => {
    const { privateKey, publicKey } = await generateKey({
      type,
      userIDs: [{ email: "six@example.com" }],
      date: new Date(NOW - 1000),
      format: "object",
      config: { v6Keys: true },
    });
    const key = encryptionKeyOf(await readPgpCertificate(publicKey.write(), NOW));
    for (const options of [V1, V2]) {
      const plain = randomBytes(300);
      const message = await collect(await encryptedMessage(sizedBytes(plain), [key], options));
      expect(Buffer.compare(await opened(message, [privateKey]), plain)).toBe(0);
    }
  });

  test("any content in any chunks, in both versions", async () => {
    const chunks = fc.array(fc.uint8Array({ maxLength: 2000 }), { maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(chunks, fc.boolean(), fc.nat(3), async (parts, seipd2, large) => {
        const all = [...parts, Buffer.alloc(large * 40_000, 0x61), ...parts];
        const message = await encryptedMessage(concatSized(...all.map(sizedBytes)), [keyOf("otto")], { seipd2 });
        const bytes = await collect(message);
        expect(bytes.length).toBe(message.size);
        expect(isWholeMessage(bytes)).toBe(true);
        expect(Buffer.compare(await opened(bytes), Buffer.concat(all))).toBe(0);
      }),
      { numRuns: 40 },
    );
  });
});

describe("the stream", () => {
  test.each([V1, V2])("read twice gives the same octets, made twice gives others: %j", async (options) => {
    const plain = sizedBytes(randomBytes(100_000));
    const one = await encryptedMessage(plain, [keyOf("otto")], options);
    const first = await collect(one);
    expect(Buffer.compare(first, await collect(one))).toBe(0);
    const other = await collect(await encryptedMessage(plain, [keyOf("otto")], options));
    expect(first.length).toBe(other.length);
    expect(Buffer.compare(first.subarray(0, 200), other.subarray(0, 200))).not.toBe(0);
    expect(Buffer.compare(first.subarray(-200), other.subarray(-200))).not.toBe(0);
  });

  test.each([V1, V2])("no chunk is larger than 64 KiB: %j", async (options) => {
    const message = await encryptedMessage(sizedBytes(Buffer.alloc(400_000)), [keyOf("otto")], options);
    let largest = 0;
    for await (const chunk of message.chunks()) largest = Math.max(largest, chunk.length);
    expect(largest).toBeLessThanOrEqual(65_536);
  });

  test.each([
    [V1, 99, /ends 1 octets before/],
    [V1, 101, /more octets than the 100/],
    [V2, 99, /ends 1 octets before/],
    [V2, 101, /more octets than the 100/],
  ])(
    "a plaintext of another length than announced is an error: %j, %d instead of 100",
    async (options, real, error) => {
      const lying: Sized = { size: 100, chunks: () => sizedBytes(Buffer.alloc(real)).chunks() };
      const message = await encryptedMessage(lying, [keyOf("otto")], options);
      await expect(collect(message)).rejects.toThrow(error);
    },
  );

  test("a producer that uses its buffer again does not spoil the message", async () => {
    const shared = Buffer.alloc(50_000);
    const plain: Sized = {
      size: 150_000,
      // eslint-disable-next-line @typescript-eslint/require-await
      async *chunks() {
        for (const octet of [1, 2, 3]) yield shared.fill(octet);
      },
    };
    const expected = Buffer.concat([1, 2, 3].map((octet) => Buffer.alloc(50_000, octet)));
    for (const options of [V1, V2])
      expect(
        Buffer.compare(await opened(await collect(await encryptedMessage(plain, [keyOf("otto")], options))), expected),
      ).toBe(0);
  });

  test("no reader is an error", async () => {
    await expect(encryptedMessage(sizedBytes(Buffer.alloc(1)), [], V1)).rejects.toThrow(/needs a reader/);
  });
});

describe("a session key is not encrypted to", () => {
  const modulus = Buffer.from(keyOf("olaf").packet.subarray(6, 6 + 2 + 256));
  const integer = (...octets: number[]) =>
    Buffer.from([0, (octets.length - 1) * 8 + 32 - Math.clz32(octets[0]!), ...octets]);
  const rsa = (...fields: Buffer[]): PgpEncryptionKey => ({
    ...keyOf("olaf"),
    packet: Buffer.concat([Buffer.from([4, 0, 0, 0, 0, 1]), ...fields]),
  });
  const cv25519 = (point: Buffer): PgpEncryptionKey => {
    const packet = Buffer.from(keyOf("alice").packet);
    point.copy(packet, packet.length - 4 - 32);
    return { ...keyOf("alice"), packet };
  };
  const offCurve = () => {
    const packet = Buffer.from(keyOf("peter").packet);
    packet[packet.length - 5]! ^= 1;
    return { ...keyOf("peter"), packet };
  };

  test.each([
    ["an RSA key with exponent 1", rsa(modulus, integer(1)), /too weak/],
    ["an RSA key with an even exponent", rsa(modulus, integer(4)), /too weak/],
    [
      "an RSA key of 1024 bits",
      rsa(Buffer.concat([Buffer.from([4, 0]), Buffer.alloc(128, 0xff)]), integer(3)),
      /too weak/,
    ],
    ["a curve25519 point of small order", cv25519(Buffer.alloc(32)), /deriv/i],
    ["a P-256 point off its curve", offCurve(), /./],
    ["a packet of another version", { ...keyOf("alice"), version: 6 as const }, /not supported/],
    ["a DSA packet", { ...keyOf("alice"), packet: certificates.get("carol")!.bytes.subarray(3) }, /not supported/],
  ])("%s", (_, key, error) => {
    expect(() => publicKeyEncryptedSessionKey(key, randomBytes(32), 9, 3)).toThrow(error);
  });

  test("the key of a fixture is, as a check that the table above fails for its reasons", () => {
    expect(() => publicKeyEncryptedSessionKey(rsa(modulus, integer(1, 0, 1)), randomBytes(32), 9, 3)).not.toThrow();
    const point = Buffer.from(keyOf("alice").packet.subarray(-36, -4));
    expect(() => publicKeyEncryptedSessionKey(cv25519(point), randomBytes(32), 9, 3)).not.toThrow();
  });
});

test("the reader that the message names is the one readerIdOf says", async () => {
  for (const name of ["alice", "vera", "otto"])
    for (const [options, version] of [
      [V1, 3],
      [V2, 6],
    ] as const) {
      const message = await collect(await encryptedMessage(sizedBytes(Buffer.alloc(9)), [keyOf(name)], options));
      expect(readMessageShape(message).readerIds).toEqual([readerIdOf(keyOf(name), version)]);
    }
});
