// GET against servers that are down, hang, lie, cut and flood: the right sentence, in time, with bounded memory.
import { gzipSync } from "node:zlib";
import type { Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { httpGet } from "../../src/http/http-get.ts";
import { makeAuthority, type TestAuthority } from "../authority.ts";
import { startRaw, startWeb, type WebServer } from "../key-server.ts";
import { refusal, SECRET } from "./refusal.ts";

const never = new AbortController().signal;
const closing: (() => Promise<void>)[] = [];
const opened = <T extends { close(): Promise<void> }>(one: T): T => (closing.push(() => one.close()), one);
let authority: TestAuthority;
beforeAll(async () => {
  authority = await makeAuthority();
});
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
});

const get = opened(httpGet({ proxy: "none" }));
const hasty = opened(httpGet({ proxy: "none", deadlineMs: 300 }));
const at = (server: { url: string }, path = "/") => new URL(`${server.url}${path}?search=${SECRET}`);

function flood(socket: Socket, head: string, piece: string): void {
  socket.once("data", () => {
    socket.write(head);
    const more = () => {
      while (!socket.destroyed && socket.write(piece));
    };
    socket.on("drain", more);
    more();
  });
}

describe("an answer", () => {
  test("has status, content type without parameters and the whole body; the request asks for no encoding", async () => {
    const server = opened(
      await startWeb((request, response) => {
        response.writeHead(404, { "content-type": "Application/PGP-Keys; charset=UTF-8" });
        response.end(JSON.stringify(request.headers));
      }),
    );
    const { status, contentType, body } = await get(at(server), never, { "x-own": "1", "accept-encoding": "gzip" });
    expect([status, contentType]).toEqual([404, "application/pgp-keys"]);
    expect(JSON.parse(body.toString())).toMatchObject({ "accept-encoding": "identity", "x-own": "1" });
    expect(server.asked).toEqual([`/?search=${SECRET}`]);
  });

  test("of HTTP/1.0 without a length ends with the connection", async () => {
    const server = opened(
      await startRaw((socket) => socket.once("data", () => socket.end("HTTP/1.0 200 OK\r\n\r\nabc"))),
    );
    expect(await get(at(server), never)).toEqual({ status: 200, contentType: "", body: Buffer.from("abc") });
  });

  test("leaves its connection for the next request, and close() ends all connections", async () => {
    const server = await startWeb((_request, response) => response.end("ok"));
    const own = httpGet({ proxy: "none" });
    for (let i = 0; i < 20; i++) await own(at(server), never);
    // the second is opened when a request comes just as the one before it ends
    expect(server.connections.accepted).toBeLessThanOrEqual(2);
    expect(server.connections.open).toBe(server.connections.accepted);
    await own.close();
    await server.idle();
    expect(await refusal(own(at(server), never))).toMatch(/the relay is stopping$/);
    expect(server.connections.open).toBe(0);
    expect(server.asked).toHaveLength(20);
    await server.close();
  });
});

describe("LOOK-10: redirects", () => {
  let server: WebServer;
  beforeAll(async () => {
    server = opened(
      await startWeb((request, response) => {
        const [, status = "200", to = ""] = /^\/(\d+)\/(.*)/.exec(decodeURIComponent(request.url ?? "")) ?? [];
        if (status === "200") response.end(request.url);
        else if (to.startsWith("nowhere")) response.writeHead(Number(status)).end();
        else response.writeHead(Number(status), { location: to.replace("SELF", server.url) }).end("moved");
      }),
    );
  });

  test.each([301, 302, 303, 307, 308])("a %d to the same server is followed, twice and no more", async (status) => {
    expect((await get(at(server, `/${status}//${status}/SELF/200/x`), never)).status).toBe(200);
    expect(await refusal(get(at(server, `/${status}//${status}//${status}//200/x`), never))).toMatch(
      /redirects more than 2 times$/,
    );
  });

  test.each([
    [
      "http://127.0.0.1:8080/?a=ann@example.com",
      /redirects to http:\/\/127\.0\.0\.1:8080; redirects to another server/,
    ],
    ["http://localhost:8080/", /redirects to http:\/\/localhost:8080; redirects to another server/],
    ["//127.0.0.2/", /redirects to http:\/\/127\.0\.0\.2; redirects to another/],
    ["https://127.0.0.1/", /redirects to https:\/\/127\.0\.0\.1; redirects to another/],
    ["file:///etc/passwd", /redirects to a file: URL; redirects to another/],
    ["nowhere", /redirects without saying where to$/],
  ])("one to %s is not followed", async (to, sentence) => {
    expect(await refusal(get(at(server, `/302/${encodeURIComponent(to)}`), never))).toMatch(sentence);
  });

  test("one from https to http of the same host is not followed", async () => {
    const secure = opened(
      await startWeb(
        (_request, response) => response.writeHead(302, { location: server.url }).end(),
        await authority.issue(["IP:127.0.0.1"]),
      ),
    );
    const before = server.asked.length;
    const own = opened(httpGet({ proxy: "none", ca: authority.ca }));
    expect(await refusal(own(at(secure), never))).toContain(`redirects to ${server.url}; redirects to another server`);
    expect(server.asked.length).toBe(before);
  });
});

describe("LOOK-11: an answer that does not end well", () => {
  test.each([
    [
      "HTTP/1.1 200 OK\r\ncontent-length: 314572800\r\n\r\n",
      "a".repeat(65_536),
      /sent an answer larger than 1048576 bytes$/,
    ],
    ["HTTP/1.0 200 OK\r\n\r\n", "a".repeat(65_536), /sent an answer larger than 1048576 bytes$/],
    [
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
      `10000\r\n${"a".repeat(65_536)}\r\n`,
      /sent an answer larger than 1048576 bytes$/,
    ],
    ["HTTP/1.1 404 No\r\n\r\n", "a".repeat(65_536), /sent an answer larger than 1048576 bytes$/],
    ["HTTP/1.1 200 OK\r\nx: ", "a".repeat(65_536), /sent a header larger than is read$/],
    ["HTTP/1.1 200 OK\r\n", "a: b\r\n", /sent a header larger than is read$/],
    ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "a: b\r\n", /sent a header larger than is read$/],
  ])("that is endless after %j is given up after little of it", async (head, piece, sentence) => {
    let sent = () => 0;
    const server = opened(
      await startRaw((socket) => {
        sent = () => socket.bytesWritten;
        flood(socket, head, piece);
      }),
    );
    expect(await refusal(get(at(server), never))).toMatch(sentence);
    await server.idle();
    // what the system had taken in already counts as sent
    expect(sent()).toBeLessThan(16 * 1024 * 1024);
  });

  test("a body of exactly the bound is taken, one octet more is not", async () => {
    const server = opened(
      await startWeb((request, response) => response.end(Buffer.alloc(request.url!.startsWith("/more") ? 101 : 100))),
    );
    const own = opened(httpGet({ proxy: "none", maxBytes: 100 }));
    expect((await own(at(server), never)).body).toHaveLength(100);
    expect(await refusal(own(at(server, "/more"), never))).toMatch(/larger than 100 bytes$/);
  });

  test.each(["gzip", "br", "x-gzip, identity", "deflate"])(
    "a body in content-encoding %s is refused unread",
    async (encoding) => {
      const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024));
      const server = opened(
        await startWeb((_request, response) => response.writeHead(200, { "content-encoding": encoding }).end(bomb)),
      );
      expect(await refusal(get(at(server), never))).toMatch(/answered in a content-encoding, which was not asked for$/);
    },
  );

  test.each([
    ["says nothing", () => undefined],
    ["stops after the header", (socket: Socket) => void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")],
    ["stops in the header", (socket: Socket) => void socket.write("HTTP/1.1 200 OK\r\nx")],
    [
      "sends its body octet by octet",
      (socket: Socket) => {
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n");
        const drip = setInterval(() => socket.write("a"), 20);
        socket.on("close", () => clearInterval(drip));
      },
    ],
    [
      "sends early hints for ever",
      (socket: Socket) => {
        const drip = setInterval(() => socket.write("HTTP/1.1 103 Early Hints\r\n\r\n"), 20);
        socket.on("close", () => clearInterval(drip));
      },
    ],
  ])("a server that %s is given up when the time is over", async (_what, speak) => {
    const server = opened(await startRaw(speak));
    expect(await refusal(hasty(at(server), never))).toBe(
      `time-out after 300 ms: no whole answer from 127.0.0.1:${server.port}`,
    );
    await server.idle();
  });

  test("the time is five seconds when nothing else is said", async () => {
    const server = opened(await startRaw(() => undefined));
    const since = performance.now();
    expect(await refusal(get(at(server), never))).toMatch(/^time-out after 5000 ms/);
    expect(performance.now() - since).toBeLessThan(6_000);
  });

  test("the caller's signal ends it earlier", async () => {
    const caller = new AbortController();
    const server = opened(await startRaw(() => caller.abort()));
    expect(await refusal(get(at(server), caller.signal))).toBe(
      `127.0.0.1:${server.port} did not answer before it was given up`,
    );
    await server.idle();
  });

  test.each([
    ["closes at once", (socket: Socket) => void socket.end()],
    ["resets the connection", (socket: Socket) => void socket.once("data", () => socket.resetAndDestroy())],
    ["cuts the header", (socket: Socket) => void socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nx"))],
    [
      "cuts the body",
      (socket: Socket) => void socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")),
    ],
    [
      "cuts a chunk",
      (socket: Socket) =>
        void socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab")),
    ],
  ])("a server that %s is named", async (_what, speak) => {
    const server = opened(await startRaw(speak));
    expect(await refusal(get(at(server), never))).toBe(`connection cut by 127.0.0.1:${server.port}`);
  });

  test.each(["SSH-2.0-OpenSSH_9.2\r\n", "220 smtp.example.com ESMTP\r\n", "HTTP/2.7 200\r\n\r\n", "\x00\x01\x02\x03"])(
    "a server that says %j is not one of HTTP",
    async (junk) => {
      const server = opened(await startRaw((socket) => void socket.write(junk, "latin1")));
      expect(await refusal(get(at(server), never))).toBe(
        `127.0.0.1:${server.port} answered with something that is not HTTP`,
      );
    },
  );

  test("a 407 of a server that is no proxy is an error", async () => {
    const server = opened(await startWeb((_request, response) => response.writeHead(407).end()));
    expect(await refusal(get(at(server), never))).toMatch(/answered 407, as only a proxy may$/);
  });
});
