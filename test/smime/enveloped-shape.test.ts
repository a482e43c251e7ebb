// The shape of CMS messages of other programs is read, and nothing that holds more than ciphertext passes.
import { readdirSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { parseCertificate } from "../../src/smime/certificate.ts";
import { der, oid, sequence } from "../../src/smime/der-writing.ts";
import { isWholeEnveloped, readEnvelopedShape } from "../../src/smime/enveloped-shape.ts";
import { readerId } from "../../src/smime/recipient-info.ts";
import { fixture, fixtureBytes } from "../fixtures.ts";
import { opensslPrint } from "./decrypters.ts";

const id = (name: string) => readerId(parseCertificate(fixtureBytes(`smime/certs/${name}.der`)));
const AES256_CBC = "2.16.840.1.101.3.4.1.42";
const AES256_GCM = "2.16.840.1.101.3.4.1.46";
const SAMPLES: Record<string, [string, string[], string]> = {
  "ecdh256-cofactor": ["enveloped", [id("bob")], AES256_CBC],
  "ecdh256-sha1kdf-aes128": ["enveloped", [id("bob")], "2.16.840.1.101.3.4.1.2"],
  "ecdh256-sha256kdf-aes128wrap": ["enveloped", [id("bob")], "2.16.840.1.101.3.4.1.2"],
  "ecdh256-sha256kdf-aes256": ["enveloped", [id("bob")], AES256_CBC],
  "ecdh256-sha256kdf-aes256gcm": ["auth-enveloped", [id("bob")], AES256_GCM],
  "ecdh384-sha384": ["enveloped", [id("bob384")], AES256_CBC],
  "ecdh521-sha512": ["enveloped", [id("bob521")], AES256_CBC],
  ecdhbp256: ["enveloped", [id("bobbp")], AES256_CBC],
  "oaep1-aes256cbc": ["enveloped", [id("alice")], AES256_CBC],
  "oaep256-aes256cbc": ["enveloped", [id("alice")], AES256_CBC],
  "oaep256-aes256gcm": ["auth-enveloped", [id("alice")], AES256_GCM],
  "oaep256mgf1-aes256cbc": ["enveloped", [id("alice")], AES256_CBC],
  "rsa15-3des": ["enveloped", [id("alice")], "1.2.840.113549.3.7"],
  "rsa15-aes128cbc": ["enveloped", [id("alice")], "2.16.840.1.101.3.4.1.2"],
  "rsa15-aes128gcm": ["auth-enveloped", [id("alice")], "2.16.840.1.101.3.4.1.6"],
  "rsa15-aes256cbc-indef": ["enveloped", [id("alice")], AES256_CBC],
  "rsa15-aes256cbc-skid": ["enveloped", ["ski"], AES256_CBC],
  "rsa15-aes256cbc": ["enveloped", [id("alice")], AES256_CBC],
  "rsa15-aes256gcm": ["auth-enveloped", [id("alice")], AES256_GCM],
  "rsa4096-aes256cbc": ["enveloped", [id("quinn")], AES256_CBC],
  "two-recips": ["enveloped", [id("quinn"), id("bob")], AES256_CBC],
  "two-recips-ecfirst": ["enveloped", [id("quinn"), id("bob")], AES256_CBC],
  "two-recips-rsafirst": ["enveloped", [id("quinn"), id("bob")], AES256_CBC],
  "two-rsa": ["enveloped", [id("alice"), id("quinn")], AES256_CBC],
};
const sample = (name: string) => fixtureBytes(`cms-samples/${name}.der`);

test("every sample with octets in it is in the table", () => {
  const names = readdirSync(fixture("cms-samples")).map((file) => file.replace(".der", ""));
  expect(names.filter((name) => sample(name).length > 0).sort()).toEqual(Object.keys(SAMPLES).sort());
});

describe.each(Object.entries(SAMPLES))("%s", (name, [type, readerIds, contentEncryption]) => {
  const bytes = sample(name);
  const ski = Buffer.from(parseCertificate(fixtureBytes("smime/certs/alice.der")).subjectKeyIdentifier ?? []).toString(
    "hex",
  );

  test("has the shape that was asked of openssl", () => {
    const shape = readEnvelopedShape(bytes);
    expect(shape).toMatchObject({ type, contentEncryption });
    expect(shape.readerIds).toEqual(readerIds.map((reader) => (reader === "ski" ? `ski:${ski}` : reader)));
    expect(shape.totalSize).toBe(name.includes("indef") ? undefined : bytes.length);
  });

  test("has the same shape when only the head is there, and none when less is there", () => {
    const whole = readEnvelopedShape(bytes);
    expect(readEnvelopedShape(bytes.subarray(0, whole.contentStart))).toEqual(whole);
    expect(() => readEnvelopedShape(bytes.subarray(0, whole.contentStart - 1))).toThrow(/ends in the middle/);
  });

  test("is whole as it is, and with one octet less or more it is not", () => {
    expect(isWholeEnveloped(bytes)).toBe(true);
    expect(isWholeEnveloped(bytes.subarray(0, -1))).toBe(false);
    expect(isWholeEnveloped(Buffer.concat([bytes, Buffer.of(0)]))).toBe(false);
    expect(isWholeEnveloped(Buffer.concat([Buffer.of(0), bytes]))).toBe(false);
  });
});

test("a symmetric key and a password are other readers", () => {
  const plain = { input: "hello" };
  const args = ["cms", "-encrypt", "-binary", "-outform", "DER", "-aes-256-cbc"];
  const kek = ["-secretkey", "00112233445566778899aabbccddeeff", "-secretkeyid", "0102"];
  const alice = fixture("smime/certs/alice.pem");
  expect(readEnvelopedShape(execFileSync("openssl", [...args, ...kek], plain)).readerIds).toEqual(["other"]);
  const mixed = execFileSync("openssl", [...args, "-pwri_password", "x", alice], plain);
  expect([...readEnvelopedShape(mixed).readerIds].sort()).toEqual([id("alice"), "other"].sort());
});

test("an EC reader named by subjectKeyIdentifier is found", () => {
  const args = [
    "cms",
    "-encrypt",
    "-binary",
    "-outform",
    "DER",
    "-aes-256-cbc",
    "-keyid",
    fixture("smime/certs/bob.pem"),
  ];
  const [reader] = readEnvelopedShape(execFileSync("openssl", args, { input: "hello" })).readerIds;
  const ski = parseCertificate(fixtureBytes("smime/certs/bob.der")).subjectKeyIdentifier;
  expect(reader).toBe(`ski:${Buffer.from(ski ?? []).toString("hex")}`);
});

test.each([
  "smime/bundles/all.p7b",
  "smime/bundles/alice-signed.p7m",
  "smime/certs/alice.der",
  "keystores/certs-openssl.p12",
])("%s is not encrypted and has no shape", (file) => {
  expect(() => readEnvelopedShape(fixtureBytes(file))).toThrow();
  expect(isWholeEnveloped(fixtureBytes(file))).toBe(false);
});

describe("a structure that holds more than ciphertext", () => {
  const version = Buffer.of(2, 1, 0);
  const recipient = sequence(
    version,
    sequence(sequence(), Buffer.of(2, 1, 7)),
    sequence(oid("1.2.840.113549.1.1.1")),
    der(4),
  );
  const recipients = der(0x31, recipient);
  const algorithm = sequence(oid(AES256_CBC), der(4, Buffer.alloc(16)));
  const content = der(0x80, Buffer.alloc(32, 0x5a));
  const inner = (...parts: Uint8Array[]) => sequence(oid("1.2.840.113549.1.7.1"), ...parts);
  const attributes = der(0xa1, sequence(oid("1.2.3"), der(0x31, der(0x0c, Buffer.from("read me")))));
  const mac = der(4, Buffer.alloc(16));
  const enveloped = (...parts: Uint8Array[]) => sequence(oid("1.2.840.113549.1.7.3"), der(0xa0, sequence(...parts)));
  const authEnveloped = (...parts: Uint8Array[]) =>
    sequence(oid("1.2.840.113549.1.9.16.1.23"), der(0xa0, sequence(...parts)));
  const open = (tag: number, ...parts: Uint8Array[]) =>
    Buffer.concat([Buffer.of(tag, 0x80), ...parts, Buffer.of(0, 0)]);
  const openEnveloped = (...parts: Uint8Array[]) =>
    open(0x30, oid("1.2.840.113549.1.7.3"), open(0xa0, open(0x30, ...parts)));

  test("the smallest one of each kind without more is whole", () => {
    for (const bytes of [
      enveloped(version, recipients, inner(algorithm, content)),
      authEnveloped(version, recipients, inner(algorithm, content), mac),
      openEnveloped(version, recipients, inner(algorithm, content)),
      openEnveloped(version, recipients, open(0x30, oid("1.2.840.113549.1.7.1"), algorithm, open(0xa0, der(4, mac)))),
    ]) {
      expect(readEnvelopedShape(bytes).readerIds).toEqual(["3000:07"]);
      expect(isWholeEnveloped(bytes)).toBe(true);
    }
    expect(opensslPrint(enveloped(version, recipients, inner(algorithm, content)))).toContain("aes-256-cbc");
  });

  test.each<[string, Uint8Array]>([
    ["unprotected attributes", enveloped(version, recipients, inner(algorithm, content), attributes)],
    ["authenticated attributes", authEnveloped(version, recipients, inner(algorithm, content), attributes, mac)],
    ["attributes after the MAC", authEnveloped(version, recipients, inner(algorithm, content), mac, attributes)],
    ["originator certificates", enveloped(version, der(0xa0), recipients, inner(algorithm, content))],
    ["an element after the content", enveloped(version, recipients, inner(algorithm, content, attributes))],
    [
      "an element beside EnvelopedData",
      sequence(oid("1.2.840.113549.1.7.3"), der(0xa0, sequence(version, recipients, inner(algorithm, content)), mac)),
    ],
    [
      "an element beside the content type",
      sequence(oid("1.2.840.113549.1.7.3"), der(0xa0, sequence(version, recipients, inner(algorithm, content))), mac),
    ],
    ["no reader", enveloped(version, der(0x31), inner(algorithm, content))],
    ["no content", enveloped(version, recipients, inner(algorithm))],
    ["a content of another tag", enveloped(version, recipients, inner(algorithm, der(0x04, Buffer.alloc(16))))],
  ])("is refused: %s", (_, bytes) => {
    expect(() => readEnvelopedShape(bytes)).toThrow();
    expect(isWholeEnveloped(bytes)).toBe(false);
  });

  test.each<[string, Uint8Array]>([
    [
      "attributes where lengths are indefinite",
      openEnveloped(version, recipients, inner(algorithm, content), attributes),
    ],
    ["an empty content", enveloped(version, recipients, inner(algorithm, der(0x80)))],
    ["a content of empty segments", enveloped(version, recipients, inner(algorithm, der(0xa0, der(4), der(4))))],
    [
      "a content with other elements in it",
      enveloped(version, recipients, inner(algorithm, der(0xa0, der(0x0c, mac)))),
    ],
    ["no MAC", authEnveloped(version, recipients, inner(algorithm, content))],
    [
      "something else than a MAC",
      authEnveloped(version, recipients, inner(algorithm, content), der(0x0c, Buffer.alloc(16))),
    ],
  ])("does not pass as whole: %s", (_, bytes) => {
    expect(isWholeEnveloped(bytes)).toBe(false);
  });
});
