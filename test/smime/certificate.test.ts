// Certificates of every kind are read as openssl reads them, and what cannot be used is named.
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseCertificate, type Certificate } from "../../src/smime/certificate.ts";
import { der, oid, sequence } from "../../src/smime/der-writing.ts";
import { elementsIn, encodingOf, oidOf, readElement } from "../../src/smime/der.ts";
import { fixture, fixtureBytes } from "../fixtures.ts";

const certificate = (name: string): Certificate => parseCertificate(fixtureBytes(`smime/certs/${name}.der`));
const names = readdirSync(fixture("smime/certs"))
  .filter((file) => file.endsWith(".der"))
  .map((file) => file.slice(0, -4));

describe.each(names)("the certificate of %s", (name) => {
  const ours = certificate(name);
  const theirs = new X509Certificate(fixtureBytes(`smime/certs/${name}.der`));

  test("has the fingerprint, serial number, validity and CA flag that OpenSSL sees", () => {
    expect(ours.fingerprint).toBe(theirs.fingerprint256.replaceAll(":", "").toLowerCase());
    expect(BigInt(`0x${Buffer.from(ours.serial).toString("hex")}`)).toBe(BigInt(`0x${theirs.serialNumber}`));
    expect(ours.notBefore).toBe(theirs.validFromDate.getTime());
    expect(ours.notAfter).toBe(theirs.validToDate.getTime());
    expect(ours.isCa).toBe(theirs.ca);
    expect(ours.extendedKeyUsage).toEqual(theirs.keyUsage);
  });

  test("has the public key that OpenSSL sees, or a name for a key that is of no use", () => {
    expect(Buffer.from(ours.spki)).toEqual(theirs.publicKey.export({ format: "der", type: "spki" }));
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = theirs.publicKey;
    if (ours.publicKey.algorithm === "rsa") {
      expect(type).toBe("rsa");
      expect(details).toMatchObject({ modulusLength: ours.publicKey.bits, publicExponent: ours.publicKey.exponent });
    } else if (ours.publicKey.algorithm === "ec") {
      const openssl = { "P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1" };
      expect(details).toMatchObject({ namedCurve: openssl[ours.publicKey.curve] });
    } else expect(["bobbp", "xavier", "edith", "peggy"]).toContain(name);
  });

  test("names subject and issuer as openssl does in RFC 2253", () => {
    const args = ["x509", "-inform", "DER", "-noout", "-subject", "-issuer", "-nameopt", "RFC2253", "-in"];
    const shown = execFileSync("openssl", [...args, fixture(`smime/certs/${name}.der`)], { encoding: "utf8" });
    expect(`subject=${ours.subject}\nissuer=${ours.issuer}\n`).toBe(shown);
  });
});

test.each([
  ["alice", ["alice@example.com"]],
  ["carol", ["carol@example.com"]], // emailAddress of the subject alone
  ["dave", ["dave@example.com", "d.smith@example.net"]], // with a SAN, the subject is not asked
  ["heidi", ["Heidi.MEYER@Example.COM"]],
  ["ivan", ["jörg@bücher.example"]], // SmtpUTF8Mailbox
  ["judy", ["judy@xn--bcher-kva.example"]],
  ["uma", []], // an address in CN is not one
  ["smartcard", []], // nor is a UPN
])("the certificate of %s is for %j", (name, addresses) => {
  expect(certificate(name).addresses).toEqual(addresses);
});

test.each([
  ["bobbp", "EC on brainpoolP256r1"],
  ["xavier", "X25519"],
  ["edith", "Ed25519"],
  ["peggy", "RSASSA-PSS"],
])("the key of %s is unsupported and called %s", (name, called) => {
  expect(certificate(name).publicKey).toEqual({ algorithm: "unsupported", name: called });
});

test.each([
  ["alice", ["digitalSignature", "keyEncipherment"]],
  ["alice-sign", ["digitalSignature", "nonRepudiation"]],
  ["bob", ["digitalSignature", "keyAgreement"]],
  ["trent", ["dataEncipherment"]],
  ["kim", undefined],
])("the key of %s may be used for %j", (name, usages) => {
  const { keyUsage } = certificate(name);
  expect(keyUsage && [...keyUsage]).toEqual(usages);
});

test.each([
  ["alice", "sha256"],
  ["olga", "sha1"],
  ["pat", "sha256"], // RSASSA-PSS
])("the certificate of %s is signed with %s", (name, digest) => {
  expect(certificate(name).signatureDigest).toBe(digest);
});

test("a critical extension that nobody knows is listed", () => {
  expect(certificate("sybil").unknownCriticalExtensions).toEqual(["1.2.3.4.5.6"]);
  expect(certificate("alice").unknownCriticalExtensions).toEqual([]);
});

test("the subjectKeyIdentifier is the one openssl shows", () => {
  const args = ["x509", "-inform", "DER", "-noout", "-ext", "subjectKeyIdentifier", "-in"];
  const shown = execFileSync("openssl", [...args, fixture("smime/certs/alice.der")], { encoding: "utf8" });
  const hex = Buffer.from(certificate("alice").subjectKeyIdentifier ?? []).toString("hex");
  expect(shown.replace(/[\s:]/g, "").toLowerCase()).toContain(hex);
  expect(hex).toHaveLength(40);
});

test("a certificate does not hold on to the buffer that it was read from", () => {
  const file = Buffer.concat([fixtureBytes("smime/certs/alice.der"), Buffer.alloc(1_000_000)]);
  const parsed = parseCertificate(file.subarray(0, -1_000_000));
  file.fill(0);
  expect(parsed.issuerDer.buffer.byteLength).toBeLessThan(2000);
  expect(Buffer.from(parsed.der)).toEqual(fixtureBytes("smime/certs/alice.der"));
});

describe("a certificate is refused with a reason", () => {
  const alice = fixtureBytes("smime/certs/alice.der");
  const replaced = (from: string, to: string): Buffer => {
    expect(from).toHaveLength(to.length);
    const hex = alice.toString("hex");
    expect(hex.split(from).length).toBeGreaterThan(1);
    return Buffer.from(hex.replace(from, to), "hex");
  };
  test.each<[string, Uint8Array, RegExp]>([
    ["without octets", Buffer.alloc(0), /ends in the middle/],
    ["of text", Buffer.from("hello, I am a certificate"), /not DER|not a SEQUENCE|longer than/],
    ["cut short", alice.subarray(0, -1), /1 octets longer than what holds it/],
    ["with something after its end", Buffer.concat([alice, Buffer.of(0)]), /1 octets follow its end/],
    ["above 64 KiB", Buffer.alloc(65_537, 0x30), /65537 octets, more than 65536/],
    [
      "with a date that does not exist",
      replaced("323430313031303030303030", "323430323330303030303030"),
      /does not exist/,
    ],
    ["with two signature algorithms", replaced("2a864886f70d01010b", "2a864886f70d01010c"), /two different signature/],
    ["whose subjectAltName occurs twice", replaced("0603551d0f", "0603551d11"), /occurs twice/],
    [
      "of indefinite length",
      Buffer.concat([Buffer.from("3080", "hex"), alice.subarray(4), Buffer.alloc(2)]),
      /not DER/,
    ],
  ])("when it is %s", (_, der, reason) => {
    expect(() => parseCertificate(der)).toThrow(reason);
  });
});

describe("a key that is no proper key", () => {
  const alice = certificate("alice");
  const NULL = Buffer.of(5, 0);
  const integer = (...magnitude: Uint8Array[]) => der(0x02, Buffer.of(0), ...magnitude);
  const rsa = (modulus: Uint8Array, exponent: Uint8Array) =>
    sequence(sequence(oid("1.2.840.113549.1.1.1"), NULL), der(0x03, Buffer.of(0), sequence(modulus, exponent)));
  const F4 = der(0x02, Buffer.of(1, 0, 1));
  /** Alice's certificate around another key; its signature is wrong, which is not judged here. */
  const withKey = (spki: Uint8Array) => {
    const [tbs, ...rest] = [...elementsIn(readElement(alice.der))];
    const parts = [...elementsIn(tbs!)].map(encodingOf);
    parts[6] = spki;
    return parseCertificate(sequence(sequence(...parts), ...rest.map(encodingOf)));
  };

  test("is read as it is when it is Alice's own", () => {
    expect(withKey(alice.spki).publicKey).toEqual(alice.publicKey);
  });
  test("makes the certificate unreadable when its RSA modulus has more than 16384 bits", () => {
    expect(withKey(rsa(integer(Buffer.alloc(2048, 0xff)), F4)).publicKey).toMatchObject({ bits: 16_384 });
    expect(() => withKey(rsa(integer(Buffer.of(1), Buffer.alloc(2048, 0xff)), F4))).toThrow(/16385 bits/);
  });
  test.each([
    ["an exponent of 1", integer(Buffer.alloc(256, 0xff)), der(0x02, Buffer.of(1))],
    ["an even exponent", integer(Buffer.alloc(256, 0xff)), der(0x02, Buffer.of(4))],
    ["an even modulus", integer(Buffer.alloc(256, 0xfe)), F4],
    ["an exponent of 2048 bits", integer(Buffer.alloc(256, 0xff)), integer(Buffer.alloc(256, 0xff))],
  ])("is unsupported with %s", (_, modulus, exponent) => {
    expect(withKey(rsa(modulus, exponent)).publicKey.algorithm).toBe("unsupported");
  });
  test("is unsupported when its point is not on the curve", () => {
    const point = Buffer.concat([Buffer.of(0, 4), Buffer.alloc(64, 7)]);
    const spki = sequence(sequence(oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7")), der(0x03, point));
    expect(withKey(spki).publicKey).toMatchObject({ name: "EC on P-256 (the point is not on the curve)" });
  });
});

test("HARV-24: a control character in an address hides it, and the subject is not asked instead", () => {
  const hex = fixtureBytes("smime/certs/dave.der").toString("latin1");
  const forged = hex
    .replace("dave@example.com", "dave\0example.com")
    .replace("d.smith@example.net", "d.smith\u00e9example.net");
  expect(parseCertificate(Buffer.from(forged, "latin1")).addresses).toEqual([]);
});

test.each(["1.2.840.113549.1.7.3", "2.5.29.17", "0.9.2342.19200300.100.1.1", "2.16.840.1.101.3.4.1.42", "1.3.101.112"])(
  "the object identifier %s is the same after writing and reading",
  (text) => {
    expect(oidOf(readElement(oid(text)))).toBe(text);
  },
);

test("an object identifier made of a UUID is read exactly", () => {
  const arc = 0xf81d4fae7dec11d0a76500a0c91e6bf6n;
  const octets: number[] = [];
  for (let rest = arc; rest > 0n; rest >>= 7n) octets.unshift(Number(rest & 0x7fn) | (octets.length > 0 ? 0x80 : 0));
  expect(oidOf(readElement(der(0x06, Buffer.of(0x69, ...octets))))).toBe(`2.25.${arc}`);
});
