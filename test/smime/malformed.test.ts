// Bad input of any kind is answered at once by a refusal or a fault, never by a crash.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseCertificate } from "../../src/smime/certificate.ts";
import { readCertificateStore, type StoreContents } from "../../src/smime/certificate-store.ts";
import { der, derHeader, oid, sequence } from "../../src/smime/der-writing.ts";
import { elementsIn, encodingOf, Malformed, readElement } from "../../src/smime/der.ts";
import { isWholeEnveloped, readEnvelopedShape } from "../../src/smime/enveloped-shape.ts";
import { fixtureBytes } from "../fixtures.ts";

/** Far above what any of this takes, and far below what a mail flow would notice. */
const MAX_MS = 1500;

function timed<T>(work: () => T): T {
  const start = performance.now();
  const result = work();
  expect(performance.now() - start).toBeLessThan(MAX_MS);
  return result;
}

/** Every reader on the same bytes; anything thrown but Malformed is a bug. */
function readEverywhere(bytes: Uint8Array): StoreContents {
  for (const reader of [parseCertificate, readEnvelopedShape]) {
    try {
      reader(bytes);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      expect(error.message).toMatch(/^\S[^\n]+[^.\s]$/);
    }
  }
  isWholeEnveloped(bytes);
  return readCertificateStore(bytes);
}

const SMALL = [
  "smime/bundles/one.p7b",
  "smime/bundles/alice-signed-ber.p7m",
  "smime/bundles/bc-ber.p7b",
  "smime/bundles/jdk-certpath.pkipath",
  "smime/certs/bob.der",
  "smime/certs/alice.pem",
  "keystores/certs-bks-aliases.ks",
  "keystores/mixed-sun-jks.ks",
  "keystores/certs-openssl-plain.p12",
  "cms-samples/rsa15-aes256cbc-indef.der",
  "cms-samples/ecdh256-sha256kdf-aes256gcm.der",
];

test.each(SMALL)("%s cut short at each octet is no whole store", (file) => {
  const bytes = fixtureBytes(file);
  expect(bytes.length).toBeGreaterThan(100);
  for (let length = 0; length < bytes.length; length += 1) {
    const contents = readEverywhere(bytes.subarray(0, length));
    // the line end after the last line of PEM may be missing
    if (length < bytes.length - 1) expect(contents.kind, `at ${length}`).toBe("unreadable");
  }
});

test("random bytes are read as nothing", () => {
  const property = fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
    expect(readEverywhere(bytes).kind).toBe("unreadable");
  });
  fc.assert(property, { numRuns: 3000 });
});

test.each(SMALL)("%s with octets changed anywhere gives contents, faults or a refusal", (file) => {
  const original = fixtureBytes(file);
  const change = fc.tuple(fc.nat(original.length - 1), fc.nat(255));
  const property = fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
    const bytes = Buffer.from(original);
    for (const [at, value] of changes) bytes[at] = value;
    const contents = readEverywhere(bytes);
    if (contents.kind === "unreadable") expect(contents.reason).toMatch(/^th(?:is|e) .+[^.]$/);
  });
  fc.assert(property, { numRuns: 400 });
});

describe("bombs", () => {
  const SIGNED_DATA = oid("1.2.840.113549.1.7.2");
  const p7b = (certificates: Uint8Array) =>
    sequence(
      SIGNED_DATA,
      der(
        0xa0,
        sequence(
          Buffer.of(2, 1, 1),
          der(0x31),
          sequence(oid("1.2.840.113549.1.7.1")),
          der(0xa0, certificates),
          der(0x31),
        ),
      ),
    );
  const i32 = (...values: number[]) =>
    Buffer.concat(values.map((value) => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value])));

  test("a million elements nested without lengths are refused", () => {
    const nested = Buffer.alloc(2_000_000, Buffer.of(0x30, 0x80));
    expect(timed(() => readEverywhere(nested))).toMatchObject({
      reason: expect.stringMatching(/nested more than 32 deep/) as string,
    });
  });

  test("elements nested with lengths down to the last octet are refused", () => {
    let nested: Uint8Array = Buffer.alloc(0);
    for (let depth = 0; depth < 5000; depth += 1) nested = sequence(nested);
    expect(timed(() => readEverywhere(nested)).kind).toBe("unreadable");
    expect(timed(() => readEverywhere(p7b(nested)))).toMatchObject({ kind: "store", certificates: [] });
  });

  test("a length of terabytes allocates nothing", () => {
    for (const hex of ["3086ffffffffffff", "308600ffffffffff0000", "3087ffffffffffffff", "30ff", "3084ffffffff"]) {
      expect(timed(() => readEverywhere(Buffer.from(hex, "hex"))).kind).toBe("unreadable");
    }
  });

  test("a store that announces more than it holds is refused", () => {
    const salt = [20, 0, 0, 0, 0, 0, 1024];
    const header = i32(2, ...salt);
    const stores = [
      Buffer.concat([header, Buffer.of(1, 0, 1, 0x61), i32(0, 0), i32(0x7fffffff), Buffer.alloc(64)]),
      Buffer.concat([header, Buffer.of(1, 0, 1, 0x61), i32(0, 0), i32(-1), Buffer.alloc(64)]),
      Buffer.concat([header, Buffer.of(1, 0xff, 0xff), Buffer.alloc(64)]),
      i32(2, 0x7fffffff, 0, 0),
      Buffer.concat([i32(0xfeedfeed, 2, 0x7fffffff), Buffer.alloc(64)]),
      Buffer.concat([i32(0xfeedfeed, 2, -1), Buffer.alloc(64)]),
      Buffer.concat([i32(0xfeedfeed, 2, 1, 1), Buffer.of(0, 0), i32(0, 0, 0, 0x7fffffff), Buffer.alloc(64)]),
    ];
    for (const store of stores) expect(timed(() => readEverywhere(store)).kind).toBe("unreadable");
  });

  test("a BKS store that asks for two thousand million iterations is refused, and read without a password", () => {
    const bytes = Buffer.concat([i32(2, 1), Buffer.of(7), i32(0x7fffffff), Buffer.alloc(21)]);
    expect(timed(() => readCertificateStore(bytes, "x"))).toMatchObject({
      reason: expect.stringMatching(/2147483647 iterations/) as string,
    });
    expect(readCertificateStore(bytes)).toMatchObject({ kind: "store", certificates: [] });
  });

  test("a bundle of a hundred thousand broken entries is refused at once", () => {
    const contents = timed(() => readCertificateStore(p7b(Buffer.alloc(200_000, Buffer.of(0x30, 0x00)))));
    expect(contents).toMatchObject({
      reason: expect.stringMatching(/^this file has more than 1000 broken entries, the first: /) as string,
    });
  });

  test("a bundle of 100,000 certificates is read, one of 100,001 is refused", () => {
    const algorithm = sequence(oid("1.2.840.113549.1.1.11"));
    const time = der(0x17, Buffer.from("260101000000Z"));
    const rsa = sequence(Buffer.of(2, 1, 0x7f), Buffer.of(2, 1, 3));
    const spki = sequence(sequence(oid("1.2.840.113549.1.1.1")), der(0x03, Buffer.of(0), rsa));
    const names = [sequence(), sequence(time, time), sequence()];
    const smallest = sequence(
      sequence(Buffer.of(2, 1, 1), algorithm, ...names, spki),
      algorithm,
      der(0x03, Buffer.of(0)),
    );
    const bundle = (count: number) => readCertificateStore(p7b(Buffer.alloc(count * smallest.length, smallest)));
    const whole = bundle(100_000);
    expect(whole.kind === "store" && whole.certificates.length).toBe(100_000);
    expect(bundle(100_001)).toMatchObject({ reason: "this file has more than 100000 certificates; split it" });
  });

  test("a file above 64 MiB is refused before it is looked at", () => {
    const contents = timed(() => readCertificateStore(new Uint8Array(64 * 1024 * 1024 + 1)));
    expect(contents).toMatchObject({ reason: "this file has 67108865 octets, more than 67108864" });
  });

  test("a certificate of 64 KiB made of critical extensions is read at once", () => {
    const [tbs, ...rest] = [...elementsIn(readElement(fixtureBytes("smime/certs/alice.der")))];
    const parts = [...elementsIn(tbs!)].slice(0, -1).map(encodingOf);
    const extension = (number: number) => sequence(oid(`1.2.3.${number}`), Buffer.of(1, 1, 0xff), der(0x04));
    const extensions = sequence(...Array.from({ length: 4000 }, (_, number) => extension(number)));
    const bomb = sequence(sequence(...parts, der(0xa3, extensions)), ...rest.map(encodingOf));
    expect(bomb.length).toBeGreaterThan(50_000);
    expect(timed(() => parseCertificate(bomb)).unknownCriticalExtensions).toHaveLength(4000);
  });

  test("an EnvelopedData with a hundred thousand readers is refused", () => {
    const reader = sequence(sequence(), Buffer.of(2, 1, 1));
    const recipient = sequence(Buffer.of(2, 1, 0), reader, sequence(), der(0x04));
    const recipients = der(0x31, Buffer.concat(Array.from({ length: 100_000 }, () => recipient)));
    const inner = sequence(oid("1.2.840.113549.1.7.1"), sequence(oid("1.2.3")), der(0x80, Buffer.alloc(16)));
    const enveloped = sequence(oid("1.2.840.113549.1.7.3"), der(0xa0, sequence(Buffer.of(2, 1, 0), recipients, inner)));
    expect(() => timed(() => readEnvelopedShape(enveloped))).toThrow("more than 10000 readers");
  });

  test("an encrypted content of a million segments is read in one pass", () => {
    const open = (tag: number, ...contents: Uint8Array[]) =>
      Buffer.concat([Buffer.of(tag, 0x80), ...contents, Buffer.of(0, 0)]);
    const segments = Buffer.alloc(3_000_000, Buffer.of(0x04, 0x01, 0x61));
    const recipient = sequence(Buffer.of(2, 1, 0), sequence(sequence(), Buffer.of(2, 1, 1)), sequence(), der(0x04));
    const inner = open(0x30, oid("1.2.840.113549.1.7.1"), sequence(oid("1.2.3")), open(0xa0, segments));
    const enveloped = open(0x30, Buffer.of(2, 1, 0), der(0x31, recipient), inner);
    const whole = open(0x30, oid("1.2.840.113549.1.7.3"), open(0xa0, enveloped));
    expect(timed(() => isWholeEnveloped(whole))).toBe(true);
  });
});

test("derHeader and the reader agree on every size of length", () => {
  for (const length of [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32, 2 ** 40]) {
    const header = derHeader(0x30, length);
    expect(() => readCertificateStore(header)).not.toThrow();
    expect(header.length).toBe(length < 128 ? 2 : 2 + Math.ceil(Math.log2(length + 1) / 8));
  }
});
