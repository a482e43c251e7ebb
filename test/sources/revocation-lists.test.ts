// Revocation lists come from files and servers, are read again in time, and the last good one stays in use.
import { execFileSync } from "node:child_process";
import { copyFileSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { httpGet } from "../../src/http/http-get.ts";
import type { Certificate } from "../../src/smime/certificate.ts";
import { createTrust } from "../../src/smime/trust.ts";
import { revocationLists } from "../../src/sources/revocation-lists.ts";
import { ca, leaf, said, sub, TestPki } from "../smime/test-pki.ts";

const never = new AbortController().signal;
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const get = httpGet({ proxy: "none", maxBytes: 20 * 1024 * 1024 });

let pki: TestPki;
let server: Server;
let url = "";
/** What the server answers, and how often it was asked. */
let answer: { status: number; body: Buffer; delayed?: Promise<undefined> };
let asked = 0;
let told: string[] = [];
let now = 0;

beforeAll(async () => {
  pki = new TestPki();
  await pki.issueAll({
    root: ca("root"),
    issuing: sub("issuing", "root"),
    twin: { ...sub("issuing", "root"), key: "twin" },
    ann: { ...leaf("issuing"), serial: 77 },
  });
  await pki.revoke("old", { by: "issuing", from: -2, to: 10 });
  await pki.revoke("new", { by: "issuing", from: -1, to: 20, revoked: [77] });
  await pki.revoke("root", { by: "root" });
  await pki.revoke("forged", { by: "twin", from: 0, to: 900 });
  server = createServer((_request, response) => {
    asked += 1;
    void Promise.resolve(answer.delayed).then(() => response.writeHead(answer.status).end(answer.body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/issuing.crl`;
});
afterAll(async () => {
  await get.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  pki.close();
});
beforeEach(() => {
  told = [];
  asked = 0;
  now = pki.time(1);
  answer = { status: 200, body: list("old") };
});

const list = (name: string) => readFileSync(pki.at(`${name}.crl`));
const file = () => pki.at("place.crl");
const put = (name: string) => {
  copyFileSync(pki.at(`${name}.crl`), pki.at("next"));
  renameSync(pki.at("next"), file());
};
const open = (places: string[], issuers: Certificate[] = []) =>
  revocationLists({
    places,
    get,
    now: () => now,
    issuers,
    observe: {
      loaded: (place, issuer, entries, nextUpdate) =>
        void told.push(
          `${place === url ? "URL" : "file"} ${issuer} ${entries} ${Math.round((nextUpdate - pki.time(0)) / DAY_MS)}`,
        ),
      failed: (_place, cause) => void told.push(cause.message.replace(url, "URL").replaceAll(pki.folder, "")),
    },
  });
const OLD = "CN=issuing,O=Test 0 10";
const NEW = "CN=issuing,O=Test 1 20";

test("HARV-23: a list from a file and one from a server revoke what they say", async () => {
  put("root");
  answer.body = list("new");
  const lists = open([file(), url]);
  const trust = createTrust({
    anchors: [pki.certificate("root")],
    intermediates: [],
    lists: lists.current,
    onMissingList: "wait",
  });
  const judge = () => said(trust.judge(pki.certificate("ann"), [pki.certificate("issuing")], now));
  expect(judge()).toMatch(/^revocation-unknown/);
  await lists.ready(never);
  expect(told.sort()).toEqual([`URL ${NEW}`, "file CN=root,O=Test 0 3000"]);
  expect(judge()).toMatch(/^revoked: CN=Ann \(serial 4d\)/);
  expect(lists.probe(now)).toEqual({
    ok: true,
    detail: expect.stringMatching(/issuing\.crl: CN=issuing,O=Test, 1 entries, until 20/) as string,
  });
});

test("without a place there is nothing to wait for", async () => {
  const lists = open([]);
  await lists.ready(never);
  expect([lists.current(), lists.probe(now).ok]).toEqual([[], true]);
});

describe("a file", () => {
  test("is read again when it changed, and only then; the same array says that nothing did", async () => {
    put("old");
    const lists = open([file()]);
    await lists.ready(never);
    const before = lists.current();
    await lists.refresh(never);
    expect(lists.current()).toBe(before);
    put("new");
    await lists.refresh(never);
    expect(told).toEqual([`file ${OLD}`, `file ${NEW}`]);
    expect(lists.current().map((one) => one.revoked.size)).toEqual([1]);
  });

  test("that is cut short or gone leaves the last good list in use, and is told once", async () => {
    put("old");
    const lists = open([file()]);
    await lists.ready(never);
    const before = lists.current();
    truncateSync(file(), 300);
    await lists.refresh(never);
    await lists.refresh(never);
    rmSync(file());
    await lists.refresh(never);
    await lists.refresh(never);
    expect(told).toEqual([
      `file ${OLD}`,
      "/place.crl cannot be used: this file is damaged or cut short; see smime.trust.crls",
      expect.stringMatching(/^\/place\.crl cannot be used: ENOENT/),
    ]);
    expect(lists.current()).toBe(before);
    expect(lists.probe(now)).toMatchObject({ ok: false, detail: expect.stringContaining("ENOENT") as string });
    put("old");
    await lists.refresh(never);
    expect(lists.probe(now).ok).toBe(true);
  });

  test("LOOK-23: that is a FIFO, a folder or larger than 20 MiB is refused at once", async () => {
    const [fifo, large] = [pki.at("fifo"), pki.at("large")];
    execFileSync("mkfifo", [fifo]);
    writeFileSync(large, "");
    truncateSync(large, 20 * 1024 * 1024 + 1);
    const lists = open([fifo, pki.folder, large]);
    await lists.ready(never);
    expect(told).toHaveLength(3);
    expect(told).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/fifo.*not a regular file/),
        expect.stringMatching(/larger than 20971520/),
      ]),
    );
    expect(lists.current()).toEqual([]);
  });
});

describe("a URL", () => {
  const at = async (lists: ReturnType<typeof open>, time: number) => {
    now = time;
    await lists.refresh(never);
    return asked;
  };

  test("is asked again after an hour, or ten minutes before its list ends, then every minute", async () => {
    const lists = open([url]);
    await lists.ready(never);
    expect(await at(lists, pki.time(1) + 59 * MINUTE_MS)).toBe(1);
    expect(await at(lists, pki.time(1) + 60 * MINUTE_MS)).toBe(2);
    const end = lists.current()[0]!.nextUpdate;
    expect(await at(lists, end - 30 * MINUTE_MS)).toBe(3);
    expect(await at(lists, end - 11 * MINUTE_MS)).toBe(3);
    expect(await at(lists, end - 10 * MINUTE_MS)).toBe(4);
    expect(await at(lists, end - 9.5 * MINUTE_MS)).toBe(4);
    expect(await at(lists, end - 9 * MINUTE_MS)).toBe(5);
    expect(told).toEqual([`URL ${OLD}`]);
    expect(lists.probe(end)).toMatchObject({ ok: false, detail: expect.stringContaining("not current") as string });
  });

  test("that fails leaves the last good list in use, is told once and asked again after a minute", async () => {
    const lists = open([url]);
    await lists.ready(never);
    answer = { status: 503, body: Buffer.from("later") };
    const hour = pki.time(1) + 60 * MINUTE_MS;
    expect(await at(lists, hour)).toBe(2);
    expect(await at(lists, hour + MINUTE_MS / 2)).toBe(2);
    expect(await at(lists, hour + MINUTE_MS)).toBe(3);
    answer = { status: 200, body: Buffer.from("<html>log in first</html>") };
    await at(lists, hour + 2 * MINUTE_MS);
    expect(lists.current()).toHaveLength(1);
    answer = { status: 200, body: list("new") };
    await at(lists, hour + 3 * MINUTE_MS);
    expect(told).toEqual([
      `URL ${OLD}`,
      "URL cannot be used: the server answers with status 503; see smime.trust.crls",
      "URL cannot be used: this is no revocation list, neither DER nor PEM; see smime.trust.crls",
      `URL ${NEW}`,
    ]);
  });

  test("that lies in the name of a known CA, or gives its older list, does not displace the good one", async () => {
    const lists = open([url], [pki.certificate("root"), pki.certificate("issuing")]);
    answer.body = list("new");
    await lists.ready(never);
    answer.body = list("forged");
    await at(lists, now + 60 * MINUTE_MS);
    answer.body = list("old");
    await at(lists, now + MINUTE_MS);
    expect(told).toEqual([
      `URL ${NEW}`,
      "URL cannot be used: its list is not signed by CN=issuing,O=Test; see smime.trust.crls",
      "URL cannot be used: its list of CN=issuing,O=Test is older than the one in use; see smime.trust.crls",
    ]);
    expect(lists.current().map((one) => one.revoked.size)).toEqual([1]);
  });

  test("LOOK-20: is asked once for all who wait; one who stops waiting does not stop the others", async () => {
    const delayed = Promise.withResolvers<undefined>();
    answer.delayed = delayed.promise;
    const lists = open([url]);
    const stop = new AbortController();
    const impatient = lists.ready(stop.signal);
    const patient = [lists.ready(never), lists.ready(never), lists.refresh(never)];
    stop.abort(new Error("no time"));
    await expect(impatient).rejects.toThrow("no time");
    delayed.resolve(undefined);
    await Promise.all(patient);
    expect(asked).toBe(1);
    expect(told).toEqual([`URL ${OLD}`]);
  });

  test("whose attempt is stopped from outside has not failed and is not tried yet", async () => {
    const delayed = Promise.withResolvers<undefined>();
    answer.delayed = delayed.promise;
    const lists = open([url]);
    const stop = new AbortController();
    const refresh = lists.refresh(stop.signal);
    stop.abort();
    await refresh;
    delayed.resolve(undefined);
    expect(told).toEqual([]);
    await lists.ready(never);
    expect(told).toEqual([`URL ${OLD}`]);
  });
});
