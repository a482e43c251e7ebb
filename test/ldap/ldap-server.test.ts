// The LDAP transport against a real slapd: clear, StartTLS and LDAPS, binds, one connection for all, what its answers mean.
import { readdirSync, readlinkSync } from "node:fs";
import { EqualityFilter, PresenceFilter, type Filter } from "ldapts";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { LdapFault } from "../../src/ldap/ldap-fault.ts";
import { ldapServer, type LdapSearch, type LdapServer, type LdapSettings } from "../../src/ldap/ldap-server.ts";
import { Secret } from "../../src/secret.ts";
import { makeAuthority } from "../authority.ts";
import { manualClock } from "../manual-clock.ts";
import { READER, startSlapd, type Slapd } from "../slapd.ts";

const never = new AbortController().signal;
let slapd: Slapd;
let strangers: string;
const open: LdapServer[] = [];
beforeAll(async () => {
  slapd = await startSlapd("openldap");
  strangers = (await makeAuthority()).ca;
});
afterEach(() => Promise.all(open.splice(0).map((server) => server.close())));
afterAll(() => slapd.stop());

function serverOf(own: Partial<LdapSettings> = {}, clock = manualClock()): LdapServer {
  const server = ldapServer(slapd.settings(own), clock);
  open.push(server);
  return server;
}
const byMail = (value: string) => new EqualityFilter({ attribute: "mail", value });
const PEOPLE = "ou=people,dc=example,dc=com";
const searchOf = (filter: Filter, own: Partial<LdapSearch> = {}): LdapSearch => ({
  ...{ base: PEOPLE, scope: "sub", filter, attributes: ["mail", "userCertificate", "userCertificate;binary"] },
  ...own,
});
const faultOf = async (work: Promise<unknown>) => {
  const fault: unknown = await work.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (!(fault instanceof LdapFault)) throw new Error(`no fault but ${String(fault)}`);
  return `${fault.kind} ${fault.setting ?? ""}: ${fault.message}`;
};
const countOf = (log: string, word: string) => log.split(word).length - 1;
const connections = () => countOf(slapd.log(), "ACCEPT from");
const sockets = () =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
    } catch {
      return false;
    }
  }).length;

describe("ways in", () => {
  const ways: [string, () => Partial<LdapSettings>, string][] = [
    ["in clear, anonymously", () => ({}), "anonymous, in clear"],
    ["StartTLS by name", () => ({ host: "localhost", tls: "starttls", ca: slapd.ca }), "anonymous, TLS verified"],
    ["StartTLS by address", () => ({ tls: "starttls", ca: slapd.ca }), "anonymous, TLS verified"],
    ["LDAPS by address", () => ({ port: slapd.tlsPort, tls: "implicit", ca: slapd.ca }), "anonymous, TLS verified"],
    [
      "LDAPS by name with a bind",
      () => ({ host: "localhost", port: slapd.tlsPort, tls: "implicit", ca: slapd.ca, ...READER }),
      `bound as ${READER.user}, TLS verified`,
    ],
    [
      "StartTLS with a bind",
      () => ({ tls: "starttls", ca: slapd.ca, ...READER }),
      `bound as ${READER.user}, TLS verified`,
    ],
    ["in clear with a bind", () => READER, `bound as ${READER.user}, in clear`],
  ];
  test.each(ways)("%s: an entry is found", async (_, settings, access) => {
    const server = serverOf(settings());
    const [bob, ...others] = await server.search(searchOf(byMail("BOB@example.com")), never);
    expect(others).toEqual([]);
    expect(bob?.dn).toBe(`uid=bob,${PEOPLE}`);
    expect(bob?.values("MAIL").map(String)).toEqual(["bob@example.com"]);
    expect(bob?.values("usercertificate")).toHaveLength(1);
    expect(server.access).toBe(access);
  });

  test("LOOK-05: after StartTLS the bind and the address go under TLS, and the filter arrives as it was made", async () => {
    await serverOf({ tls: "starttls", ca: slapd.ca, ...READER }).search(
      searchOf(byMail("a)(mail=*@example.com")),
      never,
    );
    const log = await slapd.logged((text) => text.includes("a\\29\\28mail=\\2A@example.com"));
    const search = /(conn=\d+) op=2 SRCH [^\n]*\n?[^\n]*filter="\(mail=a\\29\\28mail=\\2A@example\.com\)"/.exec(log);
    const own = log
      .split("\n")
      .filter((line) => line.includes(`${search?.[1] ?? "none"} `))
      .join("\n");
    expect(own).toMatch(
      /op=0 EXT oid=1\.3\.6\.1\.4\.1\.1466\.20037[^]*TLS established[^]*op=1 BIND dn="cn=reader[^]*op=2 SRCH/,
    );
  });
});

describe("LOOK-05: what does not let in", () => {
  const refusals: [string, () => Partial<LdapSettings>, RegExp][] = [
    [
      "StartTLS with another CA",
      () => ({ tls: "starttls", ca: strangers }),
      /^untrusted ca: certificate of 127\.0\.0\.1 not trusted \(/,
    ],
    [
      "LDAPS with another CA",
      () => ({ port: slapd.tlsPort, tls: "implicit", ca: strangers }),
      /^untrusted ca: certificate of/,
    ],
    ["LDAPS with the system's CAs", () => ({ port: slapd.tlsPort, tls: "implicit" }), /^untrusted ca: certificate of/],
    [
      "a CA file without a certificate",
      () => ({ port: slapd.tlsPort, tls: "implicit", ca: "nothing" }),
      /^untrusted ca: ca holds no certificate/,
    ],
    ["TLS at a port in clear", () => ({ tls: "implicit", ca: slapd.ca }), /^unreachable tls: no TLS with/],
    [
      "clear at a port with TLS",
      () => ({ port: slapd.tlsPort }),
      /^cut host: .* closed the connection|^other port: .* does not speak LDAP/,
    ],
    [
      "a wrong password",
      () => ({ ...READER, password: new Secret("wrong") }),
      /^refused passwordFile: wrong user or password \(bind as cn=reader,.* refused\)/,
    ],
    [
      "a user that does not exist",
      () => ({ ...READER, user: "cn=nobody,dc=example,dc=com" }),
      /^refused passwordFile: wrong user or password/,
    ],
    [
      "a user that is no DN",
      () => ({ ...READER, user: "reader" }),
      /^refused user: bind as reader refused, it is no DN there/,
    ],
    [
      "an empty password",
      () => ({ ...READER, password: new Secret("") }),
      /^refused passwordFile: bind as cn=reader,.* needs a name and a password/,
    ],
    ["no password", () => ({ ...READER, password: null }), /^refused passwordFile: bind as/],
    [
      "a host that does not exist",
      () => ({ host: "ldap.invalid" }),
      /^unreachable host: (?:no such host ldap\.invalid|the name of host ldap\.invalid cannot)/,
    ],
  ];
  test.each(refusals)("%s is a fault and no password is told", async (_, settings, text) => {
    const before = sockets();
    const server = serverOf(settings());
    const fault = await faultOf(server.search(searchOf(byMail("bob@example.com")), never));
    expect(fault).toMatch(text);
    expect(fault).not.toMatch(/readerpw|wrong"|\bwrong$/);
    await server.close();
    expect(sockets()).toBe(before);
  });
});

describe("what an answer means", () => {
  test("LOOK-06: more entries than the server gives are a fault, although some came", async () => {
    const everyone = searchOf(new PresenceFilter({ attribute: "mail" }));
    expect(await faultOf(serverOf().search(everyone, never))).toMatch(/^too-much filter: size limit of 127/);
    expect(await serverOf().search({ ...everyone, atMost: 1 }, never)).toHaveLength(1);
  });
  test("a base that does not exist is a fault, and no empty answer", async () => {
    const search = searchOf(byMail("bob@example.com"), { base: "ou=nowhere,dc=example,dc=com" });
    expect(await faultOf(serverOf().search(search, never))).toMatch(
      /^no-such-base baseDn: base DN ou=nowhere,.* does not exist at/,
    );
    const noDn = { ...search, base: "people" };
    expect(await faultOf(serverOf().search(noDn, never))).toMatch(/^no-such-base baseDn: base DN people is no DN/);
  });
  test("LOOK-04: a referral for the whole base or a part of it is a fault that names it, and is not followed", async () => {
    const search = searchOf(byMail("bob@example.com"), { base: "dc=elsewhere" });
    expect(await faultOf(serverOf().search(search, never))).toMatch(
      /^referral baseDn: .* refers to ldap:\/\/127\.0\.0\.1:1\/.* for a part of dc=elsewhere, which is not followed/,
    );
    const root = { ...search, base: "dc=example,dc=com" };
    expect(await faultOf(serverOf().search(root, never))).toMatch(
      /^referral baseDn: .* refers to ldap:\/\/127\.0\.0\.1:1\/ou=elsewhere/,
    );
    const fault: unknown = await serverOf()
      .search(root, never)
      .catch((cause: unknown) => cause);
    expect((fault as LdapFault).entries.map(({ dn }) => dn)).toEqual([`uid=bob,${PEOPLE}`]);
  });
  test("nobody is an empty answer", async () => {
    expect(await serverOf().search(searchOf(byMail("nobody@example.com")), never)).toEqual([]);
  });
});

describe("one connection", () => {
  test("carries fifty searches that begin at once, each with its own answer", async () => {
    const before = connections();
    const server = serverOf(READER);
    const names = Array.from({ length: 50 }, (_, index) => ["alice", "bob", "erin", "nobody"][index % 4]!);
    const answers = await Promise.all(
      names.map((name) => server.search(searchOf(byMail(`${name}@example.com`)), never)),
    );
    expect(answers.map(([entry]) => entry?.dn ?? "none")).toEqual(
      names.map((name) => (name === "nobody" ? "none" : `uid=${name},${PEOPLE}`)),
    );
    expect(connections()).toBe(before + 1);
  });

  test("is closed after 60 s without a search, with a word to the server, and made anew", async () => {
    const [clock, before] = [manualClock(), sockets()];
    const server = serverOf(READER, clock);
    const ask = () => server.search(searchOf(byMail("bob@example.com")), never);
    await ask();
    const opened = connections();
    await clock.whenSleeping(60_000);
    clock.advance(59_999);
    await ask();
    expect(connections()).toBe(opened);
    const unbound = countOf(slapd.log(), "UNBIND");
    await clock.whenSleeping(60_000);
    clock.advance(60_000);
    await slapd.logged((log) => countOf(log, "UNBIND") > unbound);
    expect(await ask()).toHaveLength(1);
    expect(connections()).toBeGreaterThan(opened);
    await server.close();
    expect(sockets()).toBe(before);
    expect(await faultOf(ask())).toMatch(/^other : the connection to .* is closed/);
  });

  test("is not there before the first search, and closing without one is nothing", async () => {
    const before = connections();
    await serverOf().close();
    expect(connections()).toBe(before);
  });

  test("outlives a caller that gives up", async () => {
    const server = serverOf(READER);
    const given = new AbortController();
    const search = searchOf(byMail("bob@example.com"));
    await server.search(search, never);
    const before = connections();
    const left = server.search(search, given.signal);
    given.abort();
    expect(await faultOf(left)).toMatch(/^time-out host: .* did not answer in time/);
    expect(await server.search(search, never)).toHaveLength(1);
    expect(connections()).toBe(before);
  });
});
