// The HKP key server as a source: a real SKS, directly and by proxies; the same question as dirmngr's.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { request as forward } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { generateKey } from "openpgp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { httpGet, type HttpGet } from "../../src/http/http-get.ts";
import { mailbox } from "../../src/mail/address.ts";
import { hkpKeyServer } from "../../src/sources/hkp.ts";
import { makeAuthority } from "../authority.ts";
import { fixtureBytes } from "../fixtures.ts";
import { FIXTURE_TIME } from "../keys-of.ts";
import { startRaw, startSks, startSquid, startTinyproxy, startWeb } from "../key-server.ts";
import type { Running, RunningProxy } from "../key-server.ts";
import { said } from "./said.ts";

const run = promisify(execFile);
const never = new AbortController().signal;
const closing: (() => Promise<void>)[] = [];
const opened = <T extends { close(): Promise<void> }>(one: T): T => (closing.push(() => one.close()), one);
const direct = opened(httpGet({ proxy: "none" }));
const folder = mkdtempSync(join(tmpdir(), "sealpost-hkp-"));
closing.push(async () => rm(folder, { recursive: true, force: true }));
let disclosures = 0;

const keyServer = (url: string, get: HttpGet = direct, onlyDomains: readonly string[] = []) =>
  hkpKeyServer({ url, get, onlyDomains, disclosed: () => disclosures++, now: () => FIXTURE_TIME });

const ALICES = "Alice Pgp <alice@example.com>, Olaf Old <alice@example.com>";
let sks: Running;
let hkp: string;
beforeAll(async () => {
  const { publicKey } = await generateKey({
    userIDs: [{ name: "Tagged", email: "ann.o+jira@example.com" }],
    // of a kind that SKS knows
    ...{ type: "rsa", rsaBits: 2048, format: "binary", date: new Date(FIXTURE_TIME - 60_000) },
  });
  writeFileSync(join(folder, "keys.gpg"), Buffer.concat([fixtureBytes("pgp/all.gpg"), publicKey]));
  sks = opened(await startSks(join(folder, "keys.gpg")));
  hkp = `hkp://127.0.0.1:${sks.port}`;
});
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
});

describe("R15: SKS", () => {
  test.each([
    ["alice@example.com", ALICES],
    ["ALICE@example.com", ALICES],
    ["ann.o+jira@example.com", "Tagged <ann.o+jira@example.com>"],
    ["jörg@bücher.example", "Jörg Müller <jörg@bücher.example>"],
    ["bare@example.com", "bare@example.com"],
    ["rupert@example.com", "revoked"],
    ["erin@example.com", "expired"],
    ["com@example.alice", "absent"],
    ["ob@example.com", "absent"],
    ["example.com@alice", "absent"],
    ["pgp@alice.example.com", "absent"],
    ["gone@example.com", "absent"],
    ["nobody@nowhere.example", "absent"],
    ["ann.o@example.com", "absent"],
    ["ann.o-jira@example.com", "absent"],
  ])("LOOK-08: %s: %s", async (address, expected) => {
    expect(await said(keyServer(hkp), address)).toBe(expected);
  });

  test("the probe says that it is a key server, and sends no address", async () => {
    disclosures = 0;
    expect(await keyServer(hkp).probe(never)).toEqual({
      ok: true,
      detail: `http://127.0.0.1:${sks.port} is a key server`,
    });
    expect(disclosures).toBe(0);
  });

  test("every request with an address is told, two for a domain beyond ASCII without a key", async () => {
    disclosures = 0;
    await said(keyServer(hkp), "alice@example.com");
    expect(disclosures).toBe(1);
    await said(keyServer(hkp), "nobody@bücher.example");
    expect(disclosures).toBe(3);
  });

  test("its page for people, which servers without options=mr give, is read", async () => {
    const plain: HttpGet = (url, signal) => direct(new URL(url.href.replace("options=mr", "x=y")), signal);
    expect(await said(keyServer(hkp, plain))).toBe(ALICES);
  });
});

describe("R17: SKS by way of proxies", () => {
  let tinyproxy: RunningProxy;
  let squid: RunningProxy;
  beforeAll(async () => {
    tinyproxy = opened(await startTinyproxy({ user: "relay", password: "s3cret" }));
    squid = opened(await startSquid());
  });
  const by = (proxy: string) => opened(httpGet({ proxy: "env", env: { HTTP_PROXY: proxy } }));

  test("keys are found and absence is told, by tinyproxy with a password and by squid", async () => {
    for (const proxy of [`http://relay:s3cret@127.0.0.1:${tinyproxy.port}`, squid.url]) {
      const get = by(proxy);
      expect(await said(keyServer(hkp, get))).toBe(ALICES);
      expect(await said(keyServer(hkp, get), "nobody@nowhere.example")).toBe("absent");
      expect(await said(keyServer(hkp, get), "ann.o+jira@example.com")).toBe("Tagged <ann.o+jira@example.com>");
      expect((await keyServer(hkp, get).probe(never)).ok).toBe(true);
    }
  });

  test("a TLS front with a private authority is reached by CONNECT", async () => {
    const authority = await makeAuthority();
    const front = opened(
      await startWeb(
        (request, response) => {
          forward({ host: "127.0.0.1", port: sks.port, path: request.url }, (answer) => {
            response.writeHead(answer.statusCode ?? 500, { "content-type": answer.headers["content-type"] ?? "" });
            answer.pipe(response);
          }).end();
        },
        await authority.issue(["IP:127.0.0.1"]),
      ),
    );
    const get = opened(httpGet({ proxy: squid.url, ca: authority.ca }));
    expect(await said(keyServer(`hkps://127.0.0.1:${front.port}`, get))).toBe(ALICES);
    expect(await said(keyServer(`https://127.0.0.1:${front.port}/`, get), "nobody@nowhere.example")).toBe("absent");
    expect(await said(keyServer(`hkps://127.0.0.1:${front.port}`, opened(httpGet({ proxy: squid.url }))))).toMatch(
      /^the certificate of 127\.0\.0\.1 is not trusted/,
    );
  });

  test("a wrong password and a server that the proxy cannot reach fail, and are never taken for absence", async () => {
    expect(await said(keyServer(hkp, by(`http://127.0.0.1:${tinyproxy.port}`)))).toMatch(
      /another user name and password \(407\)/,
    );
    expect(await said(keyServer(hkp, by(`http://relay:wrong@127.0.0.1:${tinyproxy.port}`)))).toMatch(
      /or a proxy before it, answered 401; see pgp\.keyServer\.url$/,
    );
    const dead = await startRaw(() => undefined);
    await dead.close();
    const url = `hkp://127.0.0.1:${dead.port}`;
    expect(await said(keyServer(url, by(squid.url)))).toMatch(/or a proxy before it, answered 503; see/);
    expect(await said(keyServer(url, by(`http://relay:s3cret@127.0.0.1:${tinyproxy.port}`)))).toMatch(
      /answered 500; see/,
    );
    expect((await keyServer(url, by(squid.url)).probe(never)).ok).toBe(false);
  });
});

describe("the question", () => {
  const seen: URL[] = [];
  const recording: HttpGet = (url) => {
    seen.push(url);
    return Promise.resolve({ status: 404, contentType: "", body: Buffer.alloc(0) });
  };

  test.each([
    ["hkp://keys.example.com", "http://keys.example.com:11371/pks/lookup"],
    ["hkp://keys.example.com:80", "http://keys.example.com/pks/lookup"],
    ["hkps://keys.example.com", "https://keys.example.com/pks/lookup"],
    ["hkps://keys.example.com:8443/", "https://keys.example.com:8443/pks/lookup"],
    ["http://keys.example.com", "http://keys.example.com/pks/lookup"],
    ["http://keys.example.com:11371", "http://keys.example.com:11371/pks/lookup"],
    ["https://example.com/open/pgp/", "https://example.com/open/pgp/pks/lookup"],
    ["hkp://[::1]", "http://[::1]:11371/pks/lookup"],
    ["HKPS://Keys.Example.com", "https://keys.example.com/pks/lookup"],
  ])("R15: %s is asked at %s", async (url, expected) => {
    seen.length = 0;
    await said(keyServer(url, recording), "ann@example.com");
    expect(seen.map(({ href }) => href)).toEqual([`${expected}?op=get&options=mr&search=ann%40example.com`]);
  });

  test.each(["ldaps://keys.example.com", "keys.example.com", "", "ftp://keys.example.com", "hkp://"])(
    "R15: %j is no HKP server's URL",
    (url) => expect(() => keyServer(url)).toThrow(/^pgp\.keyServer\.url must begin with hkps:\/\//),
  );

  test("a domain beyond ASCII is asked for as people write it, then in A-labels", async () => {
    seen.length = 0;
    await said(keyServer("hkp://k.example", recording), "jörg@bücher.example");
    expect(seen.map((url) => url.searchParams.get("search"))).toEqual([
      "jörg@bücher.example",
      "jörg@xn--bcher-kva.example",
    ]);
  });

  test("every character of a local part arrives as it was", async () => {
    seen.length = 0;
    const local = "a#b$c&d'e*f+g/h=i?j^k_l`m{n|o}p~q-r.s";
    await said(keyServer("hkp://k.example", recording), `${local}@example.com`);
    expect(seen.map((url) => url.searchParams.get("search"))).toEqual([`${local}@example.com`]);
    expect(seen[0]?.search).toContain("f%2Bg");
  });

  test("LOOK-19: with onlyDomains other addresses are withheld, subdomains too, and nothing is sent", async () => {
    seen.length = 0;
    disclosures = 0;
    const source = keyServer("hkp://k.example", recording, ["example.com", "xn--bcher-kva.example"]);
    expect(source.withholds?.(mailbox("ann@example.com"))).toBeUndefined();
    expect(source.withholds?.(mailbox("ann@Bücher.example"))).toBeUndefined();
    for (const address of ["ann@example.org", "ann@sub.example.com", "ann@notexample.com"]) {
      expect(source.withholds?.(mailbox(address))).toBe(`${address.slice(4)} is not in pgp.keyServer.onlyDomains`);
      expect(await said(source, address)).toBe("absent");
    }
    expect([seen.length, disclosures]).toEqual([0, 0]);
  });

  // dirmngr 2.2 sends + as %20 and lets # and & through as they are
  test.each(["ann@example.com", "ann.o@example.com", "o'neil/x=y@example.com", "ann_o@sub.example.com"])(
    "for %s path, op, options and search are those of dirmngr",
    async (address) => {
      const server = await startWeb((_request, response) => response.writeHead(404).end());
      const home = mkdtempSync(join(tmpdir(), "gnupg-"));
      const gpg = ["--batch", "--homedir", home, "--keyserver", `hkp://127.0.0.1:${server.port}`];
      try {
        await run("gpg", [...gpg, "--auto-key-locate", "clear,keyserver", "--locate-external-keys", address]).catch(
          () => undefined,
        );
        const theirs = server.asked.slice();
        await said(keyServer(`hkp://127.0.0.1:${server.port}`), address);
        const parts = (target: string) => {
          const { pathname, searchParams } = new URL(target, server.url);
          return [pathname, ...["op", "options", "search"].map((name) => searchParams.get(name))];
        };
        expect(theirs.length).toBeGreaterThan(0);
        expect(server.asked.slice(theirs.length).map(parts)).toEqual([["/pks/lookup", "get", "mr", address]]);
        expect(theirs.map(parts)).toContainEqual(["/pks/lookup", "get", "mr", address]);
      } finally {
        await run("gpgconf", ["--homedir", home, "--kill", "all"]);
        rmSync(home, { recursive: true, force: true });
        await server.close();
      }
    },
  );
});
