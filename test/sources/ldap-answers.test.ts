// Answers of a directory that say too little or too much: an attribute that may be searched and not read, and more than one person has.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PresenceFilter } from "ldapts";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { LdapEntry, LdapServer } from "../../src/ldap/ldap-directory.ts";
import { LdapFault, referralFault, resultFault } from "../../src/ldap/ldap-fault.ts";
import { ldapServer } from "../../src/ldap/ldap-server.ts";
import { mailbox } from "../../src/mail/address.ts";
import { externalLdap } from "../../src/sources/external-ldap.ts";
import { certificateOf } from "../keys-of.ts";
import { manualClock } from "../manual-clock.ts";
import { freePort } from "../free-port.ts";

const never = new AbortController().signal;
const SETTINGS = { host: "127.0.0.1", tls: "off", ca: undefined, user: null, password: null } as const;

function source(server: LdapServer) {
  const parts = { server, baseDn: "dc=example,dc=com", onlyDomains: [], disclosed: () => undefined };
  return externalLdap({ ...parts, filter: null, settingName: "smime.ldap" });
}

describe("a slapd that lets mail be searched and not read", () => {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-acl-"));
  let slapd: ChildProcess;
  let server: LdapServer;
  beforeAll(async () => {
    let port = 0;
    const at = (name: string) => join(folder, name);
    mkdirSync(at("db"));
    const schemas = ["core", "cosine", "inetorgperson"].map((name) => `include /etc/ldap/schema/${name}.schema`);
    const access = ["access to attrs=mail by * search", "access to * by * read"];
    const database = ["database mdb", 'suffix "dc=example,dc=com"', `directory ${at("db")}`, ...access];
    const lines = [...schemas, "modulepath /usr/lib/ldap", "moduleload back_mdb", ...database];
    writeFileSync(at("slapd.conf"), `${lines.join("\n")}\n`);
    const der = Buffer.from(certificateOf("bob").certificate.der).toString("base64");
    const top = "dn: dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: example\n\n";
    const bob = "dn: cn=bob,dc=example,dc=com\nobjectClass: inetOrgPerson\ncn: bob\nsn: b\nmail: bob@example.com\n";
    writeFileSync(at("all.ldif"), `${top}${bob}userCertificate;binary:: ${der}\n`);
    execFileSync("/usr/sbin/slapadd", ["-q", "-f", at("slapd.conf"), "-l", at("all.ldif")]);
    let isStarted = false;
    // somebody else may take the port before slapd does
    for (let attempt = 1; !isStarted && attempt <= 5; attempt++) {
      port = await freePort();
      const args = ["-f", at("slapd.conf"), "-h", `ldap://127.0.0.1:${port}`, "-d", "stats"];
      slapd = spawn("/usr/sbin/slapd", args, { stdio: ["ignore", "ignore", "pipe"] });
      let said = "";
      for await (const chunk of slapd.stderr!.iterator({ destroyOnReturn: false }))
        if ((isStarted = (said += String(chunk)).includes("slapd starting"))) break;
    }
    slapd.stderr!.resume();
    server = ldapServer({ ...SETTINGS, port }, manualClock());
    const filter = new PresenceFilter({ attribute: "objectClass" });
    // it says that it starts a moment before it answers
    await vi.waitFor(() => server.search({ base: "", scope: "base", filter, attributes: ["1.1"] }, never), 5_000);
  });
  afterAll(async () => {
    await server.close();
    slapd.kill();
    await once(slapd, "exit");
    rmSync(folder, { recursive: true, force: true });
  });

  test("LOOK-03: has failed for whoever it finds, who is not without a certificate because of it", async () => {
    const answer = await source(server).find(mailbox("bob@example.com"), never);
    expect(answer.kind === "failed" && answer.cause.message).toBe(
      "the server does not show mail of cn=bob,dc=example,dc=com; see smime.ldap.user",
    );
    expect(answer.isOnlyHere).toBe(true);
    expect((await source(server).find(mailbox("nobody@example.com"), never)).kind).toBe("absent");
  });

  test("R24: is not well, says verify", async () => {
    expect(await source(server).probe(never)).toEqual({
      ok: false,
      detail: "the server does not show mail of cn=bob,dc=example,dc=com; see smime.ldap.user",
    });
  });
});

const giving = (answer: readonly LdapEntry[] | LdapFault): LdapServer => ({
  access: "anonymous",
  search: () => (answer instanceof LdapFault ? Promise.reject(answer) : Promise.resolve(answer)),
  close: () => Promise.resolve(),
});
const entry = (dn: string, certificates: readonly Uint8Array[]): LdapEntry => ({
  dn,
  values: (name) => {
    if (name === "mail") return [Buffer.from("bob@example.com")];
    return name === "userCertificate" ? certificates.map((der) => Buffer.from(der)) : [];
  },
});
/** So many certificates of Bob's that differ in their signature. */
const variants = (count: number) => {
  const { der } = certificateOf("bob").certificate;
  return Array.from({ length: count }, (_, index) => {
    const own = Buffer.from(der);
    own.writeUInt16BE(index, own.length - 10);
    return own;
  });
};
const ask = async (entries: readonly LdapEntry[]) => source(giving(entries)).find(mailbox("bob@example.com"), never);

describe("LOOK-06: more than one person has", () => {
  test.each([
    [
      "a hundred and one values",
      101,
      /^answered with 101 values of certificates for one address; at most 100 are read/,
    ],
    ["fifty-one certificates of theirs", 51, /^answered with 51 certificates that name one address; at most 50 are/],
  ])("%s for one address are a failure of that address", async (_, count, text) => {
    const answer = await ask([entry("cn=bob", variants(count))]);
    expect(answer).toMatchObject({ kind: "failed", isOnlyHere: true });
    expect(answer.kind === "failed" && answer.cause.message).toMatch(text);
  });

  test("fifty certificates of theirs are candidates; of those of others only so many as make up fifty", async () => {
    const own = await ask([entry("cn=bob", variants(50))]);
    expect(own.kind === "found" && own.value.length).toBe(50);
    const alices = variants(0);
    const { der } = certificateOf("alice").certificate;
    for (let index = 0; index < 60; index++) {
      const other = Buffer.from(der);
      other.writeUInt16BE(index, other.length - 10);
      alices.push(other);
    }
    const mixed = await ask([entry("cn=alice", alices), entry("cn=bob", variants(10))]);
    const names = mixed.kind === "found" ? mixed.value.map(({ certificate }) => certificate.addresses[0]) : [];
    expect(names).toHaveLength(50);
    expect(names.filter((name) => name === "bob@example.com")).toHaveLength(10);
  });

  test("a hundred broken values under a name of two megabytes are told of in a few short lines", async () => {
    const answer = await ask([
      entry(
        `cn=${"x".repeat(2_000_000)}\n`,
        Array.from({ length: 100 }, (_, index) => Buffer.from([index + 1])),
      ),
    ]);
    expect(answer.kind).toBe("absent");
    expect(answer.setAside).toHaveLength(20);
    expect(answer.setAside?.at(-1)).toBe("and 81 more");
    expect(answer.setAside?.join("").length).toBeLessThan(10_000);
  });
});

describe("a failure", () => {
  const settings = { ...SETTINGS, port: 389 };
  const refused = (code: number) => resultFault({ code, text: "", referral: [] }, settings, "dc=x");
  test.each<[string, LdapFault, boolean]>([
    ["by its size limit", refused(4), true],
    ["by its administrative limit", refused(11), false],
    ["by its time limit", refused(3), false],
    ["for want of rights", refused(50), false],
    ["with a referral of the whole base", refused(10), false],
    ["with a referral of a part of it", referralFault(settings, "dc=x", ["ldap://child/"], []), true],
    ["by a connection cut", new LdapFault("cut", "gone"), false],
  ])("of a server %s lies in the address alone, or else in the server (%#)", async (_, fault, isOnlyHere) => {
    const answer = await source(giving(fault)).find(mailbox("bob@example.com"), never);
    expect([answer.kind, answer.isOnlyHere ?? false]).toEqual(["failed", isOnlyHere]);
  });
});
