// Certification paths are judged as openssl verify judges them, over chains that openssl makes.
import { spawnSync } from "node:child_process";
import { createECDH, X509Certificate } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { parseCertificate, type Certificate } from "../../src/smime/certificate.ts";
import { pemBlocks } from "../../src/smime/pem.ts";
import { readRevocationLists } from "../../src/smime/revocation-list.ts";
import { createTrust } from "../../src/smime/trust.ts";
import { fixture, fixtureBytes } from "../fixtures.ts";
import {
  ANN,
  ca,
  END_ENTITY,
  GOOD,
  leaf,
  said,
  sub,
  TestPki,
  under,
  type CertificateOrder,
  type Row,
} from "./test-pki.ts";

/** In the order of making: what stands above comes first. */
const CERTIFICATES: Readonly<Record<string, CertificateOrder>> = {
  root: ca("root"),
  other: ca("other"),
  issuing: sub("issuing", "root"),
  deep: sub("deep", "issuing"),
  "ann-root": leaf("root"),
  ann: leaf("issuing"),
  "ann-deep": leaf("deep"),
  // validity
  "short-root": { ...ca("short-root"), days: 100 },
  "short-sub": { ...sub("short-sub", "root"), days: 100 },
  "ann-short": { ...leaf("issuing"), days: 100 },
  "ann-short-sub": leaf("short-sub"),
  "ann-short-root": leaf("short-root"),
  // basic constraints and key usage
  "len0-root": ca("len0-root", "basicConstraints=critical,CA:TRUE,pathlen:0"),
  "len0-sub": sub("len0-sub", "len0-root"),
  "ann-len0-root": leaf("len0-root"),
  "ann-len0-sub": leaf("len0-sub"),
  len0: sub("len0", "root", "basicConstraints=critical,CA:TRUE,pathlen:0"),
  "len0-self": { ...sub("len0", "len0"), key: "len0-next" },
  "len0-below": sub("len0-below", "len0"),
  "ann-len0": leaf("len0"),
  "ann-len0-self": leaf("len0-self"),
  "ann-len0-below": leaf("len0-below"),
  "no-ca": sub("no-ca", "root", "basicConstraints=CA:FALSE"),
  "ann-no-ca": leaf("no-ca"),
  "no-sign": sub("no-sign", "root", "keyUsage=critical,digitalSignature,cRLSign"),
  "ann-no-sign": leaf("no-sign"),
  "no-usage": {
    ...sub("no-usage", "root"),
    extensions: "basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash",
  },
  "ann-no-usage": leaf("no-usage"),
  "v1-root": { ...ca("v1-root"), extensions: "" },
  "v1-sub": { ...sub("v1-sub", "root"), extensions: "" },
  "ann-v1-root": leaf("v1-root", END_ENTITY),
  "ann-v1-sub": leaf("v1-sub", END_ENTITY),
  // purposes and critical extensions
  "server-ca": sub("server-ca", "root", "extendedKeyUsage=serverAuth"),
  "mail-ca": sub("mail-ca", "root", "extendedKeyUsage=clientAuth,emailProtection"),
  "any-ca": sub("any-ca", "root", "extendedKeyUsage=anyExtendedKeyUsage"),
  "ann-server-ca": leaf("server-ca"),
  "ann-mail-ca": leaf("mail-ca"),
  "ann-any-ca": leaf("any-ca"),
  "ann-server": leaf("issuing", ANN.replace("emailProtection", "serverAuth")),
  "odd-ca": sub("odd-ca", "root", "1.2.3.4.5.6=critical,ASN1:NULL"),
  "odd-root": ca("odd-root", "1.2.3.4.5.6=critical,ASN1:NULL"),
  "shy-ca": sub("shy-ca", "root", "1.2.3.4.5.6=ASN1:NULL"),
  "inhibit-ca": sub("inhibit-ca", "root", "inhibitAnyPolicy=critical,0"),
  "policy-ca": sub("policy-ca", "root", "policyConstraints=critical,requireExplicitPolicy:0"),
  "ann-odd-ca": leaf("odd-ca"),
  "ann-odd-root": leaf("odd-root"),
  "ann-shy-ca": leaf("shy-ca"),
  "ann-inhibit-ca": leaf("inhibit-ca"),
  "ann-policy-ca": leaf("policy-ca"),
  "ann-odd": leaf("issuing", `${ANN}\n1.2.3.4.5.6=critical,ASN1:NULL`),
  // several certificates of one name
  cross: sub("cross", "root"),
  "cross-short": { ...sub("cross", "other"), days: 100 },
  "ann-cross": leaf("cross"),
  "issuing-twin": { ...sub("issuing", "root"), key: "issuing-twin" },
  "ann-twin": leaf("issuing-twin"),
  "issuing-case": { ...sub("issuing", "root"), subject: "/O=TEST /CN= Issuing" },
  "issuing-renamed": sub("issuing", "root", "subjectKeyIdentifier=0102"),
  imposter: { ...ca("root"), key: "imposter" },
  "ann-imposter": leaf("imposter"),
  "ann-self": { subject: "/CN=Ann", key: "ann", extensions: ANN.replace("authorityKeyIdentifier=keyid", "") },
  // algorithms
  "pss-ca": { ...sub("pss-ca", "root"), sort: "rsa-pss" },
  "ann-pss": { ...leaf("pss-ca"), signing: ["-sigopt", "rsa_padding_mode:pss", "-sha384"] },
  "rsa-ca": { ...sub("rsa-ca", "root"), sort: "rsa" },
  "ann-rsa": leaf("rsa-ca"),
  "ann-rsa-pss": { ...leaf("rsa-ca"), signing: ["-sigopt", "rsa_padding_mode:pss"] },
  "p384-ca": { ...sub("p384-ca", "root"), sort: "P-384" },
  "ann-p384": { ...leaf("p384-ca"), signing: ["-sha512"] },
  "ed-ca": { ...sub("ed-ca", "root"), sort: "ed25519" },
  "ann-ed": leaf("ed-ca"),
  "ann-sha1": { ...leaf("issuing"), signing: ["-sha1"] },
  "sha1-ca": { ...sub("sha1-ca", "root"), signing: ["-sha1"] },
  "sha1-root": { ...ca("sha1-root"), signing: ["-sha1"] },
  "ann-sha1-ca": leaf("sha1-ca"),
  "ann-sha1-root": leaf("sha1-root"),
  // a long way
  ...Object.fromEntries(
    Array.from({ length: 10 }, (_, level) => [
      `level${level}`,
      level === 0 ? ca("level0") : sub(`level${level}`, `level${level - 1}`),
    ]),
  ),
  "ann-level": leaf("level9"),
};

let pki: TestPki;
beforeAll(async () => {
  pki = new TestPki();
  await pki.issueAll(CERTIFICATES);
  const flipped = pki.der("ann.pem");
  flipped[flipped.length - 1]! ^= 1;
  pki.put("ann-flipped", flipped);
});
afterAll(() => pki.close());

test("HARV-01: advice is for certificates that an operator chose; a fault alone can be told of a stranger's", () => {
  for (const name of ["ann-self", "ann"]) {
    const verdict = pki.judge(name, { anchors: ["other"] });
    if (verdict.trusted) throw new Error(`${name} is trusted`);
    expect(verdict.detail).toBe(`${verdict.fault ?? ""}; add it to smime.trust.anchors`);
    expect(verdict.fault).toMatch(/^no path to an anchor: .*(?:self-signed|not known)$/);
  }
});

const PATHS: readonly Row[] = [
  ["two certificates", "ann-root", under(), GOOD],
  ["three certificates", "ann", under("issuing"), GOOD],
  ["four certificates, the companions in any order", "ann-deep", under("issuing", "deep"), GOOD],
  ["a signature of which a bit is flipped", "ann-flipped", under("issuing"), /CN=Ann is not signed by the CN=issuing/],
  [
    "a missing intermediate",
    "ann",
    under(),
    /its issuer CN=issuing,O=Test is not known; add it to smime.trust.anchors/,
  ],
  [
    "a missing root",
    "ann",
    { anchors: ["other"], companions: ["issuing"] },
    /the issuer of CN=issuing,O=Test, CN=root/,
  ],
  [
    "HARV-22: a root that came along is no anchor",
    "ann",
    { anchors: ["other"], companions: ["issuing", "root"] },
    /CN=root,O=Test is self-signed/,
  ],
  ["an intermediate as anchor", "ann", { anchors: ["issuing"] }, GOOD],
  ["the certificate itself as anchor", "ann", { anchors: ["ann"] }, GOOD],
  ["a self-signed certificate as its own anchor", "ann-self", { anchors: ["ann-self"] }, GOOD],
  ["HARV-01: a self-signed certificate without an anchor", "ann-self", under(), /CN=Ann is self-signed/],
  ["a CA that only has the anchor's name", "ann-imposter", under(), /not signed by the CN=root/],
  ["an imposter that came along", "ann-imposter", under("imposter"), /not signed by the CN=root/],

  ["an expired certificate", "ann-short", { ...under("issuing"), at: 200 }, /CN=Ann is expired since 20\d\d-\d\d-\d\d/],
  [
    "HARV-21: an expired intermediate",
    "ann-short-sub",
    { ...under("short-sub"), at: 200 },
    /CN=short-sub,O=Test is expired/,
  ],
  ["the same intermediate before it expires", "ann-short-sub", { ...under("short-sub"), at: 50 }, GOOD],
  ["an expired anchor", "ann-short-root", { anchors: ["short-root"], at: 200 }, /CN=short-root,O=Test is expired/],
  ["LOOK-21: a time before all of it", "ann", { ...under("issuing"), at: -10 }, /is not valid before/],

  ["an anchor of pathLen 0 over an end entity", "ann-len0-root", { anchors: ["len0-root"] }, GOOD],
  [
    "an anchor of pathLen 0 over a CA",
    "ann-len0-sub",
    { anchors: ["len0-root"], companions: ["len0-sub"] },
    /CN=len0-root,O=Test may not have 1 further CA below it \(pathLen 0\)/,
  ],
  ["a CA of pathLen 0 over an end entity", "ann-len0", under("len0"), GOOD],
  [
    "HARV-21: a CA of pathLen 0 over a CA",
    "ann-len0-below",
    under("len0", "len0-below"),
    /CN=len0,O=Test may not have 1 further CA/,
  ],
  ["a CA of pathLen 0 over its own next key", "ann-len0-self", under("len0", "len0-self"), GOOD],
  ["an issuer without the CA flag", "ann-no-ca", under("no-ca"), /CN=no-ca,O=Test may not issue certificates/],
  ["an end entity as issuer", "ann-no-ca", { anchors: ["no-ca"] }, /may not issue/],
  ["an issuer without keyCertSign", "ann-no-sign", under("no-sign"), /CN=no-sign,O=Test may not issue certificates/],
  ["an issuer without keyUsage", "ann-no-usage", under("no-usage"), GOOD],
  ["an anchor of version 1", "ann-v1-root", { anchors: ["v1-root"] }, GOOD],
  ["an intermediate of version 1", "ann-v1-sub", under("v1-sub"), /CN=v1-sub,O=Test may not issue/],

  ["a CA for servers only", "ann-server-ca", under("server-ca"), /CN=server-ca,O=Test is not for mail/],
  ["a CA for mail among others", "ann-mail-ca", under("mail-ca"), GOOD],
  ["an end entity for servers only", "ann-server", under("issuing"), /CN=Ann is not for mail/],
  [
    "a critical extension of a CA that nobody knows",
    "ann-odd-ca",
    under("odd-ca"),
    /CN=odd-ca.*not known here: 1\.2\.3\.4\.5\.6/,
  ],
  ["such an extension of the anchor", "ann-odd-root", { anchors: ["odd-root"] }, /CN=odd-root.*1\.2\.3\.4\.5\.6/],
  ["such an extension of the end entity", "ann-odd", under("issuing"), /CN=Ann has critical/],
  ["an extension that nobody knows and need not", "ann-shy-ca", under("shy-ca"), GOOD],
  ["a critical inhibitAnyPolicy", "ann-inhibit-ca", under("inhibit-ca"), GOOD],

  ["two cross certificates", "ann-cross", { anchors: ["root", "other"], companions: ["cross-short", "cross"] }, GOOD],
  [
    "two cross certificates, one expired",
    "ann-cross",
    { anchors: ["root", "other"], companions: ["cross-short", "cross"], at: 200 },
    GOOD,
  ],
  [
    "only the expired of two cross certificates",
    "ann-cross",
    { anchors: ["root", "other"], companions: ["cross-short"], at: 200 },
    /CN=cross,O=Test is expired/,
  ],
  ["two CAs of one name, the first", "ann", under("issuing-twin", "issuing"), GOOD],
  ["two CAs of one name, the second", "ann-twin", under("issuing", "issuing-twin"), GOOD],
  ["a CA whose name is written in other letters", "ann", under("issuing-case"), GOOD],
  ["the wrong of two CAs of one name", "ann-twin", under("issuing"), /CN=Ann is not signed by the CN=issuing/],

  ["RSASSA-PSS by an id-RSASSA-PSS key", "ann-pss", under("pss-ca"), GOOD],
  ["RSASSA-PSS by an RSA key", "ann-rsa-pss", under("rsa-ca"), GOOD],
  ["RSA PKCS#1", "ann-rsa", under("rsa-ca"), GOOD],
  ["ECDSA on P-384", "ann-p384", under("p384-ca"), GOOD],
  ["Ed25519", "ann-ed", under("ed-ca"), GOOD],
  ["an anchor signed with SHA-1", "ann-sha1-root", { anchors: ["sha1-root"] }, GOOD],
];

test.each(PATHS)("a path of %s: as openssl judges", async (_title, name, order, expected) => {
  const ours = pki.judge(name, order);
  const theirs = await pki.verify(name, order);
  expect(said(ours)).toMatch(expected);
  expect(ours.trusted, theirs.said).toBe(theirs.isGood);
});

/** Where we differ on purpose: the reason, then what openssl 3 says. */
const DIFFERENT: readonly (readonly [...Row, boolean])[] = [
  [
    "a SHA-1 signature is forgeable, which openssl minds from security level 1 on",
    "ann-sha1",
    under("issuing"),
    /weak or unknown digest sha1/,
    true,
  ],
  ["nor may a CA be signed with SHA-1", "ann-sha1-ca", under("sha1-ca"), /CN=sha1-ca.* digest sha1/, true],
  [
    "policies are not followed, and RFC 5280 refuses what is critical and not followed",
    "ann-policy-ca",
    under("policy-ca"),
    /not known here: 2\.5\.29\.36/,
    true,
  ],
  ["a CA for any purpose is one for mail (RFC 5280 4.2.1.12)", "ann-any-ca", under("any-ca"), GOOD, false],
  [
    "a key identifier only says whom to try first: a good signature needs no other",
    "ann",
    under("issuing-renamed"),
    GOOD,
    false,
  ],
];
test.each(DIFFERENT)("%s", async (_title, name, order, expected, isGoodForOpenssl) => {
  expect(said(pki.judge(name, order))).toMatch(expected);
  expect((await pki.verify(name, order)).isGood).toBe(isGoodForOpenssl);
});

describe("the fixtures", async () => {
  const pem = (name: string) =>
    parseCertificate([...pemBlocks(fixtureBytes(`smime/certs/${name}.pem`).toString("latin1"))][0]!.der!);
  const lists = await readRevocationLists(fixtureBytes("smime/crl/issuing.crl"));
  const trust = createTrust({
    anchors: [pem("issuing")],
    intermediates: [],
    lists: () => lists,
    onMissingList: "wait",
  });
  const now = Date.now();
  test.each(["alice", "bob", "dave", "pat", "fred", "ivan", "rupert", "erin", "frank", "sybil", "leo", "selfie"])(
    "%s: as openssl judges",
    (name) => {
      const args = [
        "verify",
        "-partial_chain",
        "-crl_check",
        "-purpose",
        "smimesign",
        "-attime",
        String((now / 1000) | 0),
      ];
      const files = ["-trusted", fixture("smime/certs/issuing.pem"), "-CRLfile", fixture("smime/crl/issuing.crl.pem")];
      const { status, stderr } = spawnSync("openssl", [...args, ...files, fixture(`smime/certs/${name}.pem`)], {
        encoding: "utf8",
      });
      expect([0, 2]).toContain(status);
      expect(trust.judge(pem(name), [], now).trusted, stderr).toBe(status === 0);
    },
  );

  test("HARV-23: rupert is revoked, says a path over both CAs", () => {
    const whole = createTrust({
      anchors: [pem("root")],
      intermediates: [pem("issuing")],
      lists: () => lists,
      onMissingList: "accept",
    });
    expect(said(whole.judge(pem("rupert"), [], now))).toMatch(/^revoked: .*CN=Rupert/i);
    expect(whole.judge(pem("alice"), [], now)).toMatchObject({
      trusted: true,
      path: [{}, pem("issuing"), pem("root")],
    });
  });
});

describe("what is remembered and what is not", () => {
  const trustIn = (anchors: string[]) =>
    createTrust({
      anchors: anchors.map((name) => pki.certificate(name)),
      intermediates: [],
      lists: undefined,
      onMissingList: "wait",
    });

  test("a path that was found serves without its companions, another certificate gets none from it", () => {
    const trust = trustIn(["root"]);
    expect(trust.judge(pki.certificate("ann"), [], pki.time(1)).trusted).toBe(false);
    expect(trust.judge(pki.certificate("ann"), [pki.certificate("issuing")], pki.time(1)).trusted).toBe(true);
    expect(trust.judge(pki.certificate("ann"), [], pki.time(1)).trusted).toBe(true);
    expect(trust.judge(pki.certificate("ann-short"), [], pki.time(1)).trusted).toBe(false);
  });

  test("a remembered path that has expired is searched anew", () => {
    const trust = trustIn(["root", "other"]);
    const [ann, short, long] = [pki.certificate("ann-cross"), pki.certificate("cross-short"), pki.certificate("cross")];
    expect(trust.judge(ann, [short], pki.time(1)).trusted).toBe(true);
    expect(said(trust.judge(ann, [short], pki.time(200)))).toMatch(/CN=cross,O=Test is expired/);
    expect(trust.judge(ann, [short, long], pki.time(200)).trusted).toBe(true);
  });
});

describe("a maze of certificates", () => {
  /** So many CAs of the anchor's name with keys of their own that nobody signed, each of which could be above each other. */
  const maze = (count: number): Certificate[] => {
    const der = pki.der("imposter.pem");
    const point = der.indexOf(Buffer.from("03420004", "hex")) + 3;
    return Array.from({ length: count }, () => {
      const forged = Buffer.from(der);
      createECDH("prime256v1").generateKeys().copy(forged, point);
      return parseCertificate(forged);
    });
  };

  test("is given up soon, and says so", () => {
    const trust = createTrust({
      anchors: [pki.certificate("root")],
      intermediates: [],
      lists: undefined,
      onMissingList: "wait",
    });
    const companions = maze(100);
    expect(new Set(companions.map((one) => one.fingerprint)).size).toBe(100);
    const start = performance.now();
    const verdict = trust.judge(pki.certificate("ann-imposter"), companions, pki.time(1));
    expect(performance.now() - start).toBeLessThan(500);
    expect(said(verdict)).toMatch(/^untrusted: no path to an anchor (?:within 100 signatures|among 1000)/);
  });

  test("is searched once in a minute, however often it is asked for, and again with other companions", () => {
    const trust = createTrust({ anchors: maze(101), intermediates: [], lists: undefined, onMissingList: "wait" });
    const verify = vi.spyOn(X509Certificate.prototype, "verify");
    const [ann, now] = [pki.certificate("ann-imposter"), pki.time(1)];
    const judged = (companions: readonly Certificate[], at: number) => {
      const before = verify.mock.calls.length;
      expect(trust.judge(ann, companions, at).trusted).toBe(false);
      return verify.mock.calls.length - before;
    };
    const counts = [judged([], now), judged([], now + 59_999), judged([], now + 60_000), judged([], now - 1)];
    expect([...counts, judged(maze(1), now)]).toEqual([100, 0, 100, 100, 100]);
    verify.mockRestore();
  });

  test("of a hundred companions is compared with the path as far as a thousand steps need it, and no more", () => {
    const compare = vi.spyOn(Buffer, "compare");
    const trust = createTrust({
      anchors: [pki.certificate("root")],
      intermediates: [],
      lists: undefined,
      onMissingList: "wait",
    });
    const verdict = trust.judge(pki.certificate("ann-imposter"), maze(100), pki.time(1));
    const count = compare.mock.calls.length;
    compare.mockRestore();
    expect(said(verdict)).toMatch(/^untrusted: no path to an anchor/);
    // before, each of a thousand steps looked at all hundred candidates, and compared each with the whole path
    expect(count).toBeLessThan(40_000);
  });

  test("costs a hundred signatures at most, whatever is in it", () => {
    const trust = createTrust({ anchors: maze(101), intermediates: [], lists: undefined, onMissingList: "wait" });
    const verify = vi.spyOn(X509Certificate.prototype, "verify");
    const verdict = trust.judge(pki.certificate("ann-imposter"), [], pki.time(1));
    expect(verify.mock.calls.length).toBe(100);
    verify.mockRestore();
    expect(said(verdict)).toBe("untrusted: no path to an anchor within 100 signatures");
  });

  test("does not hide a path that is there", () => {
    const trust = createTrust({
      anchors: [pki.certificate("root")],
      intermediates: [pki.certificate("issuing")],
      lists: undefined,
      onMissingList: "wait",
    });
    expect(trust.judge(pki.certificate("ann"), maze(100), pki.time(1)).trusted).toBe(true);
  });

  test("a path of ten certificates is found, one of eleven is not", () => {
    const names = Array.from({ length: 10 }, (_, index) => `level${index}`);
    const judge = (top: string) =>
      said(
        createTrust({
          anchors: [pki.certificate(top)],
          intermediates: names.map((name) => pki.certificate(name)),
          lists: undefined,
          onMissingList: "wait",
        }).judge(pki.certificate("ann-level"), [], pki.time(1)),
      );
    expect(judge("level1")).toBe("good");
    expect(judge("level0")).toMatch(/of at most 10 certificates/);
  });
});
