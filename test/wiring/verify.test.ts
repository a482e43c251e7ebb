// Verify's parts: each one ends.
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { verify } from "../../src/admin/verify.ts";
import { verifiableParts } from "../../src/wiring/verify.ts";
import type { OpenKeys } from "../../src/wiring/keys.ts";
import { configurationOf } from "../config/reading.ts";
import { manualClock } from "../manual-clock.ts";

test("an upstream that is silent ends verify after 25 s, names the setting, and is left", async () => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket.on("error", () => undefined)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const { settings } = configurationOf(`upstream: { host: 127.0.0.1, port: ${port}, tls: off }`);
  const none = { kind: "smime", sources: [] };
  const keys = { chains: { smime: none, pgp: none }, trust: { anchors: [], lists: undefined } } as unknown as OpenKeys;
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
