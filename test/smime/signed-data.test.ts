// Signatures of openssl verify, and whatever was changed, mixed up or left out is refused, with openssl as the judge of each row.
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { der, oid, octetString, sequence } from "../../src/smime/der-writing.ts";
import { parseCertificate } from "../../src/smime/certificate.ts";
import { verifySignedData } from "../../src/smime/signed-data.ts";
import { fixture, fixtureBytes } from "../fixtures.ts";
import {
  algorithm,
  attribute,
  certificateOf,
  contentTypeIs,
  digestOf,
  handSigned,
  OID,
  timeIs,
  type HandOrder,
} from "./hand-signed.ts";
import {
  fixtureSigner,
  opensslResign,
  opensslSign,
  opensslVerifies,
  textEntity,
  type SignatureOrder,
} from "./signed-mail.ts";

const NOW = Date.UTC(2027, 0, 1);

const alice = fixtureSigner("alice");
const bob = fixtureSigner("bob");
const content = textEntity();
const changed = textEntity("Hello,\r\nthis is sighed.\r\n");
const certificate = (name: string) => fixture(`smime/certs/${name}.pem`);
const derOf = (name: string) => fixtureBytes(`smime/certs/${name}.der`);
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();

type Signed = { readonly cms: Buffer; readonly detached?: Buffer };

const clear = (order: Partial<SignatureOrder> = {}): Signed => ({
  cms: opensslSign(content, { by: alice, ...order }),
  detached: content,
});
const opaque = (order: Partial<SignatureOrder> = {}): Signed => ({
  cms: opensslSign(content, { by: alice, isOpaque: true, ...order }),
});
const byHand = (order: Partial<HandOrder> = {}): Signed => ({
  cms: handSigned(alice, { content, ...order }),
  ...(order.isOpaque === true ? {} : { detached: order.content === undefined ? content : Buffer.from(order.content) }),
});
const bundle = (name: string): Signed => ({ cms: fixtureBytes(`smime/bundles/${name}`) });
const sha1Of = (name: string) => createHash("sha1").update(derOf(name)).digest();
const ess = (version: 12 | 47, hash: Uint8Array) =>
  attribute(`1.2.840.113549.1.9.16.2.${version}`, sequence(sequence(sequence(octetString(hash)))));
const withAttributes = (...more: Uint8Array[]) =>
  byHand({ attributes: [contentTypeIs(OID.data), digestOf(content), ...more] });
const usual = [contentTypeIs(OID.data), digestOf(content)];

/** The octets `from`, which must be there, replaced by others of the same length. */
function swap(signed: Signed, from: Uint8Array, to: Uint8Array): Signed {
  const at = signed.cms.lastIndexOf(from);
  if (at < 0 || from.length !== to.length) throw new Error("nothing to swap");
  const cms = Buffer.from(signed.cms);
  cms.set(to, at);
  return { ...signed, cms };
}

function withSignatureOf(another: Signed): Signed {
  const signed = clear();
  return swap(signed, signatureOf(signed), signatureOf(another));
}

/** One bit of the last octet that counts is another: that of the signature. */
function flipLast(signed: Signed): Signed {
  const cms = Buffer.from(signed.cms);
  cms[cms.length - 1]! ^= 1;
  return { ...signed, cms };
}

/** The signing time is five years later. */
function later(signed: Signed): Signed {
  const at = signed.cms.lastIndexOf(oid(OID.signingTime)) + oid(OID.signingTime).length + 4;
  const year = signed.cms.subarray(at, at + 2);
  return swap(
    signed,
    signed.cms.subarray(at - 4),
    Buffer.concat([signed.cms.subarray(at - 4, at), fiveMore(year), signed.cms.subarray(at + 2)]),
  );
}

const fiveMore = (year: Buffer) => Buffer.from(String(Number(year.toString()) + 5));
/** The last 256 octets: an RSA signature. */
const signatureOf = ({ cms }: Signed) => cms.subarray(-256);
/** Another certificate under the name of Alice's: of her issuer, with her serial number. */
const impostor = () => swap({ cms: derOf("alice-new") }, Buffer.of(2, 2, 0x20, 0x02), Buffer.of(2, 2, 0x20, 0x00)).cms;

function identifierOf(name: string): Buffer {
  const { issuerDer, serial } = parseCertificate(derOf(name));
  return sequence(issuerDer, der(0x02, serial));
}

const pss = (...more: string[]) => ["-keyopt", "rsa_padding_mode:pss", ...more.flatMap((one) => ["-keyopt", one])];

type Row = readonly [title: string, make: () => Signed];

const GOOD: readonly Row[] = [
  ["RSA, detached", () => clear()],
  ["RSA, opaque", () => opaque()],
  ["RSA, opaque, BER", () => opaque({ options: ["-stream"] })],
  ["SHA-384", () => clear({ options: ["-md", "sha384"] })],
  ["SHA-512", () => clear({ options: ["-md", "sha512"] })],
  ["RSASSA-PSS with the longest salt", () => clear({ options: pss("rsa_pss_saltlen:max") })],
  ["RSASSA-PSS with a salt as long as its digest", () => clear({ options: pss("rsa_pss_saltlen:digest") })],
  ["RSASSA-PSS with a salt of 20 octets", () => clear({ options: pss("rsa_pss_saltlen:20") })],
  ["an id-RSASSA-PSS key", () => clear({ by: fixtureSigner("peggy"), options: pss() })],
  ["ECDSA P-256", () => clear({ by: bob })],
  ["ECDSA P-384", () => opaque({ by: fixtureSigner("bob384"), options: ["-md", "sha384"] })],
  ["ECDSA P-521", () => opaque({ by: fixtureSigner("bob521"), options: ["-md", "sha512"] })],
  ["ECDSA brainpoolP256r1", () => clear({ by: fixtureSigner("bobbp") })],
  ["a signer named by subjectKeyIdentifier", () => clear({ options: ["-keyid"] })],
  ["no attributes, detached", () => clear({ options: ["-noattr"] })],
  ["no attributes, opaque, BER", () => opaque({ options: ["-noattr", "-stream"] })],
  ["no capabilities", () => clear({ options: ["-nosmimecap"] })],
  ["signingCertificateV2", () => clear({ options: ["-cades"] })],
  ["companions before and after", () => clear({ companions: [certificate("bob"), certificate("issuing")] })],
  ["empty content", () => ({ cms: opensslSign(Buffer.alloc(0), { by: alice }), detached: Buffer.alloc(0) })],
  ["put together by hand", () => byHand()],
  ["put together by hand, opaque", () => byHand({ isOpaque: true })],
  ["unsigned attributes, whatever they say", () => byHand({ unsigned: [attribute(OID.data, der(0x17))] })],
  ["signingCertificate of the signer", () => withAttributes(ess(12, sha1Of("alice")))],
  ["a broken certificate beside", () => byHand({ certificates: [certificateOf(alice), brokenCertificate()] })],
  ["alice-signed.p7m", () => bundle("alice-signed.p7m")],
  ["alice-signed-single.p7m", () => bundle("alice-signed-single.p7m")],
  ["alice-signed-ber.p7m", () => bundle("alice-signed-ber.p7m")],
  ["alice-dualkey.p7m", () => bundle("alice-dualkey.p7m")],
  ["bob-detached.p7s", () => ({ ...bundle("bob-detached.p7s"), detached: fixtureBytes("smime/ca/content.txt") })],
];

/** A certificate that openssl reads and we do not: it has an extension twice. */
function brokenCertificate(): Buffer {
  const bytes = derOf("bob");
  const [usage, alternative] = [Buffer.of(6, 3, 0x55, 0x1d, 0x0f), Buffer.of(6, 3, 0x55, 0x1d, 0x11)];
  return swap({ cms: bytes }, usage, alternative).cms;
}

test.each(GOOD)("%s is good, as for openssl", (_, make) => {
  const { cms, detached } = make();
  expect(opensslVerifies(cms, detached)).toBe(true);
  expect(verifySignedData(cms, detached, NOW)).toMatchObject({ kind: "good" });
});

type BadRow = readonly [...Row, reason: RegExp];

const BAD: readonly BadRow[] = [
  ["HARV-09: a good signer and one whose signature is broken", () => flipLast(resigned()), /more than one signer/],
  ["HARV-10: no certificate", () => clear({ options: ["-nocerts"] }), /^signer certificate is missing$/],
  [
    "HARV-10: only certificates of others",
    () => clear({ options: ["-nocerts"], companions: [certificate("bob"), certificate("issuing")] }),
    /^signer certificate is missing$/,
  ],
  ["another content", () => ({ ...clear(), detached: changed }), /content is not what was signed/],
  ["another content, no attributes", () => ({ ...clear({ options: ["-noattr"] }), detached: changed }), /not verify/],
  ["another content, ECDSA", () => ({ ...clear({ by: bob }), detached: changed }), /content is not what was signed/],
  ["another content inside", () => swap(opaque(), content, changed), /content is not what was signed/],
  [
    "LF for CRLF",
    () => ({ ...clear(), detached: Buffer.from(content.toString().replaceAll("\r", "")) }),
    /not what was/,
  ],
  [
    "a line end more",
    () => ({ ...clear(), detached: Buffer.from(`${content.toString()}\r\n`) }),
    /not what was signed/,
  ],
  ["no content", () => ({ cms: clear().cms }), /content is missing/],
  [
    "another content, its digest put into the attributes",
    () => ({ ...swap(clear(), sha256(content), sha256(changed)), detached: changed }),
    /signature does not verify/,
  ],
  ["another signing time", () => later(clear()), /signature does not verify/],
  ["other capabilities", () => swap(clear(), Buffer.of(3, 4, 1, 42), Buffer.of(3, 4, 1, 2)), /does not verify/],
  ["another bit in an RSA signature", () => flipLast(clear()), /signature does not verify/],
  ["another bit in an RSASSA-PSS signature", () => flipLast(clear({ options: pss() })), /signature does not verify/],
  ["another bit in an ECDSA signature", () => flipLast(clear({ by: bob })), /signature does not verify/],
  ["the signature of another content", () => withSignatureOf(other()), /not verify/],
  ["the signature of another signer", () => withSignatureOf(dave()), /not verify/],
  ["the certificate of another, under its name", () => byHand({ certificates: [impostor()] }), /does not verify/],
  [
    "a signer's name that is another's",
    () => byHand({ certificates: [certificateOf(alice), derOf("dave")], identifier: identifierOf("dave") }),
    /signature does not verify/,
  ],
  ["a digest that is not announced", () => byHand({ announced: [OID.sha512] }), /digest sha256 is not announced/],
  ["a digest that is not that of the content", () => byHand({ digest: OID.sha512 }), /content is not what was signed/],
  ["no contentType", () => byHand({ attributes: [digestOf(content)] }), /contentType is missing/],
  ["no messageDigest", () => byHand({ attributes: [contentTypeIs(OID.data)] }), /messageDigest is missing/],
  [
    "a messageDigest of something else",
    () => byHand({ attributes: [contentTypeIs(OID.data), digestOf(changed)] }),
    /not what/,
  ],
  ["a signature over other attributes", () => byHand({ over: changed }), /signature does not verify/],
  ["two messageDigests", () => withAttributes(digestOf(changed)), /occurs twice/],
  [
    "a messageDigest of two values",
    () => byHand({ attributes: [contentTypeIs(OID.data), twoDigests()] }),
    /more elements/,
  ],
  ["two signing times", () => withAttributes(timeIs("260101000000Z"), timeIs("270101000000Z")), /occurs twice/],
  [
    "a signature algorithm with another digest than the attributes",
    () => byHand({ signatureAlgorithm: algorithm(OID.rsaSha512), signatureDigest: "sha512" }),
    /signature with digest sha512/,
  ],
  ["PKCS#1 v1.5 said of an id-RSASSA-PSS key", () => clear({ by: fixtureSigner("peggy") }), /key of type rsa-pss/],
];

const resigned = (): Signed => ({ cms: opensslResign(opaque().cms, bob) });
const other = (): Signed => ({ cms: opensslSign(changed, { by: alice }) });
const dave = (): Signed => clear({ by: fixtureSigner("dave") });
const twoDigests = () => attribute(OID.messageDigest, octetString(sha256(content)), octetString(sha256(changed)));

test.each(BAD)("%s is refused, by openssl too", (_, make, reason) => {
  const { cms, detached } = make();
  expect(opensslVerifies(cms, detached)).toBe(false);
  expect(verifySignedData(cms, detached, NOW)).toEqual({
    kind: "refused",
    reason: expect.stringMatching(reason) as string,
  });
});

/** Where openssl is content with less. */
const STRICTER: readonly BadRow[] = [
  ["HARV-09: two signers", resigned, /^more than one signer$/],
  ["HARV-09: one signer twice", () => byHand({ signers: 2 }), /^more than one signer$/],
  ["HARV-20: digest SHA-1", () => clear({ options: ["-md", "sha1"] }), /^digest sha1 is weak$/],
  ["HARV-20: digest MD5", () => clear({ options: ["-md", "md5"] }), /^digest md5 is weak$/],
  ["HARV-20: digest SHA-224", () => clear({ options: ["-md", "sha224"] }), /^digest sha224 is weak$/],
  ["HARV-20: an RSA key of 1024 bits", () => clear({ by: fixtureSigner("nick") }), /RSA key of 1024 bits/],
  [
    "HARV-09: two certificates of the signer's name",
    () => byHand({ certificates: [certificateOf(alice), impostor()] }),
    /more than one/,
  ],
  ["content inside and beside", () => ({ ...opaque(), detached: content }), /^content is there twice$/],
  ["content of another type", () => opaque({ options: ["-econtent_type", "pkcs7-envelopedData"] }), /instead of data/],
  ["a signing time without seconds", () => withAttributes(timeIs("2601010000Z")), /signingTime has a time of unknown/],
  ["signingCertificate of another", () => withAttributes(ess(12, sha1Of("alice-new"))), /names another certificate/],
  ["signingCertificateV2 of another", () => withAttributes(ess(47, sha256(derOf("alice-new")))), /names another/],
  ["octets after its end", () => ({ ...clear(), cms: Buffer.concat([clear().cms, Buffer.of(0)]) }), /octets follow/],
  [
    "the signed attributes of a genuine mail passed off as content",
    () => {
      const attributes = Buffer.concat([
        Buffer.of(0x31, usual[0]!.length + usual[1]!.length),
        ...[...usual].sort((a, b) => Buffer.compare(a, b)),
      ]);
      return byHand({ content: attributes, attributes: "none" });
    },
    /^content looks like signed attributes$/,
  ],
  [
    "the contentType of something else",
    () => byHand({ attributes: [contentTypeIs(OID.signedData), digestOf(content)] }),
    /not that/,
  ],
];

test.each(STRICTER)("%s is refused, though openssl takes it", (_, make, reason) => {
  const { cms, detached } = make();
  expect(verifySignedData(cms, detached, NOW)).toEqual({
    kind: "refused",
    reason: expect.stringMatching(reason) as string,
  });
  expect(opensslVerifies(cms, detached)).toBe(true);
});

describe("no signature", () => {
  test.each<[string, Buffer, RegExp]>([
    ["a bag of certificates", fixtureBytes("smime/bundles/one.p7b"), /^no signer$/],
    ["an encrypted message", fixtureBytes("cms-samples/rsa15-aes256cbc.der"), /is not SignedData$/],
    ["a certificate", derOf("alice"), /^no contentType/],
    ["nothing", Buffer.alloc(0), /^ends in the middle/],
  ])("is found in %s", (_, cms, reason) => {
    expect(verifySignedData(cms, content, NOW)).toMatchObject({ reason: expect.stringMatching(reason) as string });
  });
});
