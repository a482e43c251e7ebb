// An LDAP directory outside Jira against a real slapd: the filter beside the address, and none.
import { afterAll, beforeAll, expect, test } from "vitest";
import { ldapServer, type LdapServer } from "../../src/ldap/ldap-server.ts";
import { mailbox } from "../../src/mail/address.ts";
import { externalLdap } from "../../src/sources/external-ldap.ts";
import { certificateOf } from "../keys-of.ts";
import { manualClock } from "../manual-clock.ts";
import { startSlapd, type Slapd } from "../slapd.ts";

const never = new AbortController().signal;
let slapd: Slapd;
let server: LdapServer;
beforeAll(async () => {
  slapd = await startSlapd("openldap");
  server = ldapServer(
    slapd.settings({ host: "localhost", port: slapd.tlsPort, tls: "implicit", ca: slapd.ca }),
    manualClock(),
  );
});
afterAll(async () => {
  await server.close();
  await slapd.stop();
});

function external(filter: string | null, onlyDomains: string[] = []) {
  const disclosed = { count: 0 };
  const parts = { server, baseDn: "ou=people,dc=example,dc=com", filter, onlyDomains, settingName: "smime.ldap" };
  return { ...externalLdap({ ...parts, disclosed: () => (disclosed.count += 1) }), disclosed };
}

test("R9: without a filter (mail=ADDRESS) alone is asked, with one both", async () => {
  const found = await external(null).find(mailbox("bob@example.com"), never);
  expect(found.kind === "found" && found.value.map(({ fingerprint }) => fingerprint)).toEqual([
    certificateOf("bob").fingerprint,
  ]);
  await slapd.logged((log) => log.includes('filter="(mail=bob@example.com)"'));
  expect((await external("(uid=bob)").find(mailbox("bob@example.com"), never)).kind).toBe("found");
  await slapd.logged((log) => log.includes('filter="(&(uid=bob)(mail=bob@example.com))"'));
  expect((await external("uid=alice").find(mailbox("bob@example.com"), never)).kind).toBe("absent");
});

test("LOOK-02: a filter that would end early and let everybody in is refused", () => {
  expect(() => external("(uid=bob)(uid=*")).toThrow(/^smime\.ldap\.filter is no LDAP filter: .* follows its end$/);
});

test("R8: each address that is sent out is counted, one that is withheld is not sent", async () => {
  const source = external(null, ["example.com"]);
  expect(source.name).toBe("ldap");
  await source.find(mailbox("bob@example.com"), never);
  await source.find(mailbox("nobody@example.com"), never);
  await source.find(mailbox("bob@partner.example"), never);
  expect(source.withholds?.(mailbox("bob@partner.example"))).toBe("partner.example is not in smime.ldap.onlyDomains");
  expect(source.disclosed.count).toBe(2);
  await slapd.logged((log) => log.includes("nobody@example.com"));
  expect(slapd.log()).not.toContain("partner.example");
});

test("R24: verify says how it got in, without sending an address of anybody", async () => {
  const source = external(null);
  expect(await source.probe(never)).toEqual({
    ok: true,
    detail:
      "anonymous, TLS verified; the filter matches users below ou=people,dc=example,dc=com, and certificates can be read",
  });
  expect(source.disclosed.count).toBe(0);
});
