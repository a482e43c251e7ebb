// Verify's parts: each one ends.
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { verify } from "../../src/admin/verify.ts";
import { systemClock } from "../../src/clock.ts";
import type { Settings } from "../../src/config/schema.ts";
import { verifiableParts } from "../../src/wiring/verify.ts";
import type { OpenKeys } from "../../src/wiring/keys.ts";
import { fixtureBytes } from "../fixtures.ts";
import { configurationOf, SMALLEST } from "../config/reading.ts";
import { manualClock } from "../manual-clock.ts";
import { makeAuthority, startUpstream } from "../upstream.ts";

const none = { kind: "smime", sources: [] };
const keys = { chains: { smime: none, pgp: none }, trust: { lists: undefined } } as unknown as OpenKeys;

const forwardTo = (port: number, tls: string) =>
  configurationOf(
    [
      "upstream: { host: 127.0.0.1, port: 9, tls: off }",
      "inbound: { recipients: [jira@example.com], authservId: mx.example.com,",
      `  forward: { host: 127.0.0.1, port: ${port}, tls: ${tls} } }`,
    ].join("\n"),
  ).settings;

async function verifiedNextHop(settings: Settings) {
  const parts = verifiableParts(settings, keys, systemClock).filter(({ part }) => part === "inbound.forward");
  return verify(parts, systemClock);
}

test("the next hop of incoming mail is really used, and a refusal names inbound.forward", async () => {
  const nextHop = await startUpstream();
  const { port } = nextHop;
  expect(await verifiedNextHop(forwardTo(port, "off"))).toMatchObject([
    { part: "inbound.forward", ok: true, detail: `next hop 127.0.0.1:${port} answers, in clear, no login` },
  ]);
  const [withoutTls] = await verifiedNextHop(forwardTo(port, "required"));
  expect(withoutTls).toMatchObject({ ok: false });
  expect(withoutTls?.detail).toContain("inbound.forward.tls is required");
  await nextHop.close();
  const [closed] = await verifiedNextHop(forwardTo(port, "off"));
  expect(closed).toMatchObject({ part: "inbound.forward", ok: false });
  expect(closed?.detail).toMatch(/^next hop .* cannot be reached.*inbound\.forward\.host/);
});

test("every PEM file of incoming mail has its line", async () => {
  const authority = await makeAuthority();
  const { cert, key } = await authority.issue(["DNS:relay.example.com"]);
  const { settings } = configurationOf(
    [
      "upstream: { host: 127.0.0.1 }",
      "inbound: { recipients: [jira@example.com], authservId: mx.example.com,",
      "  tls: { mode: starttls, cert: relay.pem, key: relay.key },",
      "  forward: { host: 127.0.0.1, ca: ca.pem } }",
    ].join("\n"),
    {},
    { "relay.pem": cert, "relay.key": key, "ca.pem": authority.ca },
  );
  const files = verifiableParts(settings, keys, systemClock).filter(({ part }) =>
    /^inbound\..*(?:cert|ca)$/.test(part),
  );
  expect((await verify(files, systemClock)).map(({ part, ok }) => [part, ok])).toEqual([
    ["inbound.tls.cert", true],
    ["inbound.forward.ca", true],
  ]);
});

test("an anchor is judged by what reads it for mail: a chain in one block is as good as single certificates", async () => {
  const chain = fixtureBytes("smime/bundles/all.p7b").toString("base64");
  const yaml = `${SMALLEST}smime: { trust: { anchors: [chain.pem, broken.pem] } }`;
  const block = (text: string) => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
  const { settings } = configurationOf(yaml, {}, { "chain.pem": block(chain), "broken.pem": block("AAAA") });
  const files = verifiableParts(settings, keys, systemClock).filter(({ part }) => part.startsWith("smime.trust"));
  const [good, bad] = await verify(files, systemClock);
  expect(good).toMatchObject({ part: "smime.trust.anchors[0]", ok: false });
  // some of these people's certificates are expired on purpose
  expect(good?.detail).toMatch(/chain\.pem: \d+ of \d\d certificates cannot be used now; .* is valid from/);
  expect(bad?.detail).toMatch(/broken\.pem cannot be used: .*; see smime\.trust\.anchors\[1\]/);
});

test("an upstream that is silent ends verify after 25 s, names the setting, and is left", async () => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket.on("error", () => undefined)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const { settings } = configurationOf(`upstream: { host: 127.0.0.1, port: ${port}, tls: off }`);
  const clock = manualClock();
  const upstream = verifiableParts(settings, keys, clock).filter(({ part }) => part === "upstream");
  const connected = once(server, "connection");
  const verified = verify(upstream, clock);
  await connected;
  await clock.whenSleeping(25_000);
  clock.advance(25_000);
  const [line] = await verified;
  expect(line).toMatchObject({ part: "upstream", ok: false });
  expect(line?.detail).toBe(
    `upstream 127.0.0.1:${port} does not answer within 25 s; see upstream.host, upstream.port and upstream.tls`,
  );
  // nothing is left that would keep the process from ending
  const [socket] = sockets;
  if (socket?.closed !== true) await once(socket!.resume(), "close");
  expect(sockets).toHaveLength(1);
});
