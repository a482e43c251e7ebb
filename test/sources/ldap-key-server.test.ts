// OpenPGP keys out of LDAP: slapd arranged as GnuPG's, PGP Universal's and PGP.com's key servers, and gpg's own questions beside ours.
import { PresenceFilter } from "ldapts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fitness } from "../../src/keys/fitness.ts";
import { LdapFault } from "../../src/ldap/ldap-fault.ts";
import { ldapServer, type LdapEntry, type LdapServer, type LdapSettings } from "../../src/ldap/ldap-server.ts";
import { mailbox } from "../../src/mail/address.ts";
import { ldapKeyServer } from "../../src/sources/ldap-key-server.ts";
import { fixtureBytes } from "../fixtures.ts";
import { FIXTURE_TIME, pgpKeyOf } from "../keys-of.ts";
import { manualClock } from "../manual-clock.ts";
import { gnupgHome } from "../pgp/gnupg.ts";
import { READER, startSlapd, type Slapd } from "../slapd.ts";

const never = new AbortController().signal;
const KEYS = "ou=PGP Keys,dc=example,dc=com";
const LEGACY = "o=legacy,dc=example,dc=com";
let slapd: Slapd;
let pgpcom: Slapd;
const open: LdapServer[] = [];
beforeAll(async () => {
  [slapd, pgpcom] = await Promise.all([startSlapd("openldap"), startSlapd("pgpcom")]);
});
afterAll(async () => {
  await Promise.all(open.map((server) => server.close()));
  await Promise.all([slapd.stop(), pgpcom.stop()]);
});

type Own = {
  base?: string;
  settings?: Partial<LdapSettings>;
  server?: LdapServer;
  onlyDomains?: string[];
  now?: () => number;
};
function keyServer(at: Slapd, own: Own = {}) {
  const server = own.server ?? ldapServer(at.settings(own.settings), manualClock());
  open.push(server);
  const disclosed = { count: 0 };
  const url = `ldap://127.0.0.1:${at.port}/${encodeURIComponent(own.base ?? "")}`;
  const now = own.now ?? (() => FIXTURE_TIME);
  const parts = { url, server, onlyDomains: own.onlyDomains ?? [], now, disclosed: () => (disclosed.count += 1) };
  return { ...ldapKeyServer(parts), disclosed };
}
const ask = async (source: ReturnType<typeof keyServer>, address: string) => {
  const answer = await source.find(mailbox(address), never);
  if (answer.kind !== "found") return answer.kind === "failed" ? `failed: ${answer.cause.message}` : answer.kind;
  const shown = answer.value.map((key) => {
    const verdict = fitness(key, mailbox(address), FIXTURE_TIME, { minRsaBits: 2048 });
    const name = /^[\w.äöü]+/.exec(key.certificate.userIds[0] ?? "")?.[0]?.toLowerCase() ?? "nameless";
    return verdict.fit ? name : `${verdict.reason}!${name}`;
  });
  return shown.sort().join(" ");
};

describe("R15: the keys of", () => {
  const expected: [string, string][] = [
    ["alice@example.com", "alice olaf"],
    ["BOB@example.com", "bob"],
    ["erin@example.com", "expired!erin"],
    ["heidi.meyer@example.com", "heidi"],
    ["dave@example.com", "dave"],
    ["ob@example.com", "absent"],
    ["example.com@example.com", "absent"],
    ["*@example.com", "absent"],
    ["gone@example.com", "absent"],
    ["bea@example.com", "absent"],
    ["rupert@example.com", "absent"],
    ["nobody@example.com", "absent"],
    ["jörg@bücher.example", "jörg"],
  ];
  test.each(expected)("%s: the same from GnuPG's, PGP Universal's and PGP.com's arrangement", async (address, keys) => {
    expect(await ask(keyServer(slapd), address)).toBe(keys);
    expect(await ask(keyServer(slapd, { base: LEGACY }), address)).toBe(keys);
    // the fixture has entries there for keys of several User IDs as PGP.com gives them, each with the whole key
    expect(await ask(keyServer(pgpcom), address)).toBe(keys);
  });

  test("a User ID without angle brackets are found in GnuPG's arrangement", async () => {
    expect(await ask(keyServer(slapd), "bare@example.com")).toBe("bare");
  });

  test("somebody whose key is revoked, which the entry does not say: shown as revoked, not used", async () => {
    const dn = /dn: (pgpCertID=\w+),ou=PGP Keys,o=legacy/.exec(await entryOf("rupert"))?.[1] ?? "";
    const change = (base: string) => `dn: ${dn},${base}\nchangetype: modify\nreplace: pgpRevoked\npgpRevoked: 0\n\n`;
    const back = (base: string) => change(base).replace("pgpRevoked: 0", "pgpRevoked: 1");
    await slapd.modify(change(KEYS) + change(`ou=PGP Keys,${LEGACY}`));
    expect(await ask(keyServer(slapd), "rupert@example.com")).toBe("revoked!rupert");
    expect(await ask(keyServer(slapd, { base: LEGACY }), "rupert@example.com")).toBe("revoked!rupert");
    await slapd.modify(back(KEYS) + back(`ou=PGP Keys,${LEGACY}`));
  });

  test("somebody whose entry is marked as revoked are set aside, and it is said", async () => {
    const answer = await keyServer(slapd, { base: LEGACY }).find(mailbox("rupert@example.com"), never);
    expect(answer.kind).toBe("absent");
    expect(answer.setAside).toEqual([expect.stringMatching(/^pgpCertID=.* is marked as revoked or disabled$/)]);
  });

  const entryOf = async (name: string) => {
    const server = ldapServer(slapd.settings(), manualClock());
    open.push(server);
    const search = { base: `ou=PGP Keys,${LEGACY}`, scope: "sub", attributes: ["pgpUserID"] } as const;
    const filter = new PresenceFilter({ attribute: "pgpUserID" });
    const entries = await server.search({ ...search, filter }, never);
    return `dn: ${entries.find((entry) => entry.values("pgpUserID").join().toLowerCase().includes(name))?.dn ?? ""}`;
  };
});

describe("where the keys are", () => {
  test.each([
    ["naming contexts", () => keyServer(slapd), `anonymous, in clear; keys below ${KEYS} (as GnuPG)`],
    [
      "the base of the URL",
      () => keyServer(slapd, { base: LEGACY }),
      `anonymous, in clear; keys below ou=PGP Keys,${LEGACY} (as PGP Universal)`,
    ],
    [
      "a parent of that base",
      () => keyServer(slapd, { base: `ou=PGP Keys,${LEGACY}` }),
      `anonymous, in clear; keys below ou=PGP Keys,${LEGACY} (as PGP Universal)`,
    ],
    [
      "PGP.com's entry at the top",
      () => keyServer(pgpcom),
      "anonymous, in clear; keys below ou=ACTIVE,o=PGP KEYSPACE,c=US (as PGP Universal)",
    ],
  ])("is found by %s, and verify says so", async (_, source, detail) => {
    expect(await source().probe(never)).toEqual({ ok: true, detail });
  });

  test("is asked for once in ten minutes, and again after a failure", async () => {
    let now = FIXTURE_TIME;
    let isDown = false;
    const real = ldapServer(slapd.settings(), manualClock());
    open.push(real);
    const bases: string[] = [];
    const server: LdapServer = {
      ...real,
      search: (search, signal) => {
        bases.push(search.base);
        return isDown ? Promise.reject(new LdapFault("cut", "down")) : real.search(search, signal);
      },
    };
    const source = keyServer(slapd, { server, now: () => now });
    const asked = async () => {
      bases.length = 0;
      await source.find(mailbox("bob@example.com"), never);
      return bases.length;
    };
    expect([await asked(), await asked()]).toEqual([3, 1]);
    now += 10 * 60_000;
    expect([await asked(), await asked()]).toEqual([3, 1]);
    isDown = true;
    await asked();
    isDown = false;
    expect(await asked()).toBe(3);
  });

  test("several naming contexts with keys are all asked", async () => {
    const answers: Record<string, LdapEntry[]> = {
      "": [fakeEntry("", { namingContexts: ["o=one", "o=none", "o=two"] })],
      "cn=PGPServerInfo,o=one": [fakeEntry("", { pgpBaseKeySpaceDN: ["ou=k,o=one"] })],
      "cn=PGPServerInfo,o=two": [
        fakeEntry("", { pgpBaseKeySpaceDN: ["ou=k,o=two"], pgpSoftware: ["GnuPG"], pgpVersion: ["2"] }),
      ],
      "ou=k,o=one": [fakeEntry("a", { pgpKey: [await armored("bob")] })],
      "ou=k,o=two": [fakeEntry("b", { pgpKey: [fixtureBytes("pgp/alice-two-keys.asc").toString("latin1")] })],
    };
    expect(await ask(keyServer(slapd, { server: fake(answers) }), "bob@example.com")).toBe("bob");
    expect(await ask(keyServer(slapd, { server: fake(answers) }), "alice@example.com")).toBe("alice olaf");
  });
});

describe("what cannot be found out is failed", () => {
  test("a directory without a key space: nobody is without a key because of it", async () => {
    const source = keyServer(slapd, { server: fake({ "": [fakeEntry("", { namingContexts: ["o=x"] })] }) });
    const text = `no PGP key space at 127.0.0.1:${slapd.port} below o=x; see pgp.keyServer.url`;
    expect(await ask(source, "bob@example.com")).toBe(`failed: ${text}`);
    expect(await source.probe(never)).toEqual({ ok: false, detail: text });
    expect(source.disclosed.count).toBe(0);
  });
  test("a server that is down, with the setting of a key server", async () => {
    expect(await ask(keyServer(slapd, { settings: { port: 1 } }), "bob@example.com")).toBe(
      "failed: connection refused by 127.0.0.1:1; see pgp.keyServer.url",
    );
  });
  test("a wrong CA and a wrong password", async () => {
    const tls = { tls: "starttls", ca: pgpcom.ca } as const;
    expect(await ask(keyServer(slapd, { settings: tls }), "bob@example.com")).toMatch(
      /not trusted.*; see pgp\.keyServer\.ca$/,
    );
    const wrong = { user: "cn=x,dc=example,dc=com", password: READER.password };
    expect(await ask(keyServer(slapd, { settings: wrong }), "bob@example.com")).toMatch(
      /; see pgp\.keyServer\.passwordFile$/,
    );
  });
  const spaces = {
    "": [fakeEntry("", { namingContexts: ["o=x"] })],
    "cn=PGPServerInfo,o=x": [fakeEntry("", { pgpBaseKeySpaceDN: ["o=k"] })],
  };
  test("a key that cannot be read, and is the only one; beside another it is set aside", async () => {
    const broken = fakeEntry("pgpCertID=1", { pgpKey: ["garbage"] });
    const source = keyServer(slapd, { server: fake({ ...spaces, "o=k": [broken] }) });
    expect(await ask(source, "bob@example.com")).toBe("failed: pgpKey of pgpCertID=1: it is no OpenPGP key");
    const good = fakeEntry("pgpCertID=2", { pgpKeyV2: [await armored("bob")] });
    const both = keyServer(slapd, { server: fake({ ...spaces, "o=k": [broken, good] }) });
    expect(await both.find(mailbox("bob@example.com"), never)).toMatchObject({
      ...{ kind: "found", setAside: ["pgpKey of pgpCertID=1: it is no OpenPGP key"] },
      value: [{ fingerprint: (await pgpKeyOf("bob")).fingerprint }],
    });
  });
  test("more than fifty keys for one address", async () => {
    const many = Array.from({ length: 51 }, (_, index) => fakeEntry(`x${index}`, { pgpKey: [`key ${index}`] }));
    expect(await ask(keyServer(slapd, { server: fake({ ...spaces, "o=k": many }) }), "bob@example.com")).toMatch(
      /^failed: answered with 51 keys; at most 50 are read/,
    );
  });
  test("LOOK-08: a key of another person is no candidate", async () => {
    const other = fakeEntry("x", { pgpKey: [await armored("bob")] });
    expect(await ask(keyServer(slapd, { server: fake({ ...spaces, "o=k": [other] }) }), "ann@example.com")).toBe(
      "absent",
    );
  });
});

test("LOOK-19: an address outside onlyDomains is withheld and not sent", async () => {
  const source = keyServer(slapd, { onlyDomains: ["partner.example"] });
  expect(source.withholds?.(mailbox("bob@example.com"))).toBe("example.com is not in pgp.keyServer.onlyDomains");
  expect(await ask(source, "bob@example.com")).toBe("absent");
  expect(source.disclosed.count).toBe(0);
});

describe("our question is gpg's", () => {
  /** Base and filter of the searches below a key space, in order. */
  const questions = (log: string) =>
    [...log.matchAll(/SRCH base="(ou=PGP Keys[^"]*)" scope=2 deref=\d filter="(.*)"$/gm)].map(
      (match) => `${match[1]} ${match[2]}`,
    );
  const compared = async (base: string, gpgArguments: readonly string[]) => {
    const start = questions(slapd.log()).length;
    await keyServer(slapd, { base }).find(mailbox("alice@example.com"), never);
    const middle = questions(await slapd.logged((log) => questions(log).length > start)).length;
    const home = gnupgHome(false);
    try {
      home.run(["--keyserver", `ldap://127.0.0.1:${slapd.port}/${encodeURIComponent(base)}`, ...gpgArguments]);
    } finally {
      home.close();
    }
    const all = questions(await slapd.logged((log) => questions(log).length > middle));
    return { ours: all.slice(start, middle), theirs: all.slice(middle) };
  };

  test("for GnuPG's arrangement, in its look-up by address", async () => {
    const { ours, theirs } = await compared("", [
      "--auto-key-locate",
      "clear,keyserver",
      "--locate-external-keys",
      "alice@example.com",
    ]);
    expect(ours).toEqual([`${KEYS} (&(gpgMailbox=alice@example.com)(!(|(pgpRevoked=1)(pgpDisabled=1))))`]);
    expect(theirs[0]).toBe(ours[0]);
  });
  test("for PGP Universal's, in its search", async () => {
    const { ours, theirs } = await compared(LEGACY, ["--search-keys", "<alice@example.com>"]);
    expect(ours).toEqual([`ou=PGP Keys,${LEGACY} (pgpUserID=*<alice@example.com>*)`]);
    expect(theirs[0]).toContain("(pgpUserID=*<alice@example.com>*)");
  });
});

function fakeEntry(dn: string, attributes: Readonly<Record<string, readonly string[]>>): LdapEntry {
  const all = new Map(Object.entries(attributes).map(([name, values]) => [name.toLowerCase(), values]));
  return { dn, values: (name) => (all.get(name.toLowerCase()) ?? []).map((value) => Buffer.from(value, "latin1")) };
}

/** Answers each base with its entries; the others do not exist. */
function fake(answers: Readonly<Record<string, readonly LdapEntry[]>>): LdapServer {
  return {
    access: "anonymous",
    search: ({ base }) => {
      const entries = answers[base];
      return entries === undefined
        ? Promise.reject(new LdapFault("no-such-base", `no ${base}`))
        : Promise.resolve(entries);
    },
    close: () => Promise.resolve(),
  };
}

async function armored(name: string): Promise<string> {
  const { certificate } = await pgpKeyOf(name);
  return `-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n${Buffer.from(certificate.bytes).toString("base64")}\n-----END PGP PUBLIC KEY BLOCK-----\n`;
}
