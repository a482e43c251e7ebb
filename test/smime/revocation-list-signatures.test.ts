// Lists of CAs that sign otherwise than mails may be signed hold as for openssl; RSASSA-PSS is read strictly.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { der, oid, sequence, smallInteger } from "../../src/smime/der-writing.ts";
import { elementsIn, encodingOf, Malformed, readElement } from "../../src/smime/der.ts";
import { isListOf, readRevocationLists } from "../../src/smime/revocation-list.ts";
import { ca, GOOD, leaf, said, sub, TestPki, under, type CertificateOrder, type ListOrder } from "./test-pki.ts";

const CERTIFICATES: Readonly<Record<string, CertificateOrder>> = {
  root: ca("root"),
  "ed448-ca": { ...sub("ed448-ca", "root"), sort: "ed448" },
  "ann-ed448": leaf("ed448-ca"),
  "ec-ca": sub("ec-ca", "root"),
  "ann-ec": leaf("ec-ca"),
  "rsa-ca": { ...sub("rsa-ca", "root"), sort: "rsa-4096" },
  "ann-rsa": leaf("rsa-ca"),
};

const pss = (saltLength: number) => ["-sigopt", "rsa_padding_mode:pss", "-sigopt", `rsa_pss_saltlen:${saltLength}`];

const LISTS: Readonly<Record<string, ListOrder>> = {
  "root-list": { by: "root" },
  "ed448-list": { by: "ed448-ca" },
  "ec-sha224-list": { by: "ec-ca", signing: ["-md", "sha224"] },
  "rsa-sha224-list": { by: "rsa-ca", signing: ["-md", "sha224"] },
  "pss-sha224-list": { by: "rsa-ca", signing: ["-md", "sha224", ...pss(28)] },
  "pss-list": { by: "rsa-ca", signing: ["-md", "sha256", ...pss(32)] },
  "long-salt-list": { by: "rsa-ca", signing: ["-md", "sha256", ...pss(300)] },
};

let pki: TestPki;
beforeAll(async () => {
  pki = new TestPki();
  await pki.issueAll(CERTIFICATES);
  for (const [name, order] of Object.entries(LISTS)) await pki.revoke(name, order);
});
afterAll(() => pki.close());

test.each([
  ["Ed448", "ed448-ca", "ann-ed448", "ed448-list"],
  ["ECDSA over SHA-224", "ec-ca", "ann-ec", "ec-sha224-list"],
  ["RSA over SHA-224", "rsa-ca", "ann-rsa", "rsa-sha224-list"],
  ["RSASSA-PSS over SHA-224", "rsa-ca", "ann-rsa", "pss-sha224-list"],
  ["RSASSA-PSS with a salt of 300 octets", "rsa-ca", "ann-rsa", "long-salt-list"],
])("a list signed with %s counts, for openssl too", async (_, issuer, name, list) => {
  const order = { ...under(issuer), lists: ["root-list", list] };
  const theirs = await pki.verify(name, order);
  expect(theirs.isGood, theirs.said).toBe(true);
  expect(said(pki.judge(name, order))).toMatch(GOOD);
});

const SHA256 = sequence(oid("2.16.840.1.101.3.4.2.1"));
const SHA384 = sequence(oid("2.16.840.1.101.3.4.2.2"));
const hash = (digest = SHA256) => der(0xa0, digest);
const mask = (digest = SHA256, name = "1.2.840.113549.1.1.8") => der(0xa1, sequence(oid(name), digest));
const salt = (...octets: number[]) => der(0xa2, der(0x02, Buffer.from(octets)));
const trailer = (value: number) => der(0xa3, smallInteger(value));

describe("of an RSASSA-PSS list the parameters", () => {
  /** The list with these parameters in both places. */
  const withParameters = (...parameters: Buffer[]) => {
    const [tbs, , signature] = [...elementsIn(readElement(pki.der("pss-list.crl")))];
    const algorithm = sequence(oid("1.2.840.113549.1.1.10"), sequence(...parameters));
    const parts = [...elementsIn(tbs!)].map((part, index) => (index === 1 ? algorithm : encodingOf(part)));
    return sequence(sequence(...parts), algorithm, encodingOf(signature!));
  };

  test.each<[string, Buffer[], RegExp]>([
    ["with another digest of the mask", [hash(), mask(SHA384), salt(32)], /different digests/],
    ["with another mask", [hash(), mask(SHA256, "1.2.3"), salt(32)], /mask is not known/],
    ["with another trailer", [hash(), mask(), salt(32), trailer(2)], /trailer is not known/],
    ["with a salt of less than nothing", [hash(), mask(), salt(0xff)], /out of bounds/],
    ["with a salt of millions", [hash(), mask(), salt(1, 0, 32)], /out of bounds/],
    ["with something behind", [hash(), mask(), salt(32), trailer(1), der(0x05)], /RSASSA-PSS parameters/],
    ["without a digest, which is SHA-1", [mask(), salt(32)], /weak digest sha1/],
  ])("%s are refused", async (_, parameters, reason) => {
    const reading = readRevocationLists(withParameters(...parameters));
    await expect(reading).rejects.toThrow(reason);
    await expect(reading).rejects.toBeInstanceOf(Malformed);
  });

  test("as they should be are read, although another signature goes with them", async () => {
    const [list] = await readRevocationLists(withParameters(hash(), mask(), salt(32), trailer(1)));
    expect(list.scheme.pss?.saltLength).toBe(32);
    expect(isListOf(list, pki.certificate("rsa-ca"))).toBe(false);
  });
});
