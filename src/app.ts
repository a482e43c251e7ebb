// App: builds every part from the settings, starts them in order, stops them in reverse; nobody else constructs them.
import { isDeepStrictEqual } from "node:util";
import { asError } from "./as-error.ts";
import type { Clock } from "./clock.ts";
import type { Settings } from "./config/schema.ts";
import { steadyClock } from "./delivery/steady.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { createSourceHealth, sourceNames } from "./outbound/source-health.ts";
import type { Route } from "./spool/spool.ts";
import { openStore, type Store } from "./store/open.ts";
import { takeServeLock } from "./store/serve-lock.ts";
import { startDelivery, stopDelivery } from "./wiring/delivery.ts";
import { collect, keepHouse, readiness } from "./wiring/house.ts";
import { changeListeners, DRAIN_MS, openListener, type Listeners } from "./wiring/listeners.ts";
import { openMetrics, openWeb, type HttpServer } from "./web/server.ts";

/** What a reload cannot change, by top-level key. */
const FIXED = ["hostname", "dataDir", "database", "secretKeyFile", "web", "metrics", "log"] as const;

export type App = {
  /** Ports really in use; they differ from the settings where those say 0. `inbound` is undefined when that is switched off. */
  readonly ports: {
    readonly outbound: number;
    readonly inbound: number | undefined;
    readonly web: number;
    readonly metrics: number;
  };
  /** Fires when the disk has failed, with the error as its reason: the process must end at once, without saying anything to anybody. */
  readonly failed: AbortSignal;
  /** Puts another configuration to use, or gives the reason why it cannot without a restart. What `ending` ends does not wait. */
  reload(settings: Settings, ending: AbortSignal): Promise<{ refused: string } | undefined>;
  stop(): Promise<void>;
};

type Parts = { readonly log: Log; readonly metrics: Metrics; readonly clock: Clock };
type Keep = <T extends { close(): Promise<unknown> }>(part: T) => T;

/** Opens the store, starts delivery, then lets Jira in. Throws one sentence when something cannot be opened; nothing stays open. */
export async function startApp(settings: Settings, parts: Parts): Promise<App> {
  const opened: { close(): Promise<unknown> }[] = [];
  try {
    return await start(settings, parts, (part) => {
      opened.push(part);
      return part;
    });
  } catch (cause) {
    for (const part of opened.reverse()) await part.close().catch(() => undefined);
    throw cause;
  }
}

async function start(first: Settings, parts: Parts, keep: Keep): Promise<App> {
  const { clock, log, metrics } = parts;
  let settings = first;
  const lock = keep(takeServeLock(settings.dataDir));
  const store = keep(await openStore(settings, clock));
  await store.recover();
  const steady = steadyClock(clock, await store.note.read("steady"));
  const wiring = { ...parts, steady, health: createSourceHealth(log, metrics) };
  let delivery = startDelivery(settings, store, wiring);
  keep({ close: () => stopDelivery(delivery, 0) });
  const told = (cause: unknown) => log.event("service.fault", { fault: asError(cause) });
  await store.cache.keepOnly(delivery.shelves).catch(told);
  const accepted = (route: Route) => delivery.runners[route].wake();
  const listenerParts = { ...parts, spool: store.spool, accepted };
  const listeners: Listeners = { outbound: undefined, inbound: undefined };
  keep({ close: () => closeListeners(listeners, 0) });
  for (const route of ["outbound", "inbound"] as const)
    listeners[route] = await openListener(route, settings, listenerParts);
  let isListening = true;
  const open = () => ({ outbound: isListening, ...(settings.inbound === null ? {} : { inbound: isListening }) });
  const web = keep(
    await openWeb(settings.web.listen, {
      readiness: () => readiness(store, delivery, wiring.health, open()),
      confirm: (token) => delivery.harvest.confirm(token),
    }),
  );
  const figures = keep(
    await openMetrics(settings.metrics.listen, metrics.registry, () => collect(store, metrics, clock)),
  );
  const stopped = new AbortController();
  const housekeeping = keepHouse(store, () => delivery, wiring, stopped.signal);

  return {
    get ports() {
      const { outbound, inbound } = listeners;
      return { outbound: outbound?.port ?? 0, inbound: inbound?.port, web: web.port, metrics: figures.port };
    },
    failed: store.failed,
    async reload(next, ending) {
      const fixed = FIXED.filter((key) => !isDeepStrictEqual(settings[key], next[key]));
      if (fixed.length > 0) return { refused: `${fixed.join(", ")} changed: that needs a restart` };
      const before = delivery;
      delivery = startDelivery(next, store, wiring, before.open);
      try {
        await changeListeners(listeners, settings, next, listenerParts);
      } catch (cause) {
        const failed = delivery;
        delivery = before;
        await stopDelivery(failed, 0, before);
        throw cause;
      }
      // from here on the new one is in use, whatever becomes of the old one's remains
      settings = next;
      await stopDelivery(before, ending.aborted ? 0 : DRAIN_MS, delivery).catch(told);
      wiring.health.keepOnly(sourceNames(delivery.chains));
      await store.cache.keepOnly(delivery.shelves).catch(told);
      return undefined;
    },
    async stop() {
      isListening = false;
      await closeListeners(listeners, DRAIN_MS / 5);
      stopped.abort();
      await housekeeping;
      const left = await stopDelivery(delivery, DRAIN_MS);
      if (left > 0)
        log.event("service.fault", {
          fault: `${left} messages were still under way; they are sent after the next start`,
        });
      await closeAll([web, figures], store);
      await lock.close();
    },
  };
}

async function closeListeners(listeners: Listeners, graceMs: number): Promise<void> {
  const open = Object.values(listeners).filter((listener) => listener !== undefined);
  await Promise.all(open.map((listener) => listener.close(graceMs)));
}

async function closeAll(servers: readonly HttpServer[], store: Store): Promise<void> {
  for (const server of servers) await server.close();
  await store.close();
}
