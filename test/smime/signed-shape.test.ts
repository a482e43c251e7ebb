// Hostile SignedData is refused at once, and no change of what was signed is ever good.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { issuerKey } from "../../src/smime/certification-path.ts";
import { der, derHeader, octetString, oid, sequence, smallInteger } from "../../src/smime/der-writing.ts";
import { elementsIn, encodingOf } from "../../src/smime/der.ts";
import { verifySignedData } from "../../src/smime/signed-data.ts";
import { readSignedShape } from "../../src/smime/signed-shape.ts";
import { fixtureBytes } from "../fixtures.ts";
import { algorithm, attribute, contentTypeIs, digestOf, handSigned, OID } from "./hand-signed.ts";
import { fixtureSigner, opensslSign, textEntity } from "./signed-mail.ts";

const NOW = Date.UTC(2027, 0, 1);
/** Far above what any of this takes, and far below what a mail flow would notice. */
const MAX_MS = 5000;
const alice = fixtureSigner("alice");
const content = textEntity();
const certificate = fixtureBytes("smime/certs/alice.der");
const EOC = Buffer.of(0, 0);

function reasonOf(cms: Uint8Array, detached: Uint8Array | undefined = content): string {
  const start = performance.now();
  const verdict = verifySignedData(cms, detached, NOW);
  expect(performance.now() - start).toBeLessThan(MAX_MS);
  return verdict.kind === "good" ? "good" : verdict.reason;
}

/** SignedData of these parts, whose lengths are written by `wrap`. */
const shaped = (wrap: typeof der, encapsulated: Uint8Array, ...rest: Uint8Array[]) =>
  wrap(
    0x30,
    oid(OID.signedData),
    wrap(0xa0, wrap(0x30, smallInteger(1), der(0x31, algorithm(OID.sha256)), encapsulated, ...rest)),
  );
const indefinite = (tag: number, ...contents: readonly Uint8Array[]) =>
  Buffer.concat([Buffer.of(tag, 0x80), ...contents, EOC]);
const DATA = sequence(oid(OID.data));
const NO_SIGNER = der(0x31);

describe("HARV-35: bombs", () => {
  const empties = Buffer.alloc(2_000_000, Buffer.of(0x30, 0x00));

  test.each([
    ["elements nested without lengths", Buffer.alloc(40_000, Buffer.of(0x30, 0x80))],
    ["a million of them", Buffer.alloc(2_000_000, Buffer.of(0x30, 0x80))],
    ["a million empty sequences", der(0x30, empties)],
    ["a million empty sequences without a length", indefinite(0x30, empties)],
    ["a length of two gigabytes", Buffer.from("30847fffffff06092a864886f70d010702", "hex")],
    ["a length of terabytes", Buffer.from("3086ffffffffffff06092a864886f70d010702", "hex")],
    ["nesting where the certificates are", shaped(der, DATA, Buffer.alloc(40_000, Buffer.of(0xa0, 0x80)))],
    [
      "nesting in a certificate",
      shaped(indefinite, DATA, indefinite(0xa0, Buffer.alloc(900_000, Buffer.of(0x30, 0x80)))),
    ],
    ["a million certificates", shaped(der, DATA, der(0xa0, empties), NO_SIGNER)],
    ["half a million certificates", shaped(der, DATA, der(0xa0, empties.subarray(1_000_010)), NO_SIGNER)],
    [
      "half a million certificates in BER",
      shaped(indefinite, DATA, indefinite(0xa0, empties.subarray(1_000_010)), NO_SIGNER),
    ],
    ["half a million signers", shaped(der, DATA, der(0x31, empties.subarray(1_000_010)))],
    [
      "a million digest algorithms",
      sequence(oid(OID.signedData), der(0xa0, sequence(smallInteger(1), der(0x31, empties)))),
    ],
  ])("%s are refused at once", (_, cms) => {
    expect(reasonOf(cms)).toMatch(/^\S.+[^.\s]$/);
  });

  test("many attributes are refused at once", () => {
    const many = Array.from({ length: 50_000 }, (_, index) => attribute(`1.2.3.${index}`, octetString(Buffer.of(1))));
    const attributes = [contentTypeIs(OID.data), digestOf(content), ...many.slice(0, 101)];
    expect(reasonOf(handSigned(alice, { content, attributes }))).toBe("more than 100 attributes");
    expect(reasonOf(handSigned(alice, { content, attributes: many }))).toMatch(/more than/);
  });

  test("a content in millions of pieces is refused at once", () => {
    for (const size of [0, 1]) {
      const pieces = Buffer.alloc(20_000_000, size === 0 ? Buffer.of(4, 0) : Buffer.of(4, 1, 65));
      const whole = pieces.subarray(0, pieces.length - (pieces.length % (2 + size)));
      const inside = indefinite(0x30, oid(OID.data), indefinite(0xa0, indefinite(0x24, whole)));
      expect(reasonOf(shaped(indefinite, inside, NO_SIGNER), undefined)).toMatch(/pieces/);
    }
  });

  test("a large content does not count, everything else does", () => {
    const large = Buffer.alloc(8_000_000, "0123456789\r\n");
    const cms = opensslSign(large, { by: alice, isOpaque: true, options: ["-stream"] });
    expect(verifySignedData(cms, undefined, NOW)).toMatchObject({ kind: "good" });
    expect(reasonOf(handSigned(alice, { content, unsigned: [octetString(large)] }))).toMatch(
      /more than 1048576 octets/,
    );
  });

  test("101 certificates are refused, 100 are not", () => {
    const bag = (count: number) => Array<Uint8Array>(count).fill(certificate);
    expect(reasonOf(handSigned(alice, { content, certificates: bag(100) }))).toBe("good");
    expect(reasonOf(handSigned(alice, { content, certificates: bag(101) }))).toBe("more than 100 certificates");
  });
});

test("HARV-36: an RSA key of 131072 bits is never computed with", () => {
  const modulus = der(0x02, Buffer.from([0, ...Buffer.alloc(16_384, 0xff)]));
  const spki = sequence(
    algorithm(OID.rsa),
    der(0x03, Buffer.from([0]), sequence(modulus, der(0x02, Buffer.of(1, 0, 1)))),
  );
  const [tbs, ...rest] = children(certificate);
  const own = children(tbs!);
  own[6] = spki;
  const huge = sequence(sequence(...own), ...rest);
  expect(reasonOf(handSigned(alice, { content, certificates: [huge] }))).toBe("signer certificate is missing");
});

function children(bytes: Uint8Array): Uint8Array[] {
  const { length } = bytes;
  return [...elementsIn({ bytes, tag: 0x30, start: 0, contentStart: 4, contentEnd: length, end: length })].map(
    encodingOf,
  );
}

describe("the shape of BER", () => {
  const inside = indefinite(0x30, oid(OID.data), indefinite(0xa0, indefinite(0x24, octetString(content))));

  test("is read with lengths, without, and with both", () => {
    for (const wrap of [der, indefinite])
      for (const signers of [NO_SIGNER, indefinite(0x31)])
        expect(readSignedShape(shaped(wrap, inside, signers))).toEqual({
          digestAlgorithms: [OID.sha256],
          contentType: OID.data,
          content: Buffer.from(content),
          certificates: [],
          signerInfos: [],
        });
  });

  test.each([
    ["an element too many", shaped(der, DATA, NO_SIGNER, NO_SIGNER), /more elements/],
    ["an element too many, BER", shaped(indefinite, DATA, NO_SIGNER, NO_SIGNER), /more elements/],
    ["no signerInfos", shaped(der, DATA), /no signerInfos|middle/],
    ["no end", shaped(indefinite, DATA, NO_SIGNER).subarray(0, -2), /ends in the middle/],
    [
      "an end with a length",
      Buffer.concat([shaped(indefinite, DATA, NO_SIGNER).subarray(0, -2), Buffer.of(0, 1, 0)]),
      /with a length/,
    ],
    ["octets after its end", Buffer.concat([shaped(indefinite, DATA, NO_SIGNER), EOC]), /octets follow/],
    [
      "a part that is longer than the whole",
      Buffer.concat([derHeader(0x30, 20), shaped(der, DATA, NO_SIGNER).subarray(2)]),
      /longer/,
    ],
    [
      "segments within segments",
      shaped(der, sequence(oid(OID.data), der(0xa0, der(0x24, der(0x24)))), NO_SIGNER),
      /no octet string/,
    ],
    [
      "content that is no octet string",
      shaped(der, sequence(oid(OID.data), der(0xa0, sequence())), NO_SIGNER),
      /no octet string/,
    ],
  ])("with %s is refused", (_, cms, reason) => {
    expect(reasonOf(cms)).toMatch(reason);
  });
});

describe("random changes", () => {
  const bundles: readonly [string, Buffer, Buffer | undefined][] = [
    ["opaque DER", opensslSign(content, { by: alice, isOpaque: true }), undefined],
    ["opaque BER", opensslSign(content, { by: fixtureSigner("bob"), isOpaque: true, options: ["-stream"] }), undefined],
    ["detached", opensslSign(content, { by: alice }), content],
    ["without attributes", opensslSign(content, { by: alice, isOpaque: true, options: ["-noattr"] }), undefined],
  ];

  test.each(bundles)("of %s leave what was signed as it was, or are refused", (_, cms, detached) => {
    const original = verifySignedData(cms, detached, NOW);
    if (original.kind === "refused") throw new Error(original.reason);
    const attributes = attributesIn(cms);
    const change = fc.tuple(fc.nat(cms.length - 1), fc.nat(255));
    const property = fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const bytes = Buffer.from(cms);
      for (const [at, value] of changes) bytes[at] = value;
      const verdict = verifySignedData(bytes, detached, NOW);
      if (verdict.kind === "refused") return;
      const { signer, signedAt, capabilities, preferred } = verdict;
      // the certificate itself is vouched for by its issuer, not by this signature: it must have the same key, no more
      expect(issuerKey(signer)?.equals(issuerKey(original.signer)!)).toBe(true);
      const inside = readSignedShape(bytes).content;
      expect({ signedAt, capabilities, preferred, inside }).toEqual({
        signedAt: original.signedAt,
        capabilities: original.capabilities,
        preferred: undefined,
        inside: readSignedShape(cms).content,
      });
      expect(attributesIn(bytes)).toEqual(attributes);
    });
    fc.assert(property, { numRuns: 600 });
  });

  test.each(bundles)("of %s cut short at any octet are refused", (_, cms, detached) => {
    for (let length = 0; length < cms.length; length += 1)
      expect(verifySignedData(cms.subarray(0, length), detached, NOW).kind).toBe("refused");
  });

  test.each(bundles)(
    "of a bit in any octet of the attributes and the content of %s are refused",
    (_, cms, detached) => {
      const signed = [attributesIn(cms), detached === undefined ? content : Buffer.alloc(0)];
      for (const range of signed) {
        const from = cms.indexOf(range);
        expect(from).toBeGreaterThanOrEqual(0);
        for (let at = 0; at < range.length; at += 1) {
          const bytes = Buffer.from(cms);
          bytes[from + at]! ^= 1 << (at & 7);
          expect(verifySignedData(bytes, detached, NOW).kind).toBe("refused");
        }
      }
    },
  );

  test("of nothing: random octets are refused", () => {
    const property = fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(verifySignedData(bytes, content, NOW).kind).toBe("refused");
    });
    fc.assert(property, { numRuns: 1000 });
  });

  /** The [0] of the only signer; nothing when there is none. */
  function attributesIn(cms: Uint8Array): Uint8Array {
    const [signerInfo] = readSignedShape(cms).signerInfos;
    const attributes = [...elementsIn(signerInfo!)].find(({ tag }) => tag === 0xa0);
    return attributes === undefined ? Buffer.alloc(0) : Buffer.from(encodingOf(attributes));
  }
});
