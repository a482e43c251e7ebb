// The Web Key Directory as a source: a real HTTPS server under a private authority plays both hosts of a domain.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { generateKey } from "openpgp";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { NoSuchHost } from "../../src/http/http-fault.ts";
import { httpGet, type HttpAnswer, type HttpGet } from "../../src/http/http-get.ts";
import { mailbox } from "../../src/mail/address.ts";
import { webKeyDirectory } from "../../src/sources/wkd.ts";
import { makeAuthority } from "../authority.ts";
import { fixture, fixtureBytes } from "../fixtures.ts";
import { FIXTURE_TIME } from "../keys-of.ts";
import { startRaw, startWeb, type WebServer } from "../key-server.ts";
import { gnupgHome } from "../pgp/gnupg.ts";
import { said as saidBy } from "./said.ts";

const run = promisify(execFile);
const closing: (() => Promise<void>)[] = [];
const opened = <T extends { close(): Promise<void> }>(one: T): T => (closing.push(() => one.close()), one);
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
});
const seen: string[] = [];
let disclosures = 0;
beforeEach(() => {
  disclosures = 0;
  seen.length = 0;
});

const said = (get: HttpGet, address: string, onlyDomains: readonly string[] = []) =>
  saidBy(webKeyDirectory({ get, onlyDomains, disclosed: () => disclosures++, now: () => FIXTURE_TIME }), address);

/** Answers by host; a host that is not named does not exist. */
const hosts =
  (answers: Readonly<Record<string, Partial<HttpAnswer> | Error>>): HttpGet =>
  (url) => {
    seen.push(url.href);
    const answer = answers[url.hostname] ?? new NoSuchHost(url.hostname, undefined);
    if (answer instanceof Error) return Promise.reject(answer);
    return Promise.resolve({ status: 200, contentType: "application/octet-stream", body: Buffer.alloc(0), ...answer });
  };
const ALICE = { body: fixtureBytes("pgp/alice.gpg") };
const ALICES = "Alice Pgp <alice@example.com>, Olaf Old <alice@example.com>";
const BASE = "https://openpgpkey.example.com/.well-known/openpgpkey/example.com/hu";

describe("the place of a key", () => {
  test.each([
    ["alice", "kei1q4tipxxu1yj79k9kfukdhfy631xe", "alice"],
    ["Heidi.MEYER", "ofs3e8t8pui9wotxttncbjrq4koamy71", "Heidi.MEYER"],
    ["joe", "n4w4kuq9ejc3kmthngg8ccja7y5j8i97", "joe"],
    ["bob", "jycbiujnsxs47xrkethgtj69xuunurok", "bob"],
    ["joe.doe", "iy9q119eutrkn8s1mk4r39qejnbu3n5q", "joe.doe"],
    ["jörg", "h8ghzysw1a49fnopr45hii67zzgshjt8", "j%C3%B6rg"],
  ])("of %s is %s, and the local part is sent as it is written", async (local, hash, sent) => {
    await said(hosts({}), `${local}@Example.COM`);
    expect(seen).toEqual([
      `${BASE}/${hash}?l=${sent}`,
      `https://example.com/.well-known/openpgpkey/hu/${hash}?l=${sent}`,
    ]);
  });

  test.each(["a.b+c", "ÄÖÜ", "o'neil", "x_y-z", "UPPER.lower", "名前", "a&b=c?d#e/f"])(
    "of %s has the hash that gpg-wks-client gives",
    async (local) => {
      await said(hosts({}), `${local}@example.com`);
      const { stdout } = await run("/usr/lib/gnupg/gpg-wks-client", ["--print-wkd-hash", `${local}@example.com`]);
      expect(new URL(seen[0]!).pathname.split("/").at(-1)).toBe(stdout.split(" ")[0]);
      expect(new URL(seen[0]!).searchParams.get("l")).toBe(local);
    },
  );

  test("of a key in a ring has the hash that gpg --with-wkd-hash lists", async () => {
    const home = gnupgHome(false);
    try {
      home.run(["--import"], fixtureBytes("pgp/alice.gpg"));
      const listed = home.run(["--with-wkd-hash", "--list-keys"]).stdout.toString();
      await said(hosts({}), "alice@example.com");
      expect(listed).toContain(`${new URL(seen[0]!).pathname.split("/").at(-1)!}@example.com`);
    } finally {
      home.close();
    }
  });

  test("of a domain beyond ASCII is asked for in A-labels", async () => {
    await said(hosts({}), "jörg@bücher.example");
    expect(seen.map((url) => new URL(url).hostname)).toEqual([
      "openpgpkey.xn--bcher-kva.example",
      "xn--bcher-kva.example",
    ]);
    expect(seen[0]).toContain("/openpgpkey/xn--bcher-kva.example/hu/");
  });

  test.each(["ann@localhost", "ann@example"])("LOOK-13: %s has none, and nobody is asked", async (address) => {
    const source = webKeyDirectory({ get: hosts({}), onlyDomains: [], disclosed: () => disclosures++, now: () => 0 });
    expect(source.withholds?.(mailbox(address))).toMatch(/is no domain of the public DNS, which pgp\.wkd needs$/);
    expect([await said(hosts({}), address), seen.length, disclosures]).toEqual(["absent", 0, 0]);
  });

  test.each(["a@127.1", "a@[::1]", "a@0x7f000001", "a@2130706433", "a@evil.test:22", "a@evil.test#@good.example/x"])(
    "LOOK-13, LOOK-15: %s is no mailbox, so that no URL can be made of it",
    (address) => expect(() => mailbox(address)).toThrow(/is not an address/),
  );

  test("LOOK-19: with onlyDomains other domains are withheld", async () => {
    const get = hosts({ "openpgpkey.example.com": ALICE });
    const source = webKeyDirectory({ get, onlyDomains: ["example.org"], disclosed: () => disclosures++, now: () => 0 });
    expect(source.withholds?.(mailbox("alice@example.com"))).toBe("example.com is not in pgp.wkdOnlyDomains");
    expect(await said(get, "alice@example.com", ["example.org"])).toBe("absent");
    expect([seen.length, disclosures]).toEqual([0, 0]);
    expect(await said(get, "alice@example.com", ["example.com"])).toBe(ALICES);
  });
});

describe("verify", () => {
  const probed = (get: HttpGet, ...onlyDomains: string[]) => {
    const source = webKeyDirectory({ get, onlyDomains, disclosed: () => disclosures++, now: () => 0 });
    return source.probe(new AbortController().signal);
  };

  test("without a named domain nothing is asked, and it says so", async () => {
    const { ok, detail } = await probed(hosts({}));
    expect([ok, detail, seen]).toEqual([true, expect.stringMatching(/^nothing was asked/), []]);
  });

  test.each([
    ["answers 404", { status: 404 }, true, "openpgpkey.a.example answers, and shows no directory"],
    ["has a policy", { status: 200 }, true, "openpgpkey.a.example has a directory"],
    ["answers 500", { status: 500 }, false, "openpgpkey.a.example answered 500; see pgp.wkdOnlyDomains"],
    ["cannot be reached", new Error("no way to it"), false, "no way to it; see pgp.wkdOnlyDomains"],
  ])("a named domain whose server %s is really asked, for nobody", async (_, answer, ok, detail) => {
    expect(await probed(hosts({ "openpgpkey.a.example": answer }), "a.example")).toEqual({ ok, detail });
    expect(seen).toEqual(["https://openpgpkey.a.example/.well-known/openpgpkey/a.example/policy"]);
    expect(disclosures).toBe(0);
  });

  test("a domain that has no server for it is well, and of several the failing ones are told", async () => {
    expect(await probed(hosts({}), "a.example")).toEqual({
      ok: true,
      detail: "a.example has no web server, so no directory",
    });
    const [, direct] = seen;
    expect(direct).toBe("https://a.example/.well-known/openpgpkey/policy");
    const { ok, detail } = await probed(hosts({ "b.example": { status: 503 } }), "a.example", "b.example");
    expect([ok, detail]).toEqual([false, "b.example answered 503; see pgp.wkdOnlyDomains"]);
  });
});

describe("LOOK-17: advanced and direct method", () => {
  const notFound = { status: 404 };
  test.each([
    ["a key at the advanced place", { "openpgpkey.example.com": ALICE, "example.com": notFound }, ALICES, 1],
    ["none at the advanced place", { "openpgpkey.example.com": notFound, "example.com": ALICE }, "absent", 1],
    ["no advanced host, a key at the direct place", { "example.com": ALICE }, ALICES, 2],
    ["no advanced host, none at the direct place", { "example.com": notFound }, "absent", 2],
    ["no host at all", {}, "absent", 2],
    [
      "an advanced host that refuses",
      { "openpgpkey.example.com": new Error("connection refused by x"), "example.com": ALICE },
      "connection refused by x",
      1,
    ],
    [
      "a direct host that refuses",
      { "example.com": new Error("connection refused by x") },
      "connection refused by x",
      2,
    ],
    [
      "a DNS that does not answer",
      { "openpgpkey.example.com": new Error("the name cannot be resolved now"), "example.com": ALICE },
      "the name cannot be resolved now",
      1,
    ],
  ] as const)("%s", async (_what, answers, expected, asked) => {
    expect(await said(hosts(answers), "alice@example.com")).toBe(expected);
    expect([seen.length, disclosures]).toEqual([asked, asked]);
  });
});

describe("LOOK-16: what comes instead of a key", () => {
  const from = "openpgpkey.example.com";
  const answered = (answer: Partial<HttpAnswer>, address = "alice@example.com") =>
    said(hosts({ [from]: answer }), address);

  test("an armored key is taken like a binary one", async () => {
    expect(await answered({ body: fixtureBytes("pgp/alice-two-keys.asc") })).toBe(ALICES);
  });

  test("keys of other people beside it do not count, and alone they are none", async () => {
    expect(await answered({ body: fixtureBytes("pgp/all.gpg") })).toBe(ALICES);
    expect(await answered({ body: fixtureBytes("pgp/bob.gpg") })).toBe("absent");
    const { publicKey } = await generateKey({
      userIDs: [{ email: "boss@example.com" }, { email: "alice@example.com" }],
      ...{ type: "curve25519", format: "binary", date: new Date(FIXTURE_TIME - 60_000) },
    });
    expect(await answered({ body: Buffer.from(publicKey) })).toBe("<boss@example.com>");
    expect(await answered({ body: Buffer.from(publicKey) }, "ann@example.com")).toBe("absent");
  });

  test.each([
    [
      "a page",
      { body: Buffer.from("<!doctype html><pre>x</pre>"), contentType: "text/html" },
      "answered with a web page instead of a key",
    ],
    ["a page with a key in it", { body: Buffer.concat([Buffer.from("<html>"), ALICE.body]) }, ALICES],
    ["nothing", {}, "answered with nothing instead of a key"],
    [
      "secret keys",
      { body: fixtureBytes("pgp/alice-secret.asc") },
      "answered with an OpenPGP private key block instead of a key",
    ],
    ["junk", { body: Buffer.alloc(1000, 0x5a) }, "answered with something else instead of a key"],
    ["a cut key", { body: ALICE.body.subarray(0, 300) }, "answered with a key that is cut off instead of a key"],
    ["204", { status: 204 }, "answered 204"],
    ["403", { status: 403 }, "answered 403"],
    ["410", { status: 410 }, "answered 410"],
    ["500", { status: 500, ...ALICE }, "answered 500"],
    ["503", { status: 503 }, "answered 503"],
  ])("%s", async (_what, answer, expected) => {
    expect(await answered(answer)).toBe(expected === ALICES ? ALICES : `${from} ${expected}`);
  });
});

describe("over HTTPS", () => {
  let server: WebServer;
  let certified: { ca: string };
  const DIRECT_ONLY = "direct.example";
  beforeAll(async () => {
    const authority = await makeAuthority();
    certified = authority;
    const names = ["openpgpkey.example.com", "openpgpkey.example.org", DIRECT_ONLY].map((name) => `DNS:${name}`);
    server = opened(
      await startWeb(
        (request, response) => {
          const isAlices = request.url?.includes("/hu/kei1q4tipxxu1yj79k9kfukdhfy631xe?l=alice") === true;
          response.writeHead(isAlices ? 200 : 404).end(isAlices ? ALICE.body : "no");
        },
        await authority.issue(names),
      ),
    );
  });
  /** As in production but that every name, other than some that do not exist, is the server's, whatever its port. */
  const towards = (port: number, ca?: string): HttpGet => {
    const get = opened(
      httpGet({
        ...{ proxy: "none", ca },
        lookup: (hostname, _options, done) => {
          if (hostname === `openpgpkey.${DIRECT_ONLY}` || hostname.endsWith("nowhere.example")) {
            done(Object.assign(new Error("not found"), { code: "ENOTFOUND", hostname }), []);
          } else done(null, [{ address: "127.0.0.1", family: 4 }]);
        },
      }),
    );
    return (url, signal) => {
      expect([url.protocol, url.port, url.username, url.hash]).toEqual(["https:", "", "", ""]);
      return get(Object.assign(new URL(url), { port: String(port) }), signal);
    };
  };

  test("a key is found by the advanced method, by the direct one where there is no such host, and none where there is none", async () => {
    const get = towards(server.port, certified.ca);
    expect(await said(get, "alice@example.com")).toBe(ALICES);
    expect(await said(get, "bob@example.com")).toBe("absent");
    expect(await said(get, `alice@${DIRECT_ONLY}`)).toBe("absent");
    expect(await said(get, "alice@nowhere.example")).toBe("absent");
    expect(server.asked).toEqual([
      "/.well-known/openpgpkey/example.com/hu/kei1q4tipxxu1yj79k9kfukdhfy631xe?l=alice",
      "/.well-known/openpgpkey/example.com/hu/jycbiujnsxs47xrkethgtj69xuunurok?l=bob",
      "/.well-known/openpgpkey/hu/kei1q4tipxxu1yj79k9kfukdhfy631xe?l=alice",
    ]);
  });

  test("LOOK-16: a certificate of another name or authority, and a server that refuses, fail", async () => {
    expect(await said(towards(server.port, certified.ca), "alice@example.net")).toMatch(
      /^the certificate of openpgpkey\.example\.net is not trusted \(.*altnames/,
    );
    expect(await said(towards(server.port), "alice@example.com")).toMatch(
      /^the certificate of openpgpkey\.example\.com is not/,
    );
    const down = await startRaw(() => undefined);
    await down.close();
    expect(await said(towards(down.port), "alice@example.com")).toBe(
      `connection refused by openpgpkey.example.com:${down.port}`,
    );
  });

  test("LOOK-14: as it is made in production, a domain with private addresses is not connected to, and fails", async () => {
    const get = opened(
      httpGet({
        ...{ proxy: "none", publicOnly: true },
        lookup: (_hostname, _options, done) => done(null, [{ address: "10.1.2.3", family: 4 }]),
      }),
    );
    expect(await said(get, "alice@example.com")).toBe(
      "openpgpkey.example.com has the address 10.1.2.3, which is not public; it is not connected to",
    );
  });
});

test("a directory that gpg-wks-client has laid out is read", async () => {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-wkd-"));
  const [home, tree] = [join(folder, "home"), join(folder, "tree")];
  mkdirSync(home, { mode: 0o700 });
  const env = { ...process.env, GNUPGHOME: home };
  try {
    for (const [name, address] of [
      ["bob", "bob@example.com"],
      ["joe", "joe@example.org"],
    ] as const) {
      mkdirSync(join(tree, address.split("@")[1]!, "hu"), { recursive: true });
      const key = fixture(`pgp/${name}.gpg`);
      await run("/usr/lib/gnupg/gpg-wks-client", ["-C", tree, "--install-key", key, address], { env });
    }
    const fromTree: HttpGet = async ({ hostname, pathname }) => {
      if (!hostname.startsWith("openpgpkey.")) throw new NoSuchHost(hostname, undefined);
      const file = join(tree, pathname.replace("/.well-known/openpgpkey/", ""));
      if (!existsSync(file)) return { status: 404, contentType: "", body: Buffer.alloc(0) };
      return { status: 200, contentType: "", body: await readFile(file) };
    };
    expect(await said(fromTree, "bob@example.com")).toBe("Bob Pgp <bob@example.com>");
    expect(await said(fromTree, "JOE@example.org")).toBe("Joe Smith <joe@example.org>");
    expect(await said(fromTree, "bob@example.org")).toBe("absent");
  } finally {
    await run("gpgconf", ["--homedir", home, "--kill", "all"]);
    rmSync(folder, { recursive: true, force: true });
  }
});
