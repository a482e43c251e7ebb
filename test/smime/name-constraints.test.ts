// Name constraints are followed as openssl follows them, and what is not understood forbids.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { der, oid, sequence } from "../../src/smime/der-writing.ts";
import { comparableName, forbiddenName, namesOf, readNameConstraints } from "../../src/smime/name-constraints.ts";
import { parseCertificate } from "../../src/smime/certificate.ts";
import { fixtureBytes } from "../fixtures.ts";
import { ca, END_ENTITY, GOOD, leaf, said, sub, TestPki, under, type CertificateOrder, type Row } from "./test-pki.ts";

/** Sections that directory names and UTF-8 are written in. */
const SMTP_UTF8 = "otherName=1.3.6.1.5.5.7.8.9;FORMAT:UTF8,UTF8:";
const SECTIONS = `
[allowed]\nC=DE\nO=Firm GmbH\n[elsewhere]\nC=FR\nO=Firm
[utf8]\n${SMTP_UTF8}jörg@example.com\n[utf8-other]\n${SMTP_UTF8}jörg@example.org\n`;

const named = (by: string, names: string, subject = "/CN=Ann"): CertificateOrder => ({
  ...leaf(by, `${END_ENTITY}\n${names === "" ? "" : `subjectAltName=${names}`}`),
  subject,
});
const constrained = (name: string, constraints: string) => sub(name, "root", `nameConstraints=critical,${constraints}`);

const CERTIFICATES: Readonly<Record<string, CertificateOrder>> = {
  root: ca("root"),
  "host-ca": constrained("host-ca", "permitted;email:example.com"),
  "below-ca": constrained("below-ca", "permitted;email:.example.com"),
  "box-ca": constrained("box-ca", "permitted;email:ann@example.com"),
  "not-ca": constrained("not-ca", "excluded;email:example.com"),
  "dns-ca": constrained("dns-ca", "permitted;DNS:example.com"),
  "dir-ca": constrained("dir-ca", "permitted;dirName:allowed"),
  "not-dir-ca": constrained("not-dir-ca", "excluded;dirName:allowed"),
  "shy-host-ca": sub("shy-host-ca", "root", "nameConstraints=permitted;email:example.com"),
  "host-sub": sub("host-sub", "host-ca"),
  "host-self": { ...sub("host-ca", "host-ca"), key: "host-next" },
  "host-root": ca("host-root", "nameConstraints=critical,permitted;email:example.com"),
  "nc-host": named("host-ca", "email:ann@EXAMPLE.com"),
  "nc-host-below": named("host-ca", "email:ann@mail.example.com"),
  "nc-host-other": named("host-ca", "email:ann@example.org"),
  "nc-host-second": named("host-ca", "email:ann@example.com,email:ann@example.org"),
  "nc-host-subject": named("host-ca", "", "/CN=Ann/emailAddress=ann@example.org"),
  "nc-host-none": named("host-ca", ""),
  "nc-host-dns": named("host-ca", "email:ann@example.com,DNS:example.org"),
  "nc-host-sub": named("host-sub", "email:ann@example.org"),
  "nc-host-self": named("host-self", "email:ann@example.org"),
  "nc-host-root": named("host-root", "email:ann@example.org"),
  "nc-host-utf8": named("host-ca", "@utf8"),
  "nc-host-utf8-other": named("host-ca", "@utf8-other"),
  "nc-below": named("below-ca", "email:ann@mail.example.com"),
  "nc-below-not": named("below-ca", "email:ann@example.com"),
  "nc-below-near": named("below-ca", "email:ann@badexample.com"),
  "nc-box": named("box-ca", "email:ann@example.com"),
  "nc-box-other": named("box-ca", "email:bob@example.com"),
  "nc-not": named("not-ca", "email:ann@example.com"),
  "nc-not-other": named("not-ca", "email:ann@example.org"),
  "nc-not-below": named("not-ca", "email:ann@mail.example.com"),
  "nc-shy": named("shy-host-ca", "email:ann@example.org"),
  "nc-dns": named("dns-ca", "email:ann@example.org,DNS:mail.example.com"),
  "nc-dns-other": named("dns-ca", "DNS:badexample.com"),
  "nc-dir": named("dir-ca", "", "/C=DE/O=Firm GmbH/CN=Ann"),
  "nc-dir-case": named("dir-ca", "", "/C=DE/O=FIRM  gmbh/CN=Ann"),
  "nc-dir-other": named("dir-ca", "", "/C=DE/O=Firm/CN=Ann"),
  "nc-dir-alone": named("dir-ca", "", "/O=Firm GmbH/CN=Ann"),
  "nc-dir-alternative": named("dir-ca", "dirName:elsewhere", "/C=DE/O=Firm GmbH/CN=Ann"),
  "dir-self": { ...sub("dir-ca", "dir-ca"), key: "dir-next" },
  "nc-dir-self": named("dir-self", "", "/C=DE/O=Firm GmbH/CN=Ann"),
  "nc-not-dir": named("not-dir-ca", "", "/C=DE/O=Firm GmbH/CN=Ann"),
  "nc-not-dir-other": named("not-dir-ca", "", "/C=DE/O=Other/CN=Ann"),
};

let pki: TestPki;
beforeAll(async () => {
  pki = new TestPki();
  for (const [name, order] of Object.entries(CERTIFICATES)) {
    const usesSections = /dirName:|=@/.test(order.extensions);
    await pki.issue(name, usesSections ? { ...order, extensions: order.extensions + SECTIONS } : order);
  }
});
afterAll(() => pki.close());

const NAMES: readonly Row[] = (
  [
    ["a mailbox at the permitted host", "nc-host", "host-ca", GOOD],
    ["a mailbox below the permitted host", "nc-host-below", "host-ca", /CN=host-ca.* for ann@mail\.example\.com/],
    [
      "HARV-21: a mailbox at another host",
      "nc-host-other",
      "host-ca",
      /may not issue certificates for ann@example\.org/,
    ],
    ["a second mailbox at another host", "nc-host-second", "host-ca", /for ann@example\.org/],
    ["an address in the subject at another host", "nc-host-subject", "host-ca", /for ann@example\.org/],
    ["no mailbox at all", "nc-host-none", "host-ca", GOOD],
    ["a host name where mailboxes are constrained", "nc-host-dns", "host-ca", GOOD],
    ["a SmtpUTF8Mailbox at the permitted host", "nc-host-utf8", "host-ca", GOOD],
    ["a SmtpUTF8Mailbox at another host", "nc-host-utf8-other", "host-ca", /for jörg@example\.org/],
    ["a mailbox below the permitted domain", "nc-below", "below-ca", GOOD],
    ["a mailbox at the permitted domain itself", "nc-below-not", "below-ca", /for ann@example\.com/],
    ["a mailbox at a host that ends alike", "nc-below-near", "below-ca", /for ann@badexample\.com/],
    ["the permitted mailbox", "nc-box", "box-ca", GOOD],
    ["another mailbox than the permitted", "nc-box-other", "box-ca", /for bob@example\.com/],
    ["a mailbox at the excluded host", "nc-not", "not-ca", /for ann@example\.com/],
    ["a mailbox elsewhere than excluded", "nc-not-other", "not-ca", GOOD],
    ["a mailbox below the excluded host", "nc-not-below", "not-ca", GOOD],
    ["constraints that are not critical", "nc-shy", "shy-host-ca", /for ann@example\.org/],
    ["a host below the permitted", "nc-dns", "dns-ca", GOOD],
    ["a host that ends like the permitted", "nc-dns-other", "dns-ca", /badexample\.com/],
    ["a subject within the permitted", "nc-dir", "dir-ca", GOOD],
    ["a subject within the permitted in other letters", "nc-dir-case", "dir-ca", GOOD],
    ["a subject of another organization", "nc-dir-other", "dir-ca", /for CN=Ann,O=Firm,C=DE/],
    ["a subject without the country", "nc-dir-alone", "dir-ca", /for CN=Ann,O=Firm GmbH/],
    ["an alternative directory name elsewhere", "nc-dir-alternative", "dir-ca", /for O=Firm,C=FR/],
    ["a subject within the excluded", "nc-not-dir", "not-dir-ca", /for CN=Ann,O=Firm GmbH/],
    ["a subject elsewhere than excluded", "nc-not-dir-other", "not-dir-ca", GOOD],
  ] as const
).map(([title, name, by, expected]) => [title, name, under(by), expected]);
const NAMES_DEEPER: readonly Row[] = [
  ["constraints of a CA further up", "nc-host-sub", under("host-sub", "host-ca"), /CN=host-ca.*ann@example\.org/],
  [
    "constraints over the CA's own next key",
    "nc-host-self",
    under("host-self", "host-ca"),
    /CN=host-ca.*ann@example\.org/,
  ],
  ["a CA's own next key, named as the CA is", "nc-dir-self", under("dir-self", "dir-ca"), GOOD],
  ["constraints of the anchor", "nc-host-root", { anchors: ["host-root"] }, /CN=host-root.*ann@example\.org/],
];

test.each([...NAMES, ...NAMES_DEEPER])(
  "name constraints and %s: as openssl judges",
  async (_, name, order, expected) => {
    const ours = pki.judge(name, order);
    const theirs = await pki.verify(name, order);
    expect(said(ours)).toMatch(expected);
    expect(ours.trusted, theirs.said).toBe(theirs.isGood);
  },
);

describe("names of forms that openssl makes no certificates with", () => {
  const mailbox = (text: string) => der(0x81, Buffer.from(text));
  const uri = der(0x86, Buffer.from("https://example.com/"));
  const network = der(0x87, Buffer.alloc(8));
  const other = (type: string, text: string) => der(0xa0, oid(type), der(0xa0, der(0x0c, Buffer.from(text))));
  const upn = other("1.3.6.1.4.1.311.20.2.3", "ann@example.com");
  const utf8 = (text: string) => other("1.3.6.1.5.5.7.8.9", text);
  const constraints = (permitted: readonly Uint8Array[], excluded: readonly Uint8Array[]) => {
    const part = (tag: number, bases: readonly Uint8Array[]) =>
      bases.length === 0 ? Buffer.alloc(0) : der(tag, ...bases.map((base) => sequence(base)));
    return readNameConstraints(sequence(part(0xa0, permitted), part(0xa1, excluded)));
  };
  const alice = parseCertificate(fixtureBytes("smime/certs/alice.der"));
  const namesIn = (...names: readonly Uint8Array[]) => namesOf({ ...alice, subjectAltName: sequence(...names) });

  test.each<[string, Uint8Array[], Uint8Array[], Uint8Array, RegExp | undefined]>([
    ["a URI within a permitted one is not understood", [uri], [], uri, /form 6/],
    ["a URI that is excluded is not permitted", [], [uri], uri, /form 6/],
    ["a constraint on URIs says nothing of a mailbox", [uri], [uri], mailbox("ann@example.com"), undefined],
    ["a constraint on IP addresses says nothing of a mailbox", [], [network], mailbox("ann@example.com"), undefined],
    ["an IP address under such a constraint is not understood", [], [network], der(0x87, Buffer.alloc(4)), /form 7/],
    ["a UPN under a constraint on UPNs is not understood", [upn], [], upn, /otherName 1\.3\.6\.1\.4\.1\.311/],
    ["a UPN under a constraint on another otherName is permitted", [other("1.2.3", "x")], [], upn, undefined],
    ["an empty excluded mailbox excludes all", [], [mailbox("")], mailbox("ann@example.com"), /ann@example\.com/],
    ["an empty permitted mailbox permits none", [mailbox("")], [], mailbox("ann@example.com"), /ann@example\.com/],
    [
      "an excluded mailbox is so in any case",
      [],
      [mailbox("ann@example.com")],
      mailbox("Ann@EXAMPLE.com"),
      /Ann@example\.com/,
    ],
    ["a permitted one only in its own", [mailbox("ann@example.com")], [], mailbox("Ann@example.com"), /Ann@/],
    ["a quoted local part is not understood", [], [mailbox("example.org")], mailbox('"a b"@example.com'), /a b/],
    ["nor is an address without a host", [mailbox("example.com")], [], mailbox("ann"), /"ann"/],
    ["a broken address is of no interest without a constraint", [uri], [], mailbox("ann"), undefined],
    [
      "a SmtpUTF8Mailbox is compared by its A-label",
      [mailbox("xn--bcher-kva.example")],
      [],
      utf8("jörg@bücher.example"),
      undefined,
    ],
    ["and excluded by it", [], [mailbox(".example")], utf8("jörg@bücher.example"), /jörg@xn--bcher-kva\.example/],
  ])("%s", (_, permitted, excluded, name, expected) => {
    const forbidden = forbiddenName(constraints(permitted, excluded), namesIn(name));
    if (expected === undefined) expect(forbidden).toBeUndefined();
    else expect(forbidden).toMatch(expected);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ["a minimum above 0", sequence(der(0xa0, sequence(mailbox("a"), der(0x80, Buffer.of(1))))), /minimum or maximum/],
    ["a maximum", sequence(der(0xa0, sequence(mailbox("a"), der(0x81, Buffer.of(9))))), /minimum or maximum/],
    ["a SmtpUTF8Mailbox as base", sequence(der(0xa1, sequence(utf8("ann@example.com")))), /SmtpUTF8Mailbox/],
    ["a host that is none", sequence(der(0xa1, sequence(mailbox("a b")))), /no name of a host/],
    ["something behind it", Buffer.concat([sequence(), Buffer.of(5, 0)]), /not one SEQUENCE/],
    ["a third part", sequence(der(0xa2)), /more elements/],
  ])("constraints with %s are not followed but refused", (_, value, reason) => {
    expect(() => readNameConstraints(value)).toThrow(reason);
  });

  test("a minimum of 0 that is written out is one", () => {
    const written = sequence(der(0xa0, sequence(mailbox("example.com"), der(0x80, Buffer.of(0)))));
    expect(forbiddenName(readNameConstraints(written), namesIn(mailbox("ann@example.com")))).toBeUndefined();
  });

  test("more comparisons than a million are not made", () => {
    const many = Array.from({ length: 2000 }, () => mailbox("example.org"));
    expect(forbiddenName(constraints(many, []), namesIn(...many))).toBe("so many names");
  });
});

describe("two names", () => {
  const attribute = (type: string, tag: number, text: string) =>
    sequence(oid(`2.5.4.${type}`), der(tag, Buffer.from(text, tag === 0x1e ? "utf16le" : "utf8")));
  const name = (...rdns: readonly Uint8Array[][]) => sequence(...rdns.map((parts) => der(0x31, ...parts)));
  const cn = (text: string, tag = 0x0c) => name([attribute("3", tag, text)]);
  test.each<[string, Uint8Array, Uint8Array, boolean]>([
    ["in two string types are the same", cn("Test CA", 0x0c), cn("Test CA", 0x13), true],
    ["in other letters and blanks are the same", cn(" test  ca "), cn("Test CA"), true],
    ["of other words are not", cn("Test CA"), cn("TestCA"), false],
    ["of other attributes are not", name([attribute("10", 0x0c, "a")]), cn("a"), false],
    [
      "in another order are not",
      name([attribute("10", 0x0c, "a")], [attribute("3", 0x0c, "b")]),
      name([attribute("3", 0x0c, "b")], [attribute("10", 0x0c, "a")]),
      false,
    ],
    [
      "with the parts of one RDN in another order are the same",
      name([attribute("10", 0x0c, "a"), attribute("3", 0x0c, "b")]),
      name([attribute("3", 0x0c, "b"), attribute("10", 0x0c, "a")]),
      true,
    ],
    [
      "of one RDN and of two are not",
      name([attribute("3", 0x0c, "a"), attribute("3", 0x0c, "b")]),
      name([attribute("3", 0x0c, "a")], [attribute("3", 0x0c, "b")]),
      false,
    ],
    [
      "whose text looks like two attributes are not",
      cn('a",2.5.4.10="b'),
      name([attribute("3", 0x0c, "a")], [attribute("10", 0x0c, "b")]),
      false,
    ],
  ])("%s", (_, a, b, same) => {
    expect(comparableName(a) === comparableName(b)).toBe(same);
  });
});
