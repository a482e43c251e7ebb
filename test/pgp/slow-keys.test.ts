// Keys made to keep a reader busy: none may stop other work, whatever its sizes and however many signatures it has.
import { execFileSync } from "node:child_process";
import { createHash, createSign, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readPgpCertificate } from "../../src/pgp/certificate.ts";
import { writePacket } from "../../src/pgp/packets.ts";
import { isEcdsaSignature, readPublicKey } from "../../src/pgp/public-key.ts";
import { verifiedKey } from "../../src/pgp/self-signatures.ts";
import { minimalKey } from "../../src/pgp/transferable-key.ts";
import { contentOf, elementsIn, readElement } from "../../src/smime/der.ts";
import { certified, dsaBody, ecdsaKey, integer, rsaBody, type Signing } from "./forged-keys.ts";
import { fixtureCertificates, NOW } from "./fixture-keys.ts";

const ANN = "Ann <ann@example.com>";

/** What `work` gives, how long other work had to wait at most, how often it had its turn, and how long all took, in milliseconds. */
async function watched<T>(work: Promise<T>) {
  let turns = 0;
  let longestMs = 0;
  let isOver = false;
  const since = performance.now();
  let last = since;
  const look = () => {
    const now = performance.now();
    longestMs = Math.max(longestMs, now - last);
    last = now;
    turns++;
    if (!isOver) setImmediate(look);
  };
  setImmediate(look);
  const outcome = await work.then(
    () => "read",
    (cause: unknown) => (cause as Error).message,
  );
  look();
  isOver = true;
  return { outcome, turns, longestMs, wholeMs: performance.now() - since };
}

const readingOf = (body: Buffer, signing: Signing) => watched(readPgpCertificate(certified(body, ANN, signing), NOW));

describe("C1: a key of which one signature would take seconds is refused before it is looked at", () => {
  test.each([
    ["RSA of more bits than OpenSSL reads", rsaBody(16_392), 11, "keys of RSA with 16392 bits are not supported"],
    ["RSA of a long exponent", rsaBody(8192, 8192), 11, "keys of RSA with an exponent of 8192 bits are not supported"],
    ["DSA of 8192 bits", dsaBody(8192), 8, "keys of DSA with 8192 bits are not supported"],
    ["DSA of the longest integers", dsaBody(65_000), 8, "keys of DSA with 65000 bits are not supported"],
    ["DSA of a large group", dsaBody(3072, 3071), 8, "keys of DSA with a group of 3071 bits are not supported"],
  ])("%s", async (_what, body, digest, reason) => {
    const { outcome, longestMs } = await readingOf(body, {
      count: 1,
      digest,
      sign: () => [integer(2000), integer(2000)],
    });
    expect(outcome).toBe(reason);
    expect(longestMs).toBeLessThan(1_000);
  });

  test("a subkey of such a size is left out, and its signatures with it", async () => {
    const alice = (await fixtureCertificates()).get("alice")!;
    const grown = Buffer.concat([alice.bytes, writePacket(14, dsaBody(8192)), writePacket(14, rsaBody(20_000))]);
    const minimal = minimalKey(grown);
    expect(Buffer.compare(minimal.bytes, alice.bytes)).toBe(0);
    expect(minimal.unreadableSubkeys).toEqual(["DSA with 8192 bits", "RSA with 20000 bits"]);
    expect((await readPgpCertificate(grown, NOW)).encryption.usable).toBe(true);
  });

  test("large keys that people have are not: RSA of 16384 bits, DSA of 3072", () => {
    for (const body of [rsaBody(16_384), rsaBody(16_384, 32), dsaBody(3072), dsaBody(1024, 160)])
      expect(minimalKey(certified(body, ANN, { count: 1 })).signatures.count).toBe(1);
  });
});

describe("C1: a key with many slow signatures is read with turns for other work between them", () => {
  test.each([
    ["DSA of 3072 bits", () => dsaBody(3072), 8],
    ["RSA of 8192 bits over SHA-224", () => rsaBody(8192, 32), 11],
    ["RSA of 8192 bits over SHA3-256", () => rsaBody(8192, 32), 12],
  ])("%s with fifty of them", async (_what, body, digest) => {
    const sign = digest === 8 ? undefined : () => [integer(8000)];
    const { outcome, turns, longestMs } = await readingOf(body(), { count: 50, digest, ...(sign ? { sign } : {}) });
    expect(outcome).toMatch(/^no User ID of key [0-9a-f]{40} has a valid self-signature$/);
    expect(turns).toBeGreaterThanOrEqual(50);
    expect(longestMs).toBeLessThan(1_000);
  });

  test("190 of brainpoolP512r1, of which openpgp.js would try each several times", async () => {
    const { body } = ecdsaKey("brainpoolP512r1", "2b240303020801010d", 512);
    const { outcome, turns, longestMs } = await readingOf(body, { count: 190 });
    expect(outcome).toMatch(/^no User ID/);
    expect(turns).toBeGreaterThanOrEqual(190);
    expect(longestMs).toBeLessThan(1_000);
  });

  test("of more than fifty slow ones none is verified", async () => {
    const { outcome } = await readingOf(rsaBody(2048), { count: 51, digest: 11, sign: () => [integer(2000)] });
    expect(outcome).toBe("the key has 51 signatures of its own that are slow to verify; at most 50 are read");
    const dsa = await readingOf(dsaBody(1024, 160), { count: 51 });
    expect(dsa.outcome).toBe("keys of DSA with more than 50 signatures are not supported");
    const counted = minimalKey(certified(rsaBody(2048), ANN, { count: 150 })).signatures;
    expect(counted).toEqual({ count: 150, slow: 0 });
  });
});

const CURVES = [
  ["P-256", "prime256v1", "2a8648ce3d030107", 256],
  ["P-384", "secp384r1", "2b81040022", 384],
  ["P-521", "secp521r1", "2b81040023", 521],
  ["secp256k1", "secp256k1", "2b8104000a", 256],
  ["brainpoolP256r1", "brainpoolP256r1", "2b2403030208010107", 256],
  ["brainpoolP384r1", "brainpoolP384r1", "2b240303020801010b", 384],
  ["brainpoolP512r1", "brainpoolP512r1", "2b240303020801010d", 512],
] as const;

/** As OpenSSL signs, split into integers without leading zeros, as they stand in a packet. */
function ecdsaIntegers(content: Buffer, privateKey: KeyObject, digest = "sha256") {
  const raw = createSign(digest).update(content).sign({ key: privateKey, dsaEncoding: "ieee-p1363" });
  const half = raw.length / 2;
  const short = (octets: Buffer) => octets.subarray(octets.findIndex((octet) => octet !== 0));
  return { r: short(raw.subarray(0, half)), s: short(raw.subarray(half)) };
}

/** As openssl signs octets that are a digest already. */
function rawEcdsaIntegers(digest: Uint8Array, privateKey: KeyObject): Buffer[] {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-ecdsa-"));
  try {
    const keyFile = join(folder, "key.pem");
    writeFileSync(keyFile, privateKey.export({ type: "pkcs8", format: "pem" }));
    const der = execFileSync("openssl", ["pkeyutl", "-sign", "-inkey", keyFile], { input: digest });
    const numbers = [...elementsIn(readElement(der))].map((element) => Buffer.from(contentOf(element)));
    return numbers.map((octets) => octets.subarray(octets.findIndex((octet) => octet !== 0)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const asField = (octets: Buffer) => {
  const bits = octets.length * 8 - (Math.clz32(octets[0]!) - 24);
  return Buffer.concat([Buffer.from([bits >> 8, bits & 0xff]), octets]);
};

describe("C1: ECDSA that openpgp.js verifies in JavaScript", () => {
  test.each(CURVES)("%s: a signature of OpenSSL's is one, and none of other content", (_name, curve, oid, bits) => {
    const { body, privateKey } = ecdsaKey(curve, oid, bits);
    const key = readPublicKey(body)!;
    const content = Buffer.from("signed");
    const signature = ecdsaIntegers(content, privateKey);
    expect(isEcdsaSignature(key, 8, signature, content)).toBe(true);
    expect(isEcdsaSignature(key, 8, signature, Buffer.from("Signed"))).toBe(false);
    expect(isEcdsaSignature(key, 10, signature, content)).toBe(false);
    expect(isEcdsaSignature(key, 8, { ...signature, s: Buffer.alloc(200, 1) }, content)).toBe(false);
    expect(isEcdsaSignature(key, 8, { r: signature.r }, content)).toBe(false);
  });

  test.each(CURVES)(
    "%s: a genuine signature whose digest begins with a zero octet counts",
    async (_n, curve, oid, bits) => {
      const { body, privateKey } = ecdsaKey(curve, oid, bits);
      const sign = (content: Buffer) => Object.values(ecdsaIntegers(content, privateKey)).map(asField);
      const key = certified(body, ANN, { count: 1, sign, isWanted: (digest) => digest[0] === 0 });
      expect((await readPgpCertificate(key, NOW)).addresses).toEqual(["ann@example.com"]);
    },
  );

  test("150 forged ones whose digests begin with a zero octet take no seconds", async () => {
    const { body } = ecdsaKey("brainpoolP512r1", "2b240303020801010d", 512);
    const key = certified(body, ANN, { count: 150, isWanted: (digest) => digest[0] === 0 });
    const { outcome, wholeMs } = await watched(readPgpCertificate(key, NOW));
    expect(outcome).toMatch(/^no User ID/);
    expect(wholeMs).toBeLessThan(3_000);
  });

  test("one that only the second chance in JavaScript would accept counts nowhere: OpenSSL was asked first", async () => {
    const { body, privateKey } = ecdsaKey("prime256v1", "2a8648ce3d030107", 256);
    // as programs of 2018 signed: the digest, which is longer than the curve, without the zero octet that it begins with
    const sign = (content: Buffer) =>
      rawEcdsaIntegers(createHash("sha512").update(content).digest().subarray(1), privateKey).map(asField);
    const key = certified(body, ANN, { count: 1, digest: 10, sign, isWanted: (digest) => digest[0] === 0 });
    expect((await watched(readPgpCertificate(key, NOW))).outcome).toMatch(/^no User ID/);
    expect(Buffer.compare(await verifiedKey(key), writePacket(6, body))).toBe(0);
  });

  test("over a digest that WebCrypto does not know the key is refused", async () => {
    const { body } = ecdsaKey("secp521r1", "2b81040023", 521);
    expect((await readingOf(body, { count: 1, digest: 11 })).outcome).toBe(
      "the key has an ECDSA signature over a digest that is not supported, number 11",
    );
  });
});
