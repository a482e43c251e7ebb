// The wiring of the sources that ask by network: by which way each one asks is what the configuration says.
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { folder } from "../config/reading.ts";
import { READER, startSlapd, type Slapd } from "../slapd.ts";
import { pgpSource } from "./source-of.ts";

let slapd: Slapd;
beforeAll(async () => {
  slapd = await startSlapd("openldap");
});
afterAll(() => slapd.stop());

/** A proxy that says 404 for every server behind it, and what it was asked for. */
async function recordingProxy() {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? "");
    response.writeHead(404).end();
  });
  server.on("connect", (request, socket) => {
    asked.push(`CONNECT ${request.url ?? ""}`);
    socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

test("a key server is asked by way of the proxy that its setting names", async () => {
  const proxy = await recordingProxy();
  const hkp = pgpSource(`{ keyServer: { url: "hkp://keys.example.com", proxy: "${proxy.url}" } }`, "keyServer");
  expect(await hkp.said("alice@example.com")).toBe("absent");
  const hkps = pgpSource(`{ keyServer: { url: "hkps://keys.example.com", proxy: "${proxy.url}" } }`, "keyServer");
  expect(await hkps.said("alice@example.com")).toMatch(/proxy/);
  expect(proxy.asked).toEqual([
    expect.stringMatching(/^http:\/\/keys\.example\.com:11371\/pks\/lookup\?.*alice/),
    "CONNECT keys.example.com:443",
  ]);
});

test("a key server is asked by way of the environment's proxy, but for hosts that NO_PROXY names", async () => {
  const proxy = await recordingProxy();
  for (const name of ["http_proxy", "https_proxy", "HTTPS_PROXY"]) vi.stubEnv(name, undefined);
  vi.stubEnv("HTTP_PROXY", proxy.url);
  vi.stubEnv("no_proxy", "127.0.0.1");
  onTestFinished(() => void vi.unstubAllEnvs());
  const away = pgpSource('{ keyServer: { url: "hkp://keys.example.com", proxy: env } }', "keyServer");
  expect(await away.said("alice@example.com")).toBe("absent");
  const near = pgpSource('{ keyServer: { url: "hkp://127.0.0.1:9", proxy: env } }', "keyServer");
  expect(await near.said("alice@example.com")).toMatch(/^connection refused by 127\.0\.0\.1:9/);
  expect(proxy.asked).toHaveLength(1);
});

test("a key server by LDAP is asked over TLS for ldaps:// and startTls, logged in, and in clear only for ldap://", async () => {
  const path = folder();
  writeFileSync(join(path, "ca.pem"), slapd.ca);
  writeFileSync(join(path, "password"), "readerpw\n", { mode: 0o600 });
  const login = `ca: ${path}/ca.pem, user: "${READER.user}", passwordFile: ${path}/password`;
  const detail = async (options: string) =>
    (await pgpSource(`{ keyServer: { ${options} } }`, "keyServer").probe()).detail;
  const overTls = `bound as ${READER.user}, TLS verified`;
  expect(await detail(`url: "ldaps://127.0.0.1:${slapd.tlsPort}", ${login}`)).toContain(overTls);
  expect(await detail(`url: "ldap://127.0.0.1:${slapd.port}", startTls: true, ${login}`)).toContain(overTls);
  expect(await detail(`url: "ldap://127.0.0.1:${slapd.port}"`)).toContain("anonymous, in clear");
  const log = await slapd.logged((text) => /TLS established/.test(text) && / STARTTLS/.test(text));
  // nobody's password went over a connection without TLS
  const binds = log.split("\n").flatMap((line) => /conn=(\d+) .*BIND dn="cn=reader/.exec(line)?.[1] ?? []);
  expect(binds.length).toBeGreaterThan(1);
  for (const connection of binds) expect(log).toMatch(new RegExp(`conn=${connection} .*TLS established`));
});
