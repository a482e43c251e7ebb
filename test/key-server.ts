// Real servers for look-ups over HTTP: SKS, tinyproxy and squid on free ports of 127.0.0.1, and web servers made to order.
import { execFile } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer as createHttpServer, type RequestListener, type Server } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { ServerCertificate } from "./authority.ts";
import { fixture } from "./fixtures.ts";
import { freePortPair } from "./free-port.ts";

const run = promisify(execFile);

export type Running = { readonly port: number; close(): Promise<void> };
export type RunningProxy = Running & { readonly url: string; /** Its log of requests. */ log(): Promise<string> };

/** SKS over the fixtures' keys or over a file of binary keys. */
export function startSks(keyFile = fixture("pgp/all.gpg")): Promise<Running> {
  return started("sks", (port, folder) => [String(port), folder, keyFile]);
}

/** Lets CONNECT through to ports 443 and 31443 only. */
export async function startTinyproxy(login?: { user: string; password: string }): Promise<RunningProxy> {
  const wanted = login === undefined ? [] : [login.user, login.password];
  return asProxy(await started("tinyproxy", (port, folder) => [String(port), folder, ...wanted]), "tinyproxy.log");
}

export async function startSquid(): Promise<RunningProxy> {
  return asProxy(await started("squid", (port, folder) => [String(port), folder]), "access.log");
}

function asProxy(running: Running & { folder: string }, logFile: string): RunningProxy {
  const log = () => readFile(join(running.folder, logFile), "utf8");
  return { ...running, url: `http://127.0.0.1:${running.port}`, log };
}

async function started(name: string, args: (port: number, folder: string) => string[]) {
  const folder = await mkdtemp(join(tmpdir(), `sealpost-${name}-`));
  // squid gives up root and still has to write here
  await chmod(folder, 0o755);
  const port = (await freePortPair()) + 1;
  const at = join(folder, name);
  await run("bash", [fixture(`servers/${name}-up.sh`), ...args(port, at)]);
  const close = async () => {
    const pid = Number(await readFile(join(at, `${name}.pid`), "utf8"));
    // squid's pinger outlives it
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
    // nothing of it is needed any more, and squid would take five seconds to end in good order
    for (const one of [pid, ...children.trim().split(/\s+/).filter(Boolean).map(Number)]) process.kill(one, "SIGKILL");
    await rm(folder, { recursive: true, force: true, maxRetries: 10 });
  };
  return { port, folder: at, close };
}

export type WebServer = Running & {
  readonly url: string;
  /** Request targets in order of arrival. */
  readonly asked: readonly string[];
  /** Connections ever accepted and open now. */
  readonly connections: { readonly accepted: number; readonly open: number };
  /** Resolves when no connection is open. */
  idle(): Promise<void>;
};

/** A web server of one listener, with TLS when there is a certificate. */
export async function startWeb(
  listener: RequestListener,
  certificate?: ServerCertificate,
  port = 0,
): Promise<WebServer> {
  const asked: string[] = [];
  const onRequest: RequestListener = (request, response) => {
    asked.push(request.url ?? "");
    listener(request, response);
  };
  const server = certificate ? createHttpsServer({ ...certificate }, onRequest) : createHttpServer(onRequest);
  return { ...(await listening(server, port)), asked };
}

/** A server that speaks whatever `speak` writes to each connection. */
export async function startRaw(speak: (socket: Socket) => void): Promise<WebServer> {
  const server = createTcpServer((socket) => {
    // what is not read hides the end of a connection
    socket.on("error", () => undefined).resume();
    speak(socket);
  });
  return { ...(await listening(server, 0)), asked: [] };
}

async function listening(server: Server | ReturnType<typeof createTcpServer>, port: number) {
  const sockets = new Set<Socket>();
  const connections = { accepted: 0, open: 0 };
  const waiting = new Set<() => void>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    connections.accepted++;
    connections.open++;
    socket.on("close", () => {
      sockets.delete(socket);
      connections.open--;
      if (connections.open === 0) waiting.forEach((resolve) => resolve());
    });
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const bound = (server.address() as AddressInfo).port;
  const scheme = "setSecureContext" in server ? "https" : "http";
  return {
    port: bound,
    url: `${scheme}://127.0.0.1:${bound}`,
    connections,
    idle: () => new Promise<void>((resolve) => (connections.open === 0 ? resolve() : void waiting.add(resolve))),
    async close() {
      server.close();
      sockets.forEach((socket) => socket.destroy());
      if (server.listening) await once(server, "close");
    },
  };
}
