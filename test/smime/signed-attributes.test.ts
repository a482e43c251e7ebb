// What signers say of their keys, in the writing of BouncyCastle, Thunderbird and Outlook, comes out of whole messages.
import { beforeAll, describe, expect, test } from "vitest";
import { decodedBody, partsOf, readEntity } from "../../src/mail/mime.ts";
import { contentType } from "../../src/mail/content-type.ts";
import { parseCertificate } from "../../src/smime/certificate.ts";
import { der, octetString, oid, sequence } from "../../src/smime/der-writing.ts";
import { verifySignedData, type SignedVerdict } from "../../src/smime/signed-data.ts";
import { readSignedShape } from "../../src/smime/signed-shape.ts";
import { fixture, fixtureBytes } from "../fixtures.ts";
import { attribute, certificateOf, contentTypeIs, digestOf, handSigned, OID, timeIs } from "./hand-signed.ts";
import {
  bouncyCastleSign,
  clearSignedMail,
  fixtureSigner,
  opaqueSignedMail,
  opensslReads,
  opensslSign,
  opensslVerifies,
  OUTLOOK,
  signedMail,
  textEntity,
  THUNDERBIRD,
  type BouncyCastleOrder,
} from "./signed-mail.ts";

const NOW = Date.UTC(2027, 0, 1);
const AES256_CBC = "2.16.840.1.101.3.4.1.42";
const RC2_CBC = "1.2.840.113549.3.2";

const alice = fixtureSigner("alice");
const content = textEntity();
const path = (name: string) => fixture(`smime/certs/${name}.pem`);
const derOf = (name: string) => fixtureBytes(`smime/certs/${name}.der`);
const fingerprint = (name: string) => parseCertificate(certificateOf({ certificate: path(name), key: "" })).fingerprint;

function good(cms: Uint8Array, detached?: Uint8Array) {
  const verdict = verifySignedData(cms, detached, NOW);
  if (verdict.kind === "refused") throw new Error(verdict.reason);
  return verdict;
}

const reasonOf = (verdict: SignedVerdict) => (verdict.kind === "good" ? "good" : verdict.reason);

describe("BouncyCastle", () => {
  // encryption goes to alice-new, signing is done with alice-sign: Outlook's two keys
  const dual = { by: fixtureSigner("alice-sign"), companions: [path("alice-new"), path("issuing")] };
  const orders: Readonly<Record<string, Partial<BouncyCastleOrder>>> = {
    "detached BER": {},
    "opaque BER": { traits: ["opaque"] },
    "opaque BER in segments": { traits: ["opaque", "stream"] },
    "detached BER, streamed": { traits: ["stream"] },
    "opaque DER": { traits: ["opaque", "der"] },
    subjectKeyIdentifier: { traits: ["skid"] },
    "no attributes": { traits: ["noattr", "opaque", "stream"] },
    "RSASSA-PSS": { algorithm: "SHA512withRSAandMGF1" },
    ECDSA: { by: fixtureSigner("bob"), algorithm: "SHA384withECDSA" },
    Ed25519: { by: fixtureSigner("edith"), algorithm: "Ed25519" },
    "Ed25519 without attributes": { by: fixtureSigner("edith"), algorithm: "Ed25519", traits: ["noattr"] },
    capabilities: { traits: ["capabilities"] },
    issuer: { ...dual, traits: [`issuer=${path("alice-new")}`] },
    ski: { ...dual, traits: [`ski=${path("alice-new")}`] },
    recipient: { ...dual, traits: [`recipient=${path("alice-new")}`] },
    microsoft: { ...dual, traits: [`microsoft=${path("alice-new")}`] },
    outlook: { ...dual, traits: ["capabilities", `issuer=${path("alice-new")}`, `microsoft=${path("alice-new")}`] },
    own: { traits: [`issuer=${path("alice")}`] },
    "not there": { traits: [`issuer=${path("bob")}`] },
    differing: { ...dual, traits: [`issuer=${path("alice-new")}`, `microsoft=${path("alice-sign")}`] },
    ess: { traits: [`ess1=${path("alice")}`, `ess2=${path("alice")}`] },
    "ess1 of another": { traits: [`ess1=${path("bob")}`] },
    "ess2 of another": { traits: [`ess2=${path("bob")}`] },
    bare: { traits: ["bare"], companions: [path("bob")] },
  };
  const large = Buffer.concat([content, Buffer.alloc(20_000, "Hello Jira\r\n")]);
  const made = new Map<string, Buffer>();
  const isOpaque = (name: string) => orders[name]?.traits?.includes("opaque") === true;
  const signed = (name: string) => ({ cms: made.get(name)!, detached: isOpaque(name) ? undefined : large });
  const read = (name: string) => good(signed(name).cms, signed(name).detached);

  beforeAll(() => {
    const all = Object.values(orders).map((order) => ({
      by: alice,
      content: large,
      algorithm: "SHA256withRSA",
      ...order,
    }));
    const bytes = bouncyCastleSign(all);
    Object.keys(orders).forEach((name, index) => made.set(name, bytes[index]!));
  });

  test.each(Object.keys(orders).slice(0, 12))("%s is good", (name) => {
    const { cms, detached } = signed(name);
    read(name);
    expect(readSignedShape(cms).content).toEqual(detached === undefined ? large : undefined);
    const changed = Buffer.from(large.toString().replace("signed", "sighed"));
    if (detached !== undefined) expect(verifySignedData(cms, changed, NOW)).toMatchObject({ kind: "refused" });
    // Ed25519 is not in the CMS of openssl 3.0
    if (!name.startsWith("Ed25519")) expect(opensslVerifies(cms, detached)).toBe(true);
  });

  test("writes BER of indefinite length and in segments, as this test needs it", () => {
    expect(signed("opaque BER").cms.subarray(0, 2)).toEqual(Buffer.of(0x30, 0x80));
    expect(signed("opaque BER in segments").cms.includes(large)).toBe(false);
    expect(signed("opaque DER").cms[1]).toBe(0x82);
  });

  test.each(["issuer", "ski", "recipient", "microsoft", "outlook"])(
    "a preference (%s) names its certificate",
    (name) => {
      const { signer, preferred } = read(name);
      expect(signer.fingerprint).toBe(fingerprint("alice-sign"));
      expect(preferred?.fingerprint).toBe(fingerprint("alice-new"));
    },
  );

  test("a preference for the signer's own certificate names it", () => {
    expect(read("own").preferred?.fingerprint).toBe(fingerprint("alice"));
  });

  test("a preference for a certificate that did not come along names none", () => {
    expect(read("not there").preferred).toBeUndefined();
  });

  test("two preferences that differ are refused", () => {
    const { cms, detached } = signed("differing");
    expect(reasonOf(verifySignedData(cms, detached, NOW))).toBe("two different encryption key preferences");
  });

  test("signingCertificate must name the signer", () => {
    expect(read("ess").signer.fingerprint).toBe(fingerprint("alice"));
    for (const name of ["ess1 of another", "ess2 of another"])
      expect(reasonOf(verifySignedData(signed(name).cms, large, NOW))).toMatch(/names another certificate/);
  });

  test("HARV-10: a signer whose certificate did not come along is refused", () => {
    expect(reasonOf(verifySignedData(signed("bare").cms, large, NOW))).toBe("signer certificate is missing");
  });

  test("capabilities come in their order, also those with parameters", () => {
    const { capabilities } = read("capabilities");
    expect(capabilities).toEqual([AES256_CBC, "2.16.840.1.101.3.4.1.2", RC2_CBC]);
  });
});

describe("openssl", () => {
  test("says capabilities, the signing time and all certificates, but no preference", () => {
    const before = Math.floor(Date.now() / 1000) * 1000;
    const cms = opensslSign(content, { by: alice, companions: [path("bob"), path("issuing")] });
    const verdict = verifySignedData(cms, content, before + 60_000);
    if (verdict.kind === "refused") throw new Error(verdict.reason);
    expect(verdict.capabilities[0]).toBe(AES256_CBC);
    expect(verdict.signedAt).toBeGreaterThanOrEqual(before);
    expect(verdict.preferred).toBeUndefined();
    expect(verdict.certificates.map((one) => one.fingerprint).sort()).toEqual(
      ["alice", "bob", "issuing"].map(fingerprint).sort(),
    );
  });

  test("in alice-dualkey.p7m signs with alice-sign and brings alice-new", () => {
    const verdict = good(fixtureBytes("smime/bundles/alice-dualkey.p7m"));
    expect(verdict.signer.fingerprint).toBe(fingerprint("alice-sign"));
    expect(verdict.certificates.map((one) => one.fingerprint)).toContain(fingerprint("alice-new"));
    expect(verdict.preferred).toBeUndefined();
  });

  test("without attributes says neither time nor capabilities", () => {
    const cms = opensslSign(content, { by: alice, options: ["-noattr"] });
    expect(good(cms, content)).toMatchObject({ signedAt: undefined, capabilities: [], preferred: undefined });
  });
});

describe("by hand", () => {
  const signedWith = (...more: Uint8Array[]) =>
    handSigned(alice, { content, attributes: [contentTypeIs(OID.data), digestOf(content), ...more] });
  const preference = (value: Uint8Array) => attribute("1.2.840.113549.1.9.16.2.11", value);

  test.each([
    ["UTCTime", timeIs("260203040506Z")],
    ["GeneralizedTime", attribute(OID.signingTime, der(0x18, Buffer.from("20260203040506Z")))],
  ])("a signing time in %s is read", (_, time) => {
    expect(good(signedWith(time), content).signedAt).toBe(Date.UTC(2026, 1, 3, 4, 5, 6));
  });

  test("HARV-14: a signing time in the future is taken for now", () => {
    expect(good(signedWith(timeIs("370101000000Z")), content).signedAt).toBe(NOW);
  });

  test("a preference that more than one certificate answers to names none", () => {
    // alice and alice-old are certificates of one key
    const ski = parseCertificate(derOf("alice")).subjectKeyIdentifier!;
    const attributes = [contentTypeIs(OID.data), digestOf(content), preference(der(0x82, ski))];
    const alone = handSigned(alice, { content, attributes });
    const both = handSigned(alice, { content, attributes, certificates: [certificateOf(alice), derOf("alice-old")] });
    expect(good(alone, content).preferred?.fingerprint).toBe(fingerprint("alice"));
    expect(good(both, content).preferred).toBeUndefined();
  });

  test.each([
    ["a preference of no known kind", preference(octetString(Buffer.of(1)))],
    ["a preference cut short", preference(der(0xa0, sequence()))],
    ["capabilities that are none", attribute("1.2.840.113549.1.9.15", octetString(Buffer.of(1)))],
    [
      "201 capabilities",
      attribute("1.2.840.113549.1.9.15", sequence(...Array<Buffer>(201).fill(sequence(oid("1.2.3"))))),
    ],
    ["a signing time that is none", attribute(OID.signingTime, octetString(Buffer.of(1)))],
    ["signingCertificate without a hash", attribute("1.2.840.113549.1.9.16.2.12", sequence(sequence()))],
    ["an attribute without a value", sequence(oid("1.2.3"), der(0x31), octetString(Buffer.of(1)))],
  ])("%s is refused", (_, value) => {
    expect(verifySignedData(signedWith(value), content, NOW).kind).toBe("refused");
    expect(verifySignedData(signedWith(), content, NOW).kind).toBe("good");
  });
});

describe("a whole message", () => {
  const head = { from: "Alice <alice@example.com>" };
  const cms = opensslSign(content, { by: alice });

  /** As whoever harvests will read it. */
  function readSigned(message: Buffer): SignedVerdict {
    const root = readEntity(message);
    const type = contentType(root.header);
    if ("fault" in type) throw new Error(type.fault);
    if (type.type !== "multipart/signed") {
      expect(type.parameters.get("smime-type")).toBe("signed-data");
      return verifySignedData(bytesOf(root), undefined, NOW);
    }
    const split = partsOf(root);
    if ("fault" in split) throw new Error(split.fault);
    const signature = readEntity(split.parts[1]!);
    expect(contentType(signature.header)).toMatchObject({ type: type.parameters.get("protocol") });
    return verifySignedData(bytesOf(signature), split.parts[0], NOW);
  }

  function bytesOf(entity: ReturnType<typeof readEntity>): Buffer {
    const decoded = decodedBody(entity);
    if ("fault" in decoded) throw new Error(decoded.fault);
    return decoded.bytes;
  }

  test.each<[string, Buffer]>([
    ["of the plainest kind", signedMail(head, alice)],
    ["like Thunderbird's", clearSignedMail(head, content, cms, THUNDERBIRD)],
    ["like Outlook's", clearSignedMail(head, content, cms, OUTLOOK)],
    ["of pkcs7-mime", opaqueSignedMail(head, opensslSign(content, { by: alice, isOpaque: true }))],
    ["of x-pkcs7-mime", opaqueSignedMail(head, opensslSign(content, { by: alice, isOpaque: true }), OUTLOOK)],
    [
      "of pkcs7-mime in BER",
      opaqueSignedMail(head, opensslSign(content, { by: alice, isOpaque: true, options: ["-stream"] })),
    ],
  ])("%s is good, for openssl with the same content", (_, message) => {
    expect(readSigned(message)).toMatchObject({ kind: "good", signer: { fingerprint: fingerprint("alice") } });
    expect(opensslReads(message)).toEqual({ isGood: true, content });
  });

  test("changed by a footer within what is signed is refused", () => {
    const message = clearSignedMail(head, content, cms).toString("latin1");
    const footed = message.replace("this is signed.\r\n", "this is signed.\r\n-- \r\nscanned by mailgate\r\n");
    expect(readSigned(Buffer.from(footed, "latin1"))).toMatchObject({ reason: "content is not what was signed" });
  });
});
