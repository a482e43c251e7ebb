// sealpost healthcheck against servers that are well, not ready, silent and gone.
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { sealpost } from "./child.ts";
import { SMALLEST, written } from "../config/reading.ts";

async function listening(answer: RequestListener): Promise<number> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function healthcheck(port: number, ...more: string[]) {
  const path = written({ "sealpost.yaml": `${SMALLEST}web: { listen: 127.0.0.1:${port} }\n` });
  return sealpost(["healthcheck", "--config", join(path, "sealpost.yaml"), ...more]);
}

test("a relay that lives and is ready is healthy", async () => {
  const port = await listening((_, response) => response.end("{}"));
  expect(await healthcheck(port)).toEqual({ code: 0, stdout: "/livez ok\n/readyz ok\n", stderr: "" });
});

test("a relay that is not ready is not healthy, and says why", async () => {
  const port = await listening(({ url }, response) =>
    response.writeHead(url === "/livez" ? 200 : 503).end('{"store":"read-only"}\u001b[31m'),
  );
  expect(await healthcheck(port)).toEqual({
    code: 1,
    stdout: '/livez ok\n/readyz failed: 503 {"store":"read-only"}?[31m\n',
    stderr: "",
  });
  expect(JSON.parse((await healthcheck(port, "--json")).stdout)).toMatchObject([
    { endpoint: "/livez", ok: true },
    { endpoint: "/readyz", ok: false },
  ]);
});

test("a relay that is gone or does not answer in time is not healthy", async () => {
  const port = await listening(({ url }, response) => {
    if (url === "/livez") response.socket?.destroy();
  });
  const ended = await healthcheck(port);
  expect(ended).toMatchObject({ code: 1, stderr: "" });
  expect(ended.stdout).toMatch(
    /^\/livez failed: no answer from http:\/\/127\.0\.0\.1:\d+\/livez: .+\n\/readyz failed: .*timeout\n$/,
  );
});
