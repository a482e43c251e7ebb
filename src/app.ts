// App: builds every part from the settings, starts them in order, stops them in reverse; nobody else constructs them.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { keyParts, type KeyParts } from "./wiring/keys.ts";
import { closeParts, type OpenParts } from "./wiring/source-shelf.ts";
import type { Clock } from "./clock.ts";
import type { Settings } from "./config/schema.ts";
import { deliveryLog } from "./delivery/delivery-log.ts";
import { createRunner, type Runner } from "./delivery/runner.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { outboundDoor } from "./outbound/door.ts";
import { createSourceHealth, type SourceHealth } from "./outbound/source-health.ts";
import { Listener, type ListenerSettings } from "./smtp/listener.ts";
import { listenerLog } from "./smtp/listener-log.ts";
import { createSender, type Sender } from "./smtp/sender.ts";
import { openStore, type Store } from "./store/open.ts";
import { takeServeLock } from "./store/serve-lock.ts";
import { collect, keepHouse, readiness } from "./wiring/house.ts";
import { upstreamSettings } from "./wiring/upstream.ts";
import { openMetrics, openWeb, type HttpServer } from "./web/server.ts";

/** How long running transactions may take at the end, in ms. */
const DRAIN_MS = 25_000;

/** What a reload cannot change, by top-level key. */
const FIXED = ["hostname", "dataDir", "database", "secretKeyFile", "web", "metrics", "log"] as const;

export type App = {
  /** Ports really in use; they differ from the settings where those say 0. */
  readonly ports: { readonly outbound: number; readonly web: number; readonly metrics: number };
  /** Puts another configuration to use, or gives the reason why it cannot without a restart. */
  reload(settings: Settings): Promise<{ refused: string } | undefined>;
  stop(): Promise<void>;
};

type Parts = { readonly log: Log; readonly metrics: Metrics; readonly clock: Clock };
type Running = Parts & { readonly health: SourceHealth };

/** The parts that a reload replaces: everything between the spool and the upstream server. */
type Delivery = KeyParts & { readonly sender: Sender; readonly runner: Runner; readonly running: Promise<void> };

type OpenListener = {
  readonly port: number;
  /** Other settings on the same host and port, for the sessions to come. */
  use(settings: Settings): void;
  close(graceMs?: number): Promise<void>;
};

/** Opens the store, starts delivery, then lets Jira in. Throws one sentence when something cannot be opened; nothing stays open. */
export async function startApp(settings: Settings, parts: Parts): Promise<App> {
  const opened: { close(): Promise<unknown> }[] = [];
  const keep = <T extends { close(): Promise<unknown> }>(part: T): T => {
    opened.push(part);
    return part;
  };
  try {
    return await start(settings, parts, keep);
  } catch (cause) {
    for (const part of opened.reverse()) await part.close().catch(() => undefined);
    throw cause;
  }
}

async function start(
  first: Settings,
  parts: Parts,
  keep: <T extends { close(): Promise<unknown> }>(part: T) => T,
): Promise<App> {
  const { clock, log, metrics } = parts;
  const running = { ...parts, health: createSourceHealth(log, metrics) };
  let settings = first;
  const lock = keep(takeServeLock(settings.dataDir));
  const store = keep(await openStore(settings, clock));
  await store.recover();
  let delivery = startDelivery(settings, store, running);
  keep({
    close: async () => {
      await stopDelivery(delivery, 0);
      await closeParts(delivery.open);
    },
  });
  await store.cache.keepOnly(delivery.shelves);
  const wake = () => delivery.runner.wake();
  let listener = keep(await openListener(settings, store, wake, parts));
  let isListening = true;
  const web = keep(await openWeb(settings.web.listen, () => readiness(store, delivery, running.health, isListening)));
  const figures = keep(
    await openMetrics(settings.metrics.listen, metrics.registry, () => collect(store, metrics, clock)),
  );
  const stopped = new AbortController();
  const housekeeping = keepHouse(store, () => delivery, parts, stopped.signal);

  return {
    ports: { outbound: listener.port, web: web.port, metrics: figures.port },
    async reload(next) {
      const fixed = FIXED.filter((key) => !isDeepStrictEqual(settings[key], next[key]));
      if (fixed.length > 0) return { refused: `${fixed.join(", ")} changed: that needs a restart` };
      const before = delivery;
      delivery = startDelivery(next, store, running, before.open);
      const staysPut = isDeepStrictEqual(settings.outbound.listen, next.outbound.listen);
      try {
        if (staysPut) listener.use(next);
        else listener = await replaceListener(listener, next, store, wake, parts);
      } catch (cause) {
        await stopDelivery(delivery, 0);
        await closeParts(delivery.open, before.open);
        delivery = before;
        // the old listener has let go of its port: what was there before is opened again
        if (!staysPut) listener = await openListener(pinned(settings, listener.port), store, wake, parts);
        throw cause;
      }
      settings = next;
      await stopDelivery(before, DRAIN_MS);
      await closeParts(before.open, delivery.open);
      await store.cache.keepOnly(delivery.shelves);
      return undefined;
    },
    async stop() {
      isListening = false;
      await listener.close(DRAIN_MS / 5);
      stopped.abort();
      await housekeeping;
      const left = await stopDelivery(delivery, DRAIN_MS);
      if (left > 0)
        log.event("service.fault", {
          fault: `${left} messages were still under way; they are sent after the next start`,
        });
      const servers: HttpServer[] = [web, figures];
      for (const server of servers) await server.close();
      await closeParts(delivery.open);
      await store.close();
      await lock.close();
    },
  };
}

/** What is open `before` and the same in these settings is used on. */
function startDelivery(settings: Settings, store: Store, running: Running, before?: OpenParts): Delivery {
  const { log, metrics, clock } = running;
  const keys = keyParts(settings, { ...running, personalKeys: store.personalKeys, cache: store.cache }, before);
  const sender = createSender(upstreamSettings(settings), clock);
  const observe = deliveryLog(log, metrics);
  const { first, factor, max, giveUp } = settings.retry;
  const runner = createRunner(
    {
      spool: store.spool,
      sender,
      prepare: keys.prepare,
      retry: { firstMs: first, factor, maxMs: max, giveUpMs: giveUp },
      hostname: settings.hostname,
      observe,
      now: () => clock.now(),
      sleep: (delayMs, signal) => clock.sleep(delayMs, signal),
      random: Math.random,
    },
    clock,
    { maxInFlight: settings.upstream.connections * 2 },
    observe,
  );
  return { ...keys, sender, runner, running: runner.run() };
}

async function stopDelivery({ runner, running, sender }: Delivery, deadlineMs: number): Promise<number> {
  const left = await runner.stop(deadlineMs);
  await running;
  await sender.close();
  return left;
}

async function openListener(
  settings: Settings,
  store: Store,
  wake: () => void,
  { log, metrics, clock }: Parts,
): Promise<OpenListener> {
  const { outbound, hostname } = settings;
  const listener = new Listener(
    listenerSettings(settings),
    {
      begin: outboundDoor(store.spool, { hostname }, () => clock.now(), wake),
      observer: listenerLog("outbound", log, metrics),
    },
    clock,
  );
  const port = await listener.listen().catch((cause: unknown) => {
    throw new Error(`cannot listen on ${outbound.listen.host}:${outbound.listen.port}; see outbound.listen`, { cause });
  });
  return {
    port,
    use: (next) => listener.use(listenerSettings(next)),
    close: (graceMs = 0) => listener.close(graceMs),
  };
}

/** Reads certificate and key afresh each time: they are renewed under the same names. */
function listenerSettings({ outbound, hostname }: Settings): ListenerSettings {
  const { tls } = outbound;
  return {
    section: "outbound",
    hostname,
    host: outbound.listen.host,
    port: outbound.listen.port,
    tls:
      tls.mode === "off"
        ? { mode: "off" }
        : { mode: tls.mode, cert: readFileSync(tls.cert), key: readFileSync(tls.key) },
    allowNetworks: outbound.allowNetworks,
    users: outbound.users.map(({ name, password }) => ({ name, password })),
    maxMessageBytes: outbound.maxMessageSize,
    maxRecipients: outbound.maxRecipients,
    lineEndings: outbound.lineEndings,
  };
}

/** For another host or port. The old port is free as soon as the old listener stops accepting; its sessions may finish. */
async function replaceListener(
  old: OpenListener,
  next: Settings,
  store: Store,
  wake: () => void,
  parts: Parts,
): Promise<OpenListener> {
  const closing = old.close(DRAIN_MS);
  try {
    return await openListener(pinned(next, old.port), store, wake, parts);
  } catch (cause) {
    await closing;
    throw cause;
  }
}

/** A port that the machine chose stays the same over a reload. */
function pinned(settings: Settings, port: number): Settings {
  const { outbound } = settings;
  return outbound.listen.port === 0
    ? { ...settings, outbound: { ...outbound, listen: { ...outbound.listen, port } } }
    : settings;
}
