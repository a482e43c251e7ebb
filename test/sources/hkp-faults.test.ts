// HKP against servers that are down, hang, answer pages or nothing: always a failure, never absence.
import { afterAll, describe, expect, test } from "vitest";
import { httpGet } from "../../src/http/http-get.ts";
import { hkpKeyServer } from "../../src/sources/hkp.ts";
import { fixtureBytes } from "../fixtures.ts";
import { FIXTURE_TIME } from "../keys-of.ts";
import { startRaw, startWeb } from "../key-server.ts";
import { said } from "./said.ts";

const never = new AbortController().signal;
const closing: (() => Promise<void>)[] = [];
const opened = <T extends { close(): Promise<void> }>(one: T): T => (closing.push(() => one.close()), one);
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
});
const get = opened(httpGet({ proxy: "none" }));
const keyServer = (url: string) =>
  hkpKeyServer({ url, get, onlyDomains: [], disclosed: () => undefined, now: () => FIXTURE_TIME });
const ALICES = "Alice Pgp <alice@example.com>, Olaf Old <alice@example.com>";

describe("a server that does not answer as one", () => {
  const answering = async (status: number, body: string | Buffer = "", type = "application/pgp-keys") =>
    `hkp://127.0.0.1:${opened(await startWeb((_q, r) => r.writeHead(status, { "content-type": type }).end(body))).port}`;

  test.each([200, 204, 206, 400, 401, 403, 405, 410, 413, 429, 500, 501, 502, 503, 504])(
    "status %d without a key fails, and is never absence",
    async (status) => {
      expect(await said(keyServer(await answering(status)))).toMatch(
        status === 200
          ? /answered with nothing instead of a key/
          : new RegExp(`answered ${status}; see pgp.keyServer.url`),
      );
    },
  );

  test.each([
    ["<html><body>Please log in, alice@example.com</body></html>", "text/html", "a web page"],
    ["<html><pre>No results found</pre></html>", "text/plain", "a web page"],
    ['{"error":"no key"}', "application/json", "something else"],
  ])("200 with %s fails", async (body, type, what) => {
    const url = await answering(200, body, type);
    expect(await said(keyServer(url))).toBe(
      `http${url.slice(3)} answered with ${what} instead of a key; see pgp.keyServer.url`,
    );
  });

  test("a page with the armor in it is read, whatever stands for its characters", async () => {
    const armor = fixtureBytes("pgp/alice-two-keys.asc").toString();
    const escaped = armor.replaceAll("=", "&#x3D;").replaceAll("+", "&#43;").replaceAll("/", "&#x2f;");
    for (const text of [armor, escaped])
      expect(
        await said(keyServer(await answering(200, `<html><body><pre>${text}</pre></body></html>`, "text/html"))),
      ).toBe(ALICES);
  });

  test("a page of a million angle brackets takes no time", async () => {
    const url = await answering(200, "<".repeat(1_000_000), "text/html");
    const since = performance.now();
    expect(await said(keyServer(url))).toMatch(/instead of a key/);
    expect(performance.now() - since).toBeLessThan(2_000);
  });

  test("a server that is down or hangs fails within six seconds, and the probe says so", async () => {
    const down = await startRaw(() => undefined);
    await down.close();
    const hanging = opened(await startRaw(() => undefined));
    const since = performance.now();
    expect(await said(keyServer(`hkp://127.0.0.1:${down.port}`))).toBe(`connection refused by 127.0.0.1:${down.port}`);
    expect(await said(keyServer(`hkp://127.0.0.1:${hanging.port}`))).toMatch(/^time-out after 5000 ms/);
    expect(performance.now() - since).toBeLessThan(6_000);
    expect(await keyServer(`hkp://127.0.0.1:${down.port}`).probe(never)).toEqual({
      ok: false,
      detail: `connection refused by 127.0.0.1:${down.port}; see pgp.keyServer.url`,
    });
  });

  test("the probe: a server that says 404 to everything, or 200 to everything, is no key server", async () => {
    expect(await keyServer(await answering(404)).probe(never)).toEqual({
      ok: false,
      detail: expect.stringMatching(
        /answered 404 to everything, as a web server .*; see pgp\.keyServer\.url$/,
      ) as string,
    });
    for (const status of [200, 403, 500, 501]) {
      expect(await keyServer(await answering(status)).probe(never)).toEqual({
        ok: false,
        detail: expect.stringMatching(
          new RegExp(`answered ${status} for an address that cannot exist, .*; see pgp.keyServer.url$`),
        ) as string,
      });
    }
  });
});
