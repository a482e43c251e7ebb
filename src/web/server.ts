// HTTP: liveness, readiness and the page on which the owner of a key confirms it, and in a server of its own the metrics.
import Fastify, { type FastifyInstance } from "fastify";
import type { Registry } from "prom-client";
import { addConfirmation, type Confirmed } from "./confirm.ts";

/** What /readyz looks at. `isReady` decides between 200 and 503, the rest is told beside it. */
export type Readiness = {
  readonly isReady: boolean;
  readonly store: { readonly ok: boolean; readonly detail: string };
  readonly listeners: Readonly<Record<string, boolean>>;
  readonly upstream: { readonly ok: boolean | null; readonly detail: string };
  /** Where incoming mail is passed on to (inbound.forward), when it is. */
  readonly nextHop?: Readiness["upstream"];
  readonly sources: Readonly<Record<string, { readonly ok: boolean; readonly detail: string }>>;
};

export type HttpPlace = { readonly host: string; readonly port: number };

/** A running server; `port` is the real one when 0 was asked for. */
export type HttpServer = { readonly port: number; close(): Promise<void> };

/** What the pages ask the rest of the house. */
export type WebParts = {
  readonly readiness: () => Promise<Readiness>;
  /** Takes the key that this token was made for, if it still waits and may be used. */
  readonly confirm: (token: string) => Promise<Confirmed>;
};

/** GET /livez, /readyz; GET and POST /confirm/TOKEN. Throws when the address is taken, naming the setting. */
export async function openWeb(place: HttpPlace, { readiness, confirm }: WebParts): Promise<HttpServer> {
  const server = Fastify({ logger: false, bodyLimit: 65_536, forceCloseConnections: true });
  addConfirmation(server, confirm);
  server.get("/livez", (_request, reply) => reply.send({ status: "ok" }));
  server.get("/readyz", async (_request, reply) => {
    const state = await readiness();
    return reply.code(state.isReady ? 200 : 503).send(state);
  });
  return listen(server, place, "web.listen");
}

/** GET /metrics in Prometheus' text format; `collect` brings gauges up to date first. */
export async function openMetrics(
  place: HttpPlace,
  registry: Registry,
  collect: () => Promise<void>,
): Promise<HttpServer> {
  const server = Fastify({ logger: false, bodyLimit: 65_536, forceCloseConnections: true });
  server.get("/metrics", async (_request, reply) => {
    await collect();
    return reply.type(registry.contentType).send(await registry.metrics());
  });
  return listen(server, place, "metrics.listen");
}

async function listen(server: FastifyInstance, place: HttpPlace, setting: string): Promise<HttpServer> {
  server.addHook("onSend", async (_request, reply) => {
    void reply.header("Cache-Control", "no-store").header("X-Content-Type-Options", "nosniff");
  });
  try {
    await server.listen({ host: place.host, port: place.port });
  } catch (cause) {
    throw new Error(`cannot listen on ${place.host}:${place.port}; see ${setting}`, { cause });
  }
  const address = server.server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : place.port,
    close: () => server.close(),
  };
}
