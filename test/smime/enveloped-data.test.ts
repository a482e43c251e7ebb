// What is encrypted here is decrypted by openssl and BouncyCastle, for every kind of key, cipher and size.
import fc from "fast-check";
import { randomBytes } from "node:crypto";
import { afterAll, describe, expect, test } from "vitest";
import { CHUNK_BYTES, collect, sizedBytes, type Sized } from "../../src/mail/chunks.ts";
import { parseCertificate, type Certificate } from "../../src/smime/certificate.ts";
import { envelopedData, type EnvelopedDataOptions } from "../../src/smime/enveloped-data.ts";
import { readEnvelopedShape, isWholeEnveloped } from "../../src/smime/enveloped-shape.ts";
import { readerId, recipientInfoFor } from "../../src/smime/recipient-info.ts";
import { fixtureBytes } from "../fixtures.ts";
import { bouncyCastle, opensslDecrypt, opensslPrint } from "./decrypters.ts";

const java = bouncyCastle();
afterAll(() => java.close());

const certificate = (name: string): Certificate => parseCertificate(fixtureBytes(`smime/certs/${name}.der`));
const RSA = ["alice", "alice-new", "quinn"];
const EC = ["bob", "bob384", "bob521"];
const CIPHERS = ["aes256-cbc", "aes256-gcm"] as const;
const CBC: EnvelopedDataOptions = { contentEncryption: "aes256-cbc", keyTransport: "rsa-pkcs1" };
const GCM: EnvelopedDataOptions = { contentEncryption: "aes256-gcm", keyTransport: "rsa-pkcs1" };

/** Of the announced size, whatever the chunks are. */
const sizedChunks = (size: number, chunks: readonly Uint8Array[]): Sized => ({
  size,
  // eslint-disable-next-line @typescript-eslint/require-await
  async *chunks() {
    yield* chunks;
  },
});

async function encrypt(plain: Uint8Array, names: readonly string[], options: EnvelopedDataOptions): Promise<Buffer> {
  const sized = envelopedData(sizedBytes(plain), names.map(certificate), options);
  const cms = await collect(sized);
  expect(cms.length).toBe(sized.size);
  return cms;
}

const COMBINATIONS = CIPHERS.flatMap((contentEncryption) => [
  ...RSA.flatMap((name) =>
    (["rsa-pkcs1", "rsa-oaep"] as const).map((keyTransport) => ({ name, contentEncryption, keyTransport })),
  ),
  ...EC.map((name) => ({ name, contentEncryption, keyTransport: "rsa-pkcs1" as const })),
]);

describe.concurrent.each(COMBINATIONS)("$contentEncryption for $name ($keyTransport)", ({ name, ...options }) => {
  const plain = randomBytes(100_000);
  test("is decrypted by openssl", async () => {
    expect((await opensslDecrypt(await encrypt(plain, [name], options), name)).equals(plain)).toBe(true);
  });
  test("is decrypted by BouncyCastle", async () => {
    expect((await java.decrypt(await encrypt(plain, [name], options), name)).equals(plain)).toBe(true);
  });
  test("says what it is", async () => {
    const cms = await encrypt(plain, [name], options);
    expect(readEnvelopedShape(cms.subarray(0, 3000))).toMatchObject({
      type: options.contentEncryption === "aes256-gcm" ? "auth-enveloped" : "enveloped",
      contentEncryption:
        options.contentEncryption === "aes256-gcm" ? "2.16.840.1.101.3.4.1.46" : "2.16.840.1.101.3.4.1.42",
      readerIds: [readerId(certificate(name))],
      totalSize: cms.length,
    });
    expect(isWholeEnveloped(cms)).toBe(true);
    expect(cms.includes(plain.subarray(500, 516))).toBe(false);
  });
});

describe.each(CIPHERS)("%s", (contentEncryption) => {
  test.each([0, 1, 15, 16, 17, 65_535, 65_536, 65_537, 5_000_000])(
    "of %d octets is decrypted by openssl",
    async (size) => {
      const plain = randomBytes(size);
      for (const name of ["alice", "bob"]) {
        const cms = await encrypt(plain, [name], { contentEncryption, keyTransport: "rsa-pkcs1" });
        expect((await opensslDecrypt(cms, name)).equals(plain)).toBe(true);
      }
    },
  );

  test.each([0, 16, 65_537])("of %d octets is decrypted by BouncyCastle", async (size) => {
    const plain = randomBytes(size);
    const cms = await encrypt(plain, ["alice"], { contentEncryption, keyTransport: "rsa-oaep" });
    expect((await java.decrypt(cms, "alice")).equals(plain)).toBe(true);
  });

  test("for several readers is decrypted by each of them and by nobody else", async () => {
    const plain = randomBytes(1000);
    const names = ["quinn", "bob", "alice", "bob521", "alice-new"];
    const cms = await encrypt(plain, names, { contentEncryption, keyTransport: "rsa-pkcs1" });
    for (const name of names) expect((await opensslDecrypt(cms, name)).equals(plain)).toBe(true);
    await expect(opensslDecrypt(cms, "heidi")).rejects.toThrow("openssl exits with");
    const ids = readEnvelopedShape(cms).readerIds;
    expect([...ids].sort()).toEqual(names.map((name) => readerId(certificate(name))).sort());
  });

  test("whatever the content and its chunks are, openssl gives the content back", async () => {
    const chunks = fc.array(fc.uint8Array({ maxLength: 300, size: "max" }), { maxLength: 8 });
    const property = fc.asyncProperty(chunks, fc.constantFrom("alice", "bob"), async (parts, name) => {
      const plain = Buffer.concat(parts);
      const options = { contentEncryption, keyTransport: "rsa-pkcs1" } as const;
      const cms = await collect(envelopedData(sizedChunks(plain.length, parts), [certificate(name)], options));
      expect((await opensslDecrypt(cms, name)).equals(plain)).toBe(true);
    });
    await fc.assert(property, { numRuns: 25 });
  });
});

test("openssl finds a GCM message changed in one octet of the content or of the tag", async () => {
  const cms = await encrypt(randomBytes(1000), ["alice"], GCM);
  for (const fromEnd of [1, 500]) {
    const changed = Buffer.from(cms);
    changed[cms.length - fromEnd] = (changed.at(-fromEnd) ?? 0) ^ 1;
    await expect(opensslDecrypt(changed, "alice")).rejects.toThrow("openssl exits with");
  }
});

test.each([
  ["RSA readers alone: version 0", ["alice", "quinn"], CBC, /envelopedData: \n\s*version: 0\n/],
  ["an EC reader among them: version 2", ["alice", "bob"], CBC, /envelopedData: \n\s*version: 2\n/],
  ["AuthEnvelopedData: version 0 always", ["alice", "bob"], GCM, /authEnvelopedData: \n\s*version: 0\n/],
])("%s", async (_, names, options, expected) => {
  expect(opensslPrint(await encrypt(randomBytes(10), names, options))).toMatch(expected);
});

test("RSA-OAEP is announced with SHA-256 in both places", async () => {
  const shown = opensslPrint(await encrypt(randomBytes(10), ["alice"], { ...CBC, keyTransport: "rsa-oaep" }));
  expect(shown).toMatch(/rsaesOaep/);
  expect(shown.match(/:sha256/g)).toHaveLength(2);
});

test("the readers stand in the order of DER, whatever the order they are given in", async () => {
  const names = ["bob", "alice", "quinn", "alice-new"];
  const shape = async (order: string[]) => readEnvelopedShape(await encrypt(randomBytes(10), order, CBC)).readerIds;
  expect(await shape(names)).toEqual(await shape(names.toReversed()));
});

test("no chunk is larger than 64 KiB, not even a head with 500 readers", async () => {
  const readers = Array.from({ length: 500 }, () => certificate("quinn"));
  const cms = envelopedData(sizedBytes(randomBytes(200_000)), readers, CBC);
  let size = 0;
  for await (const chunk of cms.chunks()) {
    expect(chunk.length).toBeGreaterThan(0);
    expect(chunk.length).toBeLessThanOrEqual(CHUNK_BYTES);
    size += chunk.length;
  }
  expect(size).toBe(cms.size);
});

test("the plaintext is read as the ciphertext is, never ahead", async () => {
  let read = 0;
  const plain: Sized = {
    size: 20 * CHUNK_BYTES,
    // eslint-disable-next-line @typescript-eslint/require-await
    async *chunks() {
      for (; read < 20;) {
        read += 1;
        yield Buffer.alloc(CHUNK_BYTES, read);
      }
    },
  };
  let written = 0;
  for await (const chunk of envelopedData(plain, [certificate("alice")], CBC).chunks()) {
    expect(chunk.length).toBeGreaterThan(0);
    written += 1;
    expect(read).toBeLessThan(written + 1);
  }
});

test.each([CBC, GCM])(
  "the octets are the same at each reading, and others for the next message ($contentEncryption)",
  async (options) => {
    const plain = sizedBytes(randomBytes(200_000));
    const first = envelopedData(plain, [certificate("alice")], options);
    const bytes = await collect(first);
    expect((await collect(first)).equals(bytes)).toBe(true);
    const second = await collect(envelopedData(plain, [certificate("alice")], options));
    expect(second.length).toBe(bytes.length);
    expect(second.subarray(-1000).equals(bytes.subarray(-1000))).toBe(false);
  },
);

describe.each([CBC, GCM])("plaintext that does not keep its word ($contentEncryption)", (options) => {
  const reading = (announced: number, ...chunks: Uint8Array[]) =>
    collect(envelopedData(sizedChunks(announced, chunks), [certificate("alice")], options));
  test("stops the writing when it is too long, before the surplus is encrypted", async () => {
    await expect(reading(5, Buffer.alloc(5), Buffer.alloc(1))).rejects.toThrow(
      "plaintext has more octets than the 5 it announced",
    );
  });
  test("stops the writing when it is too short", async () => {
    await expect(reading(5, Buffer.alloc(4))).rejects.toThrow("plaintext ends 1 octets before the 5 it announced");
    await expect(reading(1)).rejects.toThrow("plaintext ends 1 octets before the 1 it announced");
  });
});

test.each(["bobbp", "xavier", "edith", "peggy"])("nothing is encrypted to %s, whose key is unsupported", (name) => {
  expect(() => envelopedData(sizedBytes(Buffer.alloc(1)), [certificate("alice"), certificate(name)], CBC)).toThrow(
    /^nothing can be encrypted to the .+ key of CN=/,
  );
});

test("nothing is encrypted to nobody", () => {
  expect(() => envelopedData(sizedBytes(Buffer.alloc(1)), [], CBC)).toThrow("without a recipient");
});

test("what is prepared for a certificate is prepared once for each key transport", () => {
  const alice = certificate("alice");
  expect(recipientInfoFor(alice, "rsa-pkcs1")).toBe(recipientInfoFor(alice, "rsa-pkcs1"));
  expect(recipientInfoFor(alice, "rsa-pkcs1")).not.toBe(recipientInfoFor(alice, "rsa-oaep"));
});

test("a certificate with a compressed point is encrypted to as with the whole point", async () => {
  const der = fixtureBytes("smime/certs/bob.der");
  const whole = certificate("bob");
  const at = der.indexOf(Buffer.from("03420004", "hex"));
  expect(at).toBeGreaterThan(0);
  const x = der.subarray(at + 4, at + 36);
  const spki = Buffer.concat([
    Buffer.from("3039301306072a8648ce3d020106082a8648ce3d030107032200", "hex"),
    Buffer.of(((der[at + 67] ?? 0) & 1) === 0 ? 2 : 3),
    x,
  ]);
  const plain = randomBytes(100);
  const cms = await collect(envelopedData(sizedBytes(plain), [{ ...whole, spki }], CBC));
  expect((await opensslDecrypt(cms, "bob")).equals(plain)).toBe(true);
});
