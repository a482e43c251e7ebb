// The wiring of everything between the spool and the servers that mail leaves for: one runner for each route.
import { keyParts, type KeyParts } from "./keys.ts";
import { buildHarvest, type Harvest } from "./harvest.ts";
import { closeParts, type OpenParts } from "./source-shelf.ts";
import type { ThreadData } from "./departure-thread.ts";
import { nextHopSettings, upstreamData, upstreamSettings, type UpstreamData } from "./upstream.ts";
import { Worker } from "node:worker_threads";
import type { Clock } from "../clock.ts";
import type { Settings } from "../config/schema.ts";
import { deliveryLog } from "../delivery/delivery-log.ts";
import { departuresHere, type Departures } from "../delivery/departures.ts";
import { departuresOnThread } from "../delivery/departures-on-thread.ts";
import { createRunner, type Runner } from "../delivery/runner.ts";
import type { Steady } from "../delivery/steady.ts";
import { countSuspects, noSuspects } from "../delivery/suspects.ts";
import type { WorkParts } from "../delivery/work.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { SourceHealth } from "../outbound/source-health.ts";
import { checkSettings, createSender } from "../smtp/sender.ts";
import type { Route } from "../spool/spool.ts";
import type { Store } from "../store/open.ts";

/** The parts that a reload replaces. */
export type Delivery = KeyParts & {
  readonly harvest: Harvest;
  readonly departures: Departures;
  /** Where incoming mail is passed on to; undefined when it is not. */
  readonly nextHop: Departures | undefined;
  readonly runners: Readonly<Record<Route, Runner>>;
  /** Ends the runners, giving what is in flight until the deadline; gives how many messages were still under way. */
  stop(deadlineMs: number): Promise<number>;
};

export type DeliveryWiring = {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly health: SourceHealth;
  readonly steady: Steady;
};

/** For revocation lists to be loaded at the start; the mail does not wait so long. */
const LISTS_DEADLINE_MS = 60_000;
/** So many messages of incoming mail are worked on at once: each may be in memory to be learned from. */
const INBOUND_IN_FLIGHT = 4;

/** What is open `before` and the same in these settings is used on. */
export function startDelivery(settings: Settings, store: Store, wiring: DeliveryWiring, before?: OpenParts): Delivery {
  const { log, metrics, clock } = wiring;
  const keys = keyParts(settings, { ...wiring, personalKeys: store.personalKeys, cache: store.cache }, before);
  void keys.trust.lists?.refresh(AbortSignal.timeout(LISTS_DEADLINE_MS));
  const harvest = buildHarvest(settings, store, keys, wiring);
  const now = () => clock.now();
  const { ciphers } = keys;
  const upstream = upstreamData(settings);
  const departures = departuresOnThread(beginThread(settings, upstream), clock);
  const forward = nextHopSettings(settings);
  const nextHop =
    forward === undefined ? undefined : departuresHere({ ciphers, now, sender: createSender(forward, clock) });
  const { first, factor, max, giveUp } = settings.retry;
  const { connections } = settings.upstream;
  const observe = deliveryLog(log, metrics, keys.prepare.observe.stopped);
  const common: Omit<WorkParts, "departures"> = {
    spool: store.spool,
    prepare: { ...keys.prepare, writesTo: harvest.writesTo },
    inbound: settings.inbound === null ? undefined : { harvest: harvest.learnFrom, hasNextHop: nextHop !== undefined },
    retry: { firstMs: first, factor, maxMs: max, giveUpMs: giveUp },
    hostname: settings.hostname,
    observe,
    now,
    steady: wiring.steady,
    sleep: (delayMs, signal) => clock.sleep(delayMs, signal),
    random: Math.random,
  };
  const suspects = countSuspects(store.tries, () => clock.now());
  const runners = {
    outbound: createRunner(
      { ...common, departures },
      clock,
      {
        // the others are being prepared or settled while these are being sent
        maxInFlight: connections * 3,
        maxEach: { quick: connections * 2, slow: upstream.connectionsEach },
        route: "outbound",
        suspects,
      },
      observe,
    ),
    inbound: createRunner(
      { ...common, departures: nextHop ?? departures },
      clock,
      {
        maxInFlight: INBOUND_IN_FLIGHT,
        maxEach: { quick: INBOUND_IN_FLIGHT, slow: INBOUND_IN_FLIGHT },
        route: "inbound",
        suspects: noSuspects,
      },
      observe,
    ),
  };
  const all = Object.values(runners);
  const running = all.map((runner) => runner.run());
  return {
    ...keys,
    harvest,
    departures,
    nextHop,
    runners,
    async stop(deadlineMs) {
      const left = await Promise.all(all.map((runner) => runner.stop(deadlineMs)));
      await Promise.all(running);
      await departures.close();
      await nextHop?.close();
      return left.reduce((sum, one) => sum + one, 0);
    },
  };
}

/** What the thread needs is judged now: what is wrong with it is told at the start. */
function beginThread({ smime }: Settings, upstream: UpstreamData): () => Worker {
  const { contentEncryption, keyTransport } = smime;
  checkSettings(upstreamSettings(upstream));
  const workerData: ThreadData = { upstream, smime: { contentEncryption, keyTransport } };
  return () =>
    new Worker(new URL("../../bin/departure-thread.js", import.meta.url), { name: "departures", workerData });
}

/** Ends it and closes what `next` does not use on. */
export async function stopDelivery(delivery: Delivery, deadlineMs: number, next?: Delivery): Promise<number> {
  const left = await delivery.stop(deadlineMs);
  await closeParts(delivery.open, next?.open);
  return left;
}
