// Every key store is read as openssl and keytool read it, or refused with a sentence that says what it is.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { readCertificateStore, type ReadStore } from "../../src/smime/certificate-store.ts";
import { fixture, fixtureBytes } from "../fixtures.ts";
import { keytool, keytoolFingerprints, opensslFingerprints, pemFingerprints } from "./keytool.ts";

const scratch = mkdtempSync(join(tmpdir(), "sealpost-store-"));
afterAll(() => rmSync(scratch, { recursive: true }));

function readStore(bytes: Uint8Array, password?: string): ReadStore {
  const contents = readCertificateStore(bytes, password);
  if (contents.kind === "unreadable") throw new Error(contents.reason);
  return contents;
}

function refusal(bytes: Uint8Array, password?: string): string {
  const contents = readCertificateStore(bytes, password);
  return contents.kind === "unreadable" ? contents.reason : `read as ${contents.format}`;
}

const fingerprints = (store: ReadStore) => store.certificates.map(({ fingerprint }) => fingerprint).sort();
const addresses = (store: ReadStore) => store.certificates.flatMap((certificate) => certificate.addresses);

const NOT_CHECKED = "integrity not checked, for no password is set";
const V1 = "BKS version 1 cannot prove integrity; export it as PKCS#7 or BKS version 2";
const ONE_KEY = "1 private key ignored, which should not be in this file";
const SIGNED = "signatures in the file were not verified";

/** File, format, certificates, notes, who confirms it. */
const READ: readonly [string, string, number, readonly string[], string][] = [
  ["keystores/certs-bks.ks", "BKS version 2", 9, [NOT_CHECKED], "BKS"],
  ["keystores/certs-bks-v1.ks", "BKS version 1", 9, [NOT_CHECKED, V1], "BKS-V1"],
  ["keystores/certs-bks-aliases.ks", "BKS version 2", 3, [NOT_CHECKED], "BKS"],
  [
    "keystores/mixed-key-and-certs-bks.ks",
    "BKS version 2",
    4,
    [NOT_CHECKED, "2 private keys ignored, which should not be in this file"],
    "BKS",
  ],
  ["keystores/mixed-key-and-certs-bks-v1.ks", "BKS version 1", 4, [NOT_CHECKED, V1, ONE_KEY], "BKS-V1"],
  ["keystores/certs-sun-jks.ks", "JKS", 5, [NOT_CHECKED], "JKS"],
  ["keystores/certs-sun-jceks.ks", "JCEKS", 5, [NOT_CHECKED], "JCEKS"],
  ["keystores/mixed-sun-jks.ks", "JKS", 4, [NOT_CHECKED, ONE_KEY], "JKS"],
  ["smime/bundles/all.p7b", "PKCS#7 (DER)", 36, [], "DER"],
  ["smime/bundles/all-pem.p7b", "PKCS#7 (PEM)", 36, [], "PEM"],
  ["smime/bundles/all-pem-crlf.p7b", "PKCS#7 (PEM)", 36, [], "PEM"],
  ["smime/bundles/all-cmslabel.pem", "PKCS#7 (PEM)", 36, [], "as all.p7b"],
  ["smime/bundles/all.b64", "PKCS#7 (base64)", 36, [], "as all.p7b"],
  ["smime/bundles/all-with-crl.p7b", "PKCS#7 (DER)", 36, ["revocation lists in the file are not used"], "DER"],
  ["smime/bundles/one.p7b", "PKCS#7 (DER)", 1, [], "DER"],
  ["smime/bundles/alice-chain.p7b", "PKCS#7 (DER)", 3, [], "DER"],
  ["smime/bundles/bob-chain.p7b", "PKCS#7 (DER)", 2, [], "DER"],
  ["smime/bundles/empty.p7b", "PKCS#7 (DER)", 0, ["holds no certificate"], "DER"],
  ["smime/bundles/concat-certs.pem", "certificates (PEM)", 3, [], "itself"],
  ["smime/bundles/bc-default.p7b", "PKCS#7 (BER)", 4, [], "DER"],
  ["smime/bundles/bc-ber.p7b", "PKCS#7 (BER)", 4, [], "DER"],
  ["smime/bundles/bc-der.p7b", "PKCS#7 (DER)", 4, [], "DER"],
  ["smime/bundles/jdk-certpath.p7b", "PKCS#7 (DER)", 4, [], "DER"],
  ["smime/bundles/alice-signed.p7m", "PKCS#7 (DER)", 3, [SIGNED], "DER"],
  ["smime/bundles/alice-signed-single.p7m", "PKCS#7 (DER)", 1, [SIGNED], "DER"],
  ["smime/bundles/alice-signed-ber.p7m", "PKCS#7 (BER)", 2, [SIGNED], "DER"],
  ["smime/bundles/alice-dualkey.p7m", "PKCS#7 (DER)", 3, [SIGNED], "DER"],
  ["smime/bundles/bob-detached.p7s", "PKCS#7 (DER)", 2, [SIGNED], "DER"],
];

const REFUSED: readonly [string, RegExp][] = [
  ["keystores/certs-uber.ks", /^this is a BouncyCastle UBER key store, which is encrypted.*deststoretype BKS$/],
  ["keystores/certs-bcfks.ks", /^this is a BouncyCastle BCFKS key store, which is encrypted.*deststoretype BKS$/],
  ["keystores/certs-bc-pkcs12.p12", /^this is a PKCS#12 key store.*openssl pkcs12.*crl2pkcs7/],
  ["keystores/certs-openssl.p12", /^this is a PKCS#12 key store/],
  ["keystores/certs-openssl-emptypass.p12", /^this is a PKCS#12 key store/],
  ["keystores/certs-openssl-plain.p12", /^this is a PKCS#12 key store/],
  ["keystores/certs-sun-pkcs12.ks", /^this is a PKCS#12 key store/],
  ["keystores/certs-sun-pkcs12-nopass.p12", /^this is a PKCS#12 key store/],
  ["keystores/keytool.log", /^this is no file of certificates known here/],
  ["smime/bundles/jdk-certpath.pkipath", /^this is a PkiPath .*crl2pkcs7/],
  ["smime/p12/alice.p12", /^this is a PKCS#12 key store/],
  ["smime/keys/alice.key", /^this is a private key/],
  ["smime/keys/bob.key", /^this is a private key/],
  ["smime/crl/issuing.crl", /^this is a certificate revocation list/],
  ["cms-samples/rsa15-aes256cbc.der", /^this is an encrypted CMS message/],
  ["cms-samples/rsa15-aes256gcm.der", /^this is an encrypted CMS message/],
  ["pgp/all.asc", /^this is an OpenPGP key ring/],
  ["pgp/all.gpg", /^this is an OpenPGP key ring/],
  ["pgp/alice-secret.asc", /^this is an OpenPGP key ring/],
  ["pgp/pubring.kbx", /^this is a GnuPG keybox/],
  ["pgp/heidi.gpg", /^this file is empty$/],
];

test("every file of keystores and bundles is in one of the tables", () => {
  const files = ["keystores", "smime/bundles"].flatMap((folder) =>
    readdirSync(fixture(folder)).map((name) => `${folder}/${name}`),
  );
  const known = new Set([...READ.map(([file]) => file), ...REFUSED.map(([file]) => file)]);
  expect(files.length).toBeGreaterThan(35);
  expect(files.filter((file) => !known.has(file))).toEqual([]);
});

describe.each(READ)("%s", (file, format, count, notes, judge) => {
  test(`is read as ${format} with ${count} certificates`, () => {
    expect(readStore(fixtureBytes(file))).toMatchObject({ format, notes, faults: [] });
    expect(readStore(fixtureBytes(file)).certificates).toHaveLength(count);
  });

  test(`holds the certificates that are found by ${judge}`, () => {
    const expected =
      judge === "DER" || judge === "PEM"
        ? opensslFingerprints(file, judge)
        : judge === "itself"
          ? pemFingerprints(fixtureBytes(file).toString())
          : judge.startsWith("as ")
            ? opensslFingerprints("smime/bundles/all.p7b", "DER")
            : keytoolFingerprints(judge, file);
    expect(expected).toHaveLength(count);
    expect(fingerprints(readStore(fixtureBytes(file)))).toEqual(expected);
  });
});

test.each(REFUSED)("%s is refused with the reason %s", (file, reason) => {
  expect(refusal(fixtureBytes(file))).toMatch(reason);
  expect(refusal(fixtureBytes(file), "changeit")).toMatch(reason);
});

describe.each(READ.filter(([, format]) => /^(?:BKS|JKS|JCEKS)/.test(format)))("%s with a password", (file) => {
  const bytes = fixtureBytes(file);
  test("is verified when the password is right", () => {
    expect(readStore(bytes, "changeit").notes).not.toContain(NOT_CHECKED);
  });
  test("is refused when the password is wrong", () => {
    expect(refusal(bytes, "Changeit")).toMatch(/integrity check .* failed: its password is wrong or it was changed$/);
    expect(refusal(bytes, "")).toMatch(/integrity check/);
  });
  test("is refused when a certificate was exchanged for one of the same length", () => {
    const forged = Buffer.from(bytes.toString("latin1").replaceAll("alice@example.com", "mally@example.com"), "latin1");
    const changed = forged.equals(bytes)
      ? Buffer.concat([bytes.subarray(0, -1), Buffer.of((bytes.at(-1) ?? 0) ^ 1)])
      : forged;
    expect(refusal(changed, "changeit")).toMatch(/integrity check/);
    expect(readStore(changed).notes).toContain(NOT_CHECKED);
  });
});

describe("a broken certificate does not hide its neighbours", () => {
  const alice = fixtureBytes("smime/certs/alice.der");
  const breakAlice = (file: string): Buffer => {
    const bytes = fixtureBytes(file);
    const at = bytes.indexOf(alice);
    expect(at).toBeGreaterThan(0);
    bytes[at + 8] = 0xff; // the tag of the version
    return bytes;
  };
  test.each([
    ["smime/bundles/all.p7b", 35, "certificate 1"],
    ["smime/bundles/bc-default.p7b", 3, "certificate 1"],
    ["keystores/certs-bks.ks", 8, 'alias "alice"'],
    ["keystores/certs-bks-aliases.ks", 2, 'alias "alice@example.com"'],
    ["keystores/certs-sun-jks.ks", 4, 'alias "alice"'],
    ["keystores/certs-sun-jceks.ks", 4, 'alias "alice"'],
  ])("in %s", (file, count, entry) => {
    const store = readStore(breakAlice(file));
    expect(store.certificates).toHaveLength(count);
    expect(store.faults).toEqual([{ entry, reason: expect.stringMatching(/^not a readable certificate: /) as string }]);
  });

  test("in a PEM file: not base64, damaged, without an END line, of another kind", () => {
    const pem = fixtureBytes("smime/bundles/concat-certs.pem").toString();
    const [first = "", ...others] = pem.split(/(?=-----BEGIN)/);
    const text = [
      first.replace("MII", "M!I"),
      first.replace(/MII[^]{40}/, "MIIB"),
      first.replace("-----END CERTIFICATE-----", ""),
      fixtureBytes("smime/crl/issuing.crl.pem").toString(),
      ...others,
    ].join("Subject: somebody\n");
    const store = readStore(Buffer.from(text));
    expect(store.certificates).toHaveLength(2);
    expect(store.faults.map(({ entry }) => entry)).toEqual(["block 1", "block 2", "block 3", "block 4"]);
    expect(store.faults[0]?.reason).toBe("its text is not base64");
    expect(store.faults[2]?.reason).toBe("its END line is missing");
    expect(store.faults[3]?.reason).toMatch(/revocation list/);
  });
});

test("an alias that is not ASCII is shown in a fault as it was given", () => {
  const bytes = fixtureBytes("keystores/certs-bks-aliases.ks");
  bytes[bytes.indexOf(fixtureBytes("smime/certs/ivan.der")) + 8] = 0xff;
  expect(readStore(bytes).faults[0]?.entry).toBe('alias "Jörg Müller €"');
});

test("a certificate alone is read in DER, PEM and base64, whatever is written around it", () => {
  const alice = fixtureBytes("smime/certs/alice.der");
  const pem = fixtureBytes("smime/certs/alice.pem").toString();
  const forms: [string, Uint8Array][] = [
    ["certificate (DER)", alice],
    ["certificate (base64)", Buffer.from(alice.toString("base64"))],
    ["certificate (base64)", Buffer.from(`\r\n${alice.toString("base64").replace(/.{64}/g, "$&\r\n")}\r\n`)],
    ["certificates (PEM)", Buffer.from(pem)],
    ["certificates (PEM)", Buffer.from(`\uFEFF${pem}`)],
    ["certificates (PEM)", Buffer.from(`Bag Attributes\n    friendlyName: x\n${pem.replaceAll("\n", "\r\n")}\n\n`)],
  ];
  for (const [format, bytes] of forms) {
    const store = readStore(bytes);
    expect(store).toMatchObject({ format, faults: [], notes: [] });
    expect(addresses(store)).toEqual(["alice@example.com"]);
  }
});

test("a private key beside a certificate is left alone and reported", () => {
  const text = `${fixtureBytes("smime/keys/alice.key").toString()}${fixtureBytes("smime/certs/alice.pem").toString()}`;
  expect(readStore(Buffer.from(text))).toMatchObject({ notes: [ONE_KEY], faults: [] });
});

test("a PKCS#7 message that carries PEM text as its content is read as PKCS#7", () => {
  const [key, certificate] = [fixture("smime/keys/alice.key"), fixture("smime/certs/alice.pem")];
  const args = ["cms", "-sign", "-nodetach", "-binary", "-outform", "DER", "-inkey", key, "-signer", certificate];
  const signed = execFileSync("openssl", args, { input: `\n${fixtureBytes("smime/certs/bob.pem").toString()}` });
  expect(addresses(readStore(signed))).toEqual(["alice@example.com"]);
});

test("a file cut short anywhere is unreadable, and never looks like a smaller store", () => {
  const files = READ.map(([file]) => file).filter((file) => !file.endsWith("concat-certs.pem"));
  for (const file of files) {
    const bytes = fixtureBytes(file);
    const step = Math.max(1, Math.floor(bytes.length / 97));
    for (let length = bytes.length - 30; length > 0; length -= step) {
      const contents = readCertificateStore(bytes.subarray(0, length));
      expect(contents.kind, `${file} at ${length}`).toBe("unreadable");
    }
  }
});

test("a PEM file whose last block has no END line is unreadable", () => {
  const bytes = fixtureBytes("smime/bundles/concat-certs.pem");
  expect(refusal(bytes.subarray(0, -30))).toBe("this PEM file is cut short: block 3 has no END line");
});

test("a secret key in JCEKS ends the reading there, with a fault that says so", () => {
  const path = join(scratch, "secret.jceks");
  const add = (alias: string) => {
    keytool(
      "JCEKS",
      "-importcert",
      "-noprompt",
      "-alias",
      alias,
      "-file",
      fixture("smime/certs/bob.pem"),
      "-keystore",
      path,
    );
  };
  ["alfa", "bravo", "charlie", "delta"].forEach(add);
  keytool(
    "JCEKS",
    "-genseckey",
    "-alias",
    "zulu",
    "-keyalg",
    "AES",
    "-keysize",
    "128",
    "-keypass",
    "changeit",
    "-keystore",
    path,
  );
  const store = readStore(readFileSync(path), "changeit");
  expect(store.faults).toHaveLength(1);
  expect(store.faults[0]).toMatchObject({
    entry: 'alias "zulu"',
    reason: expect.stringMatching(/secret key.*PKCS#7/) as string,
  });
  expect(store.certificates.length).toBeLessThanOrEqual(4);
});
