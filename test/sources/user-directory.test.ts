// Certificates out of Jira's directories: a real slapd that keeps them as OpenLDAP does, and one that does as Active Directory.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseLdapFilter } from "../../src/ldap/ldap-filter.ts";
import { ldapServer, type LdapEntry, type LdapServer, type LdapSettings } from "../../src/ldap/ldap-server.ts";
import { fitness } from "../../src/keys/fitness.ts";
import type { Answer } from "../../src/keys/source.ts";
import type { SmimeKey } from "../../src/keys/recipient-key.ts";
import { mailbox } from "../../src/mail/address.ts";
import { userDirectory } from "../../src/sources/user-directory.ts";
import { fixtureBytes } from "../fixtures.ts";
import { certificateOf, FIXTURE_TIME } from "../keys-of.ts";
import { manualClock } from "../manual-clock.ts";
import { READER, startSlapd, type Slapd } from "../slapd.ts";

const never = new AbortController().signal;
const PEOPLE = "ou=people,dc=example,dc=com";
let openldap: Slapd;
let ad: Slapd;
const open: LdapServer[] = [];
beforeAll(async () => {
  [openldap, ad] = await Promise.all([startSlapd("openldap"), startSlapd("ad")]);
});
afterAll(async () => {
  await Promise.all(open.map((server) => server.close()));
  await Promise.all([openldap.stop(), ad.stop()]);
});

type Own = {
  settings?: Partial<LdapSettings>;
  server?: LdapServer;
  onlyDomains?: string[];
  userFilter?: string;
  baseDn?: string;
  mailAttribute?: string;
};
function directory(slapd: Slapd, own: Own = {}) {
  const server = own.server ?? ldapServer(slapd.settings(own.settings), manualClock());
  open.push(server);
  const disclosed = { count: 0 };
  const source = userDirectory({
    ...{ name: "corp", server, baseDn: own.baseDn ?? PEOPLE, mailAttribute: own.mailAttribute ?? "mail" },
    ...{ userFilter: own.userFilter ?? "(objectClass=inetOrgPerson)", onlyDomains: own.onlyDomains ?? [] },
    ...{ disclosed: () => (disclosed.count += 1), settingName: "smime.userDirectories[0]" },
  });
  return { ...source, disclosed };
}
const names = ["alice", "alice-new", "bob", "carol", "dave", "grace", "heidi", "kim", "mia", "quinn", "selfie", "erin"];
const byFingerprint = new Map(names.map((name) => [certificateOf(name).fingerprint, name]));
/** `name@place` of each candidate, sorted, an exclamation mark before those that are unfit. */
const shown = (answer: Answer<SmimeKey>, address: string) => {
  if (answer.kind !== "found") return answer.kind === "failed" ? `failed: ${answer.cause.message}` : answer.kind;
  const marked = answer.value.map((key) => {
    const verdict = fitness(key, mailbox(address), FIXTURE_TIME, { minRsaBits: 2048 });
    return `${verdict.fit ? "" : `${verdict.reason}!`}${byFingerprint.get(key.fingerprint) ?? "?"}@${key.place?.rank ?? "none"}`;
  });
  return marked.sort().join(" ");
};
const ask = async (source: ReturnType<typeof directory>, address: string) =>
  shown(await source.find(mailbox(address), never), address);

describe("R5: the certificates of", () => {
  test.each([
    ["alice", "alice@example.com", "alice-new@1 alice@0"],
    ["bob, whatever the case", "BOB@EXAMPLE.com", "bob@1"],
    ["carol, of two values that which names her", "carol@example.com", "carol@1"],
    [
      "carol by an address that no certificate names",
      "carol.alt@example.com",
      "wrong-mailbox!carol@1 wrong-mailbox!grace@1",
    ],
    ["dave, after another person's in the first attribute", "dave@example.com", "dave@1 wrong-mailbox!alice@0"],
    ["dave by his other address", "d.smith@example.net", "dave@1 wrong-mailbox!alice@0"],
    ["erin, expired", "erin@example.com", "expired!erin@1"],
    ["heidi in upper case", "heidi.meyer@example.com", "heidi@1"],
    ["quinn, after two of another person", "quinn@example.com", "quinn@1 wrong-mailbox!alice@0"],
    ["somebody who has none", "nocert@example.com", "absent"],
    ["nobody", "nobody@example.com", "absent"],
    ["somebody whose value is garbage", "broken@example.com", "absent"],
    ["two entries with one address", "twin@example.com", "wrong-mailbox!kim@1 wrong-mailbox!mia@1"],
    ["the one with a star for a name, by it", "*@example.com", "wrong-mailbox!selfie@1"],
  ])("%s", async (_, address, expected) => {
    expect(await ask(directory(openldap), address)).toBe(expected);
    expect(
      await ask(directory(ad, { settings: { port: ad.tlsPort, tls: "implicit", ca: ad.ca, ...READER } }), address),
    ).toBe(expected);
  });

  test("alice come with the CAs of her entry, which are no candidates", async () => {
    const answer = await directory(openldap).find(mailbox("alice@example.com"), never);
    const keys = answer.kind === "found" ? answer.value : [];
    expect(keys.every(({ certificate }) => !certificate.isCa)).toBe(true);
    const subjects = keys.flatMap(({ companions = [] }) => companions.map(({ subject }) => subject.split(",")[0]));
    expect(subjects).toEqual(keys.flatMap(() => ["CN=Relay Test Issuing CA", "CN=Relay Test Root CA"]));
  });

  test("somebody whose value is garbage: it is said where and what it is", async () => {
    expect((await directory(openldap).find(mailbox("broken@example.com"), never)).setAside).toEqual([
      expect.stringMatching(
        /^userSMIMECertificate of uid=broken,ou=people,dc=example,dc=com: this is no value of certificates/,
      ),
    ]);
  });

  test("everybody are asked for by four names: each server knows others of them", async () => {
    await directory(openldap).find(mailbox("bob@example.com"), never);
    const log = await openldap.logged((text) => text.includes("SRCH attr=userSMIMECertificate"));
    expect(/SRCH attr=(.*)/.exec(log)?.[1]?.split(" ")).toEqual([
      ...["userSMIMECertificate", "userSMIMECertificate;binary", "userCertificate", "userCertificate;binary", "mail"],
    ]);
  });
});

describe("values as Active Directory keeps them", () => {
  test.each([
    ["PEM", "pemtext@example.com", "wrong-mailbox!alice@1"],
    ["base64 in one line", "b64text@example.com", "wrong-mailbox!alice@1"],
    ["base64 in lines", "b64lines@example.com", "wrong-mailbox!alice@1"],
    ["garbage beside DER", "garbage@example.com", "wrong-mailbox!bob@1"],
  ])("%s", async (_, address, expected) => {
    expect(await ask(directory(ad), address)).toBe(expected);
  });

  test("a PEM bundle of 36: all certificates of people", async () => {
    const answer = await directory(ad).find(mailbox("pemp7@example.com"), never);
    expect(answer.kind === "found" && answer.value.length).toBeGreaterThan(30);
  });

  test("garbage beside DER is named", async () => {
    expect((await directory(ad).find(mailbox("garbage@example.com"), never)).setAside).toEqual([
      expect.stringMatching(/^userCertificate of uid=garbage,.*: this is no value of certificates/),
    ]);
  });

  test("reach us octet for octet, text or not, whatever the attribute's name is spelled like", async () => {
    const marked = Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), fixtureBytes("smime/certs/alice.pem")]);
    await ad.modify(
      `dn: uid=nocert,${PEOPLE}\nchangetype: modify\nadd: userCertificate\nuserCertificate:: ${marked.toString("base64")}\n\n`,
    );
    const server = ldapServer(ad.settings(), manualClock());
    open.push(server);
    const filter = parseLdapFilter("(|(uid=nocert)(uid=pemtext)(uid=b64text)(uid=bob))");
    if ("fault" in filter) throw new Error(filter.fault);
    const search = { base: PEOPLE, scope: "sub", filter, attributes: ["USERcertificate"] } as const;
    const values = (await server.search(search, never)).map((entry) =>
      entry.values("userCERTIFICATE")[0]?.toString("hex"),
    );
    const der = fixtureBytes("smime/certs/alice.der");
    expect(values.sort()).toEqual(
      [
        marked,
        fixtureBytes("smime/certs/alice.pem"),
        Buffer.from(der.toString("base64")),
        fixtureBytes("smime/certs/bob.der"),
      ]
        .map((bytes) => bytes.toString("hex"))
        .sort(),
    );
  });
});

describe("LOOK-01: an address", () => {
  test.each([
    ["with a wildcard", "*@example.com", "(&(objectClass=inetOrgPerson)(mail=\\2A@example.com))"],
    ["in upper case", "BoB@Example.COM", "(&(objectClass=inetOrgPerson)(mail=bob@example.com))"],
    [
      "with an internationalised domain",
      "bob@bücher.example",
      "(&(objectClass=inetOrgPerson)(mail=bob@xn--bcher-kva.example))",
    ],
    ["with a tag", "bob+jira@example.com", "(&(objectClass=inetOrgPerson)(mail=bob+jira@example.com))"],
  ])("%s is a value in slapd's log, the domain as A-labels", async (_, address, filter) => {
    const source = directory(openldap);
    await source.find(mailbox(address), never);
    expect(source.disclosed.count).toBe(1);
    await openldap.logged((log) => log.toLowerCase().includes(`filter="${filter.toLowerCase()}"`));
  });

  test("with a local part beyond ASCII is not asked for: mail cannot hold it", async () => {
    const source = directory(openldap);
    expect(await ask(source, "jörg@example.com")).toBe("absent");
    expect(source.disclosed.count).toBe(0);
  });

  test("LOOK-19: outside onlyDomains is withheld, with the setting's name, and never asked for", async () => {
    const source = directory(openldap, { onlyDomains: ["example.net"] });
    expect(source.withholds?.(mailbox("bob@example.com"))).toBe(
      "example.com is not in smime.userDirectories[0].onlyDomains",
    );
    expect(source.withholds?.(mailbox("d.smith@EXAMPLE.net"))).toBeUndefined();
    expect(await ask(source, "bob@example.com")).toBe("absent");
    expect(source.disclosed.count).toBe(0);
    expect(await ask(source, "d.smith@example.net")).toBe("dave@1 wrong-mailbox!alice@0");
  });
});

describe("LOOK-03: a server that gives other entries than asked for", () => {
  const lying = (entries: readonly LdapEntry[]): LdapServer => ({
    access: "anonymous",
    search: () => Promise.resolve(entries),
    close: () => Promise.resolve(),
  });
  const entry = (mails: readonly string[], certificate: string): LdapEntry => {
    const all = new Map([
      ["mail", mails.map((one) => Buffer.from(one))],
      ["usercertificate", [Buffer.from(certificateOf(certificate).certificate.der)]],
    ]);
    return { dn: `uid=${certificate}`, values: (name) => all.get(name.toLowerCase()) ?? [] };
  };
  test.each([
    ["of another person", [entry(["alice@example.com"], "bob")], "absent"],
    ["of an address that contains it", [entry(["xbob@example.com"], "bob")], "absent"],
    ["without an address beside its own", [entry([], "alice"), entry(["bob@example.com"], "bob")], "bob@1"],
    ["and its own", [entry(["x@example.com"], "alice"), entry(["y@example.com", "Bob@Example.com"], "bob")], "bob@1"],
  ])("%s is not believed", async (_, entries, expected) => {
    expect(await ask(directory(openldap, { server: lying(entries) }), "bob@example.com")).toBe(expected);
  });
});

describe("what cannot be found out is failed, with the setting that mends it", () => {
  test.each([
    [
      "a base that does not exist",
      () => ({ baseDn: "ou=x,dc=example,dc=com" }),
      /base DN ou=x.*; see smime\.userDirectories\[0\]\.baseDn$/,
    ],
    [
      "a wrong password",
      () => ({ settings: { ...READER, user: "cn=x,dc=example,dc=com" } }),
      /wrong user or password.*; see smime\.userDirectories\[0\]\.passwordFile$/,
    ],
    [
      "nobody listening",
      () => ({ settings: { port: 1 } }),
      /^failed: connection refused by 127\.0\.0\.1:1; see smime\.userDirectories\[0\]\.port$/,
    ],
  ])("%s", async (_, own, text) => {
    const source = directory(openldap, own());
    const answer = await ask(source, "nobody@example.com");
    expect(answer).toMatch(/^failed: /);
    expect(answer).toMatch(text);
    expect(await source.probe(never)).toEqual({ ok: false, detail: answer.replace("failed: ", "") });
  });

  test("more entries than the server gives: the right one may be missing", async () => {
    const ldif = Array.from({ length: 25 }, (_, index) =>
      [
        `dn: uid=same${index},${PEOPLE}`,
        "changetype: add",
        "objectClass: inetOrgPerson",
        "cn: x",
        "sn: x",
        "mail: same@example.com\n\n",
      ].join("\n"),
    );
    await ad.modify(ldif.join(""));
    expect(await ask(directory(ad), "same@example.com")).toMatch(
      /^failed: size limit of .*; see smime\.userDirectories\[0\]\.userFilter$/,
    );
  });

  test("LOOK-04: a base of which a part is elsewhere: who has no certificate here may have one there, who has one is found", async () => {
    const source = directory(openldap, { baseDn: "dc=example,dc=com" });
    expect(await ask(source, "bob@example.com")).toBe("bob@1");
    for (const address of ["nobody@example.com", "nocert@example.com"])
      expect(await ask(source, address)).toMatch(
        /^failed: .* refers to ldap:\/\/127\.0\.0\.1:1\/.*; see smime\.userDirectories\[0\]\.baseDn$/,
      );
    const probe = await source.probe(never);
    expect(probe.ok).toBe(false);
    expect(probe.detail).toContain("which is not followed");
  });
});

describe("R24: verify", () => {
  test("says how it got in and that the filter matches users", async () => {
    const source = directory(openldap, { settings: { tls: "starttls", ca: openldap.ca, ...READER } });
    expect(await source.probe(never)).toEqual({
      ok: true,
      detail: `bound as ${READER.user}, TLS verified; the filter matches users below ${PEOPLE}, and certificates can be read`,
    });
    expect(source.disclosed.count).toBe(0);
  });
  test("says that nobody shows a certificate, or none that can be read", async () => {
    expect(await directory(openldap, { userFilter: "(uid=nocert)" }).probe(never)).toEqual({
      ok: false,
      detail: `anonymous, in clear; no entry below ${PEOPLE} that matches shows a userSMIMECertificate or userCertificate; see smime.userDirectories[0]`,
    });
    const { ok, detail } = await directory(ad, { userFilter: "(uid=broken)" }).probe(never);
    expect(ok).toBe(false);
    expect(detail).toMatch(
      /; of 1 entries none has a certificate that can be read: user\w+Certificate of uid=broken,.*; see smime/i,
    );
  });
  test("says that the filter matches nobody", async () => {
    expect(await directory(openldap, { userFilter: "(title=chief)" }).probe(never)).toEqual({
      ok: false,
      detail: `anonymous, in clear; no entry below ${PEOPLE} matches (&(title=chief)(mail=*)); see smime.userDirectories[0]`,
    });
  });
  test("a filter that is none is refused when the source is made", () => {
    expect(() => directory(openldap, { userFilter: "(title=chief" })).toThrow(
      "smime.userDirectories[0].userFilter is no LDAP filter",
    );
  });
});

test("of a value with two certificates the one for encryption is chosen, not the one that has signed it", async () => {
  const dn = `uid=alice,${PEOPLE}`;
  const dual = fixtureBytes("smime/bundles/alice-dualkey.p7m").toString("base64");
  await openldap.modify(
    `dn: ${dn}\nchangetype: modify\nreplace: userSMIMECertificate\nuserSMIMECertificate:: ${dual}\n-\ndelete: userCertificate;binary\n`,
  );
  expect(await ask(directory(openldap), "alice@example.com")).toBe("alice-new@0 no-encryption-use!?@0");
});

test("R4: the user is found by the attribute that the directory of Jira has for it, and by no other", async () => {
  const dn = `uid=bob,${PEOPLE}`;
  await openldap.modify(`dn: ${dn}\nchangetype: modify\nadd: employeeNumber\nemployeeNumber: Bob@Example.com\n`);
  const source = directory(openldap, { mailAttribute: "employeeNumber" });
  expect(await ask(source, "bob@example.com")).toMatch(/^bob@/);
  await openldap.logged((log) => log.includes("(employeeNumber=bob@example.com)"));
  // alice has her address in mail alone
  expect(await ask(source, "alice@example.com")).toBe("absent");
  expect(await source.probe(never)).toMatchObject({ ok: true });
  await openldap.modify(`dn: ${dn}\nchangetype: modify\ndelete: employeeNumber\n`);
});
