// An operator's filter: what is read, what is refused, and that slapd gets from us what it gets from ldapsearch.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { AndFilter, EqualityFilter, type Filter } from "ldapts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseLdapFilter } from "../../src/ldap/ldap-filter.ts";
import { ldapServer, type LdapServer } from "../../src/ldap/ldap-server.ts";
import { manualClock } from "../manual-clock.ts";
import { startSlapd, type Slapd } from "../slapd.ts";

const run = promisify(execFile);
const never = new AbortController().signal;

function filterOf(text: string): Filter {
  const filter = parseLdapFilter(text);
  if ("fault" in filter) throw new Error(filter.fault);
  return filter;
}

describe("LOOK-02: a filter is refused", () => {
  test.each([
    ["", "it is empty"],
    ["  \n ", "it is empty"],
    ["(objectClass=person)(x", '"(x" follows its end'],
    ["objectClass=person)(mail=*", '"(mail=*)" follows its end'],
    ["(objectClass=person))", '")" follows its end'],
    ["(objectClass=person", '")" is missing'],
    ["(&(objectClass=person)", '")" is missing'],
    ["(&(!(objectClass=person)x)", '")" is missing before "x)"'],
    ["((mail=x)", "names no attribute|is no comparison"],
    ["()", '"" is no comparison'],
    ["(&)", '"&" needs filters behind it'],
    ["(!)", '"!" needs exactly one filter'],
    ["(!(a=b)(c=d))", '"!" needs exactly one filter'],
    ["(objectClass)", '"objectClass" is no comparison'],
    ["(=person)", '"=person" is no comparison'],
    ["(object class=person)", "is no comparison"],
    ["(cn=a(b)", "is no comparison"],
    ["(cn=a\\b)", "has a backslash that two hex digits do not follow"],
    ["(cn=a\\2)", "has a backslash"],
    ["(cn=a**b)", "two wildcards side by side"],
    ["(cn>=\\ff)", "is not UTF-8"],
    ["(:=x)", "names no attribute"],
    ["(cn:=a*)", "is no comparison"],
    [`${"(!".repeat(60)}(a=b)${")".repeat(60)}`, "nested more than 50 deep"],
  ])("%j", (text, fault) => {
    const parsed = parseLdapFilter(text);
    expect("fault" in parsed ? parsed.fault : parsed.toString()).toMatch(new RegExp(fault.replace(/[()*]/g, "\\$&")));
  });
});

describe("a filter is read, and shown as", () => {
  test.each([
    ["objectClass=person", "(objectClass=person)"],
    [" (objectClass=inetOrgPerson)\n", "(objectClass=inetOrgPerson)"],
    ["&(a=b)(c=d)", "(&(a=b)(c=d))"],
    ["(&\n  (a=b)\n  (|(c=d)(!(e=f)))\n)", "(&(a=b)(|(c=d)(!(e=f))))"],
    ["(cn=*)", "(cn=*)"],
    ["(cn=a*b*c)", "(cn=a*b*c)"],
    ["(cn=*\\2a*)", "(cn=*\\2a*)"],
    ["(cn=J\\c3\\b6rg \\28x\\29)", "(cn=Jörg \\28x\\29)"],
    ["(cn= two  spaces )", "(cn= two  spaces )"],
    ["(objectGUID=\\ff\\00\\9a)", "(objectGUID=\\ff\\00\\9a)"],
    ["(cn;lang-de=x)", "(cn;lang-de=x)"],
    ["(2.5.4.3=x)", "(2.5.4.3=x)"],
    ["(age>=18)", "(age>=18)"],
    ["(age<=18)", "(age<=18)"],
    ["(cn~=x)", "(cn~=x)"],
    ["(ou:dn:=people)", "(ou:dn:=people)"],
    ["(!(userAccountControl:1.2.840.113556.1.4.803:=2))", "(!(userAccountControl:1.2.840.113556.1.4.803:=2))"],
  ])("%j → %s", (text, shown) => expect(filterOf(text).toString()).toBe(shown));
});

describe("slapd gets from us", () => {
  let slapd: Slapd;
  let server: LdapServer;
  beforeAll(async () => {
    slapd = await startSlapd("openldap");
    server = ldapServer(slapd.settings(), manualClock());
  });
  afterAll(async () => {
    await server.close();
    await slapd.stop();
  });

  test.each([
    "(objectClass=person)",
    "(&(objectClass=person)(|(uid=alice)(!(uid=b*))))",
    "(cn=*l*i*)",
    "(cn=A*)",
    "(cn=*e)",
    "(cn=\\2a\\28\\29\\5c)",
    "(sn=J\\c3\\b6rg)",
    "(sn=Jörg)",
    "(userPassword=\\ff\\fe)",
    "(uid>=a)",
    "(uid<=z)",
    "(uid~=alice)",
    "(uid:caseExactMatch:=alice)",
    "(ou:dn:=people)",
    "(ou:dn:caseIgnoreMatch:=people)",
    "(:caseIgnoreMatch:=alice)",
    "(!(uidNumber:1.2.840.113556.1.4.803:=2))",
  ])("what it gets from ldapsearch: %s", async (text) => {
    const base = `uid=f${Buffer.from(text).toString("hex")},dc=nowhere`;
    const url = `ldap://127.0.0.1:${slapd.port}`;
    // both are told that there is no such base: what counts is the filter in the log
    await run("ldapsearch", ["-x", "-H", url, "-b", base, "-s", "base", text]).catch(() => undefined);
    const search = { base, scope: "base", filter: filterOf(text), attributes: ["1.1"] } as const;
    await server.search(search, never).catch(() => undefined);
    const seen = (log: string) => [...log.matchAll(/SRCH base="([^"]+)" scope=0 deref=0 filter="(.*)"$/gm)];
    const own = (log: string) => seen(log).filter((match) => match[1] === base);
    const [theirs, ours] = own(await slapd.logged((log) => own(log).length === 2)).map((match) => match[2]);
    expect(theirs).toBeTruthy();
    expect(ours).toBe(theirs);
  });

  test("a matching rule that is applied: the attribute is not lost", async () => {
    const alice = new EqualityFilter({ attribute: "mail", value: "alice@example.com" });
    const find = (text: string) =>
      server.search(
        {
          ...{ base: "ou=people,dc=example,dc=com", scope: "sub", attributes: ["1.1"] },
          filter: new AndFilter({ filters: [filterOf(text), alice] }),
        },
        never,
      );
    expect(await find("(uid:caseExactMatch:=alice)")).toHaveLength(1);
    expect(await find("(uid:caseExactMatch:=Alice)")).toHaveLength(0);
    expect(await find("(!(uid:caseExactMatch:=alice))")).toHaveLength(0);
  });
});
