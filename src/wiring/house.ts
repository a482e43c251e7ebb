// Housekeeping of a running relay: changed key stores and keys, what /readyz says, gauges brought up to date.
import type { Delivery } from "./delivery.ts";
import { asError } from "../as-error.ts";
import type { Clock } from "../clock.ts";
import type { Steady } from "../delivery/steady.ts";
import type { HarvestObserver } from "../inbound/harvest-observer.ts";
import type { Log } from "../log.ts";
import { mailbox } from "../mail/address.ts";
import type { Metrics } from "../metrics.ts";
import { sourceNames, type SourceHealth } from "../outbound/source-health.ts";
import type { News } from "../store/changes.ts";
import type { Store } from "../store/open.ts";
import type { Readiness } from "../web/server.ts";

const HOUSEKEEPING_MS = 1_000;
/** In rounds of housekeeping. */
const STORE_CHECK_EVERY = 2;
const LISTS_EVERY = 60;
const NOTE_EVERY = 60;
const PROMOTE_EVERY = 120;
const PRUNE_EVERY = 600;
const EXPIRING_DAYS = [7, 30];

/** Notices changed key stores and what other processes did, and lets held mail look for its key again. */
export async function keepHouse(
  store: Store,
  current: () => Delivery,
  { log, clock, steady }: { readonly log: Log; readonly clock: Clock; readonly steady: Steady },
  signal: AbortSignal,
): Promise<void> {
  let lastChange = await store.changes.latest();
  let told = "";
  for (let tick = 1; ; tick++) {
    await clock.sleep(HOUSEKEEPING_MS, signal);
    if (signal.aborted) return;
    try {
      const { sources, trust, runners, harvest } = current();
      const changes = await store.changes.since(lastChange);
      lastChange = changes.at(-1)?.id ?? lastChange;
      const changed = changes.flatMap((news) => (news.what === "cache.expired" ? [] : [mailbox(news.address)]));
      const expired = changes.flatMap((news) => (news.what === "cache.expired" ? [news.source] : []));
      for (const news of changes) tell(news, log, harvest.observe);
      for (const source of sources.remembering) if (expired.includes(source.name)) source.forget();
      // with plusAddress "strip" the key of ann@ may serve ann+jira@ too: then every held mail looks again
      const isExact = current().treatment.plusAddress === "exact";
      if (changed.length > 0)
        await store.spool.wakeHeld(clock.now(), isExact ? changed.map(({ key }) => key) : undefined);
      // a fresh look-up may find what the remembered one had not
      if (expired.length > 0) await store.spool.wakeHeld(clock.now());
      if (tick % STORE_CHECK_EVERY === 0) {
        const stores = [sources.smime.keyStore, sources.pgp.keyStore];
        const refreshed = await Promise.all(stores.flatMap((one) => (one === undefined ? [] : [one.refresh()])));
        const isChanged = refreshed.includes(true);
        if (isChanged) await store.spool.wakeHeld(clock.now());
      }
      if (changes.length > 0) runners.outbound.wake();
      if (tick % PROMOTE_EVERY === 0) void harvest.promoteKnown(signal);
      if (tick % LISTS_EVERY === 0) void trust.lists?.refresh(signal);
      if (tick % NOTE_EVERY === 1) await store.note.write("steady", steady.note());
      if (tick % PRUNE_EVERY === 0) await store.prune();
      told = "";
    } catch (thrown) {
      const cause = asError(thrown);
      // a fault that lasts is told once
      if (cause.message !== told) log.event("service.fault", { fault: cause });
      told = cause.message;
    }
  }
}

/** What another process did, as this one would have told it. */
function tell(news: News, log: Log, harvest: HarvestObserver): void {
  switch (news.what) {
    case "key.uploaded":
    case "key.removed":
      log.event(news.what, { recipient: mailbox(news.address) });
      return;
    case "harvest.learned":
    case "harvest.ignored": {
      const { kind, fingerprint, reason } = news;
      const event = news.what === "harvest.learned" ? "learned" : "ignored";
      harvest.happened(event, { address: mailbox(news.address), kind, fingerprint, reason });
      return;
    }
    case "cache.expired":
      log.event(news.what, { source: news.source });
  }
}

/** What /readyz says. */
export async function readiness(
  store: Pick<Store, "checkWritable">,
  { sources, departures, nextHop, chains }: Pick<Delivery, "sources" | "departures" | "nextHop" | "chains">,
  health: SourceHealth,
  listeners: Readonly<Record<string, boolean>>,
): Promise<Readiness> {
  const written = await store.checkWritable().then(
    () => ({ ok: true, detail: "writable" }),
    (cause: unknown) => ({ ok: false, detail: cause instanceof Error ? cause.message : String(cause) }),
  );
  const stores = (["smime", "pgp"] as const).flatMap((kind) => {
    const { keyStore } = sources[kind];
    if (keyStore === undefined) return [];
    const { fault } = keyStore;
    return [[`keystore (${kind})`, { ok: fault === undefined, detail: fault?.message ?? "readable" }] as const];
  });
  // mail of before a reload may still say something of sources that are no more
  const names = sourceNames(chains);
  const used = Object.entries(health.states()).filter(([name]) => names.includes(name));
  return {
    isReady: written.ok && Object.values(listeners).every(Boolean),
    store: written,
    listeners,
    upstream: reached(departures),
    ...(nextHop === undefined ? {} : { nextHop: reached(nextHop) }),
    sources: { ...Object.fromEntries(used), ...Object.fromEntries(stores) },
  };
}

/** Whether a server was there when mail was last sent to it. */
function reached({ isUp }: Delivery["departures"]): Readiness["upstream"] {
  return { ok: isUp ?? null, detail: isUp === undefined ? "not used yet" : isUp ? "reached" : "not reachable" };
}

/** Sets the gauges that nothing else keeps up to date. */
export async function collect(
  store: Pick<Store, "spool" | "personalKeys">,
  metrics: Metrics,
  clock: Clock,
): Promise<void> {
  const { states, oldestAcceptedAt } = await store.spool.counts();
  for (const [state, count] of Object.entries(states)) metrics.queueRecipients.labels(state).set(count);
  metrics.queueOldestAge.set(oldestAcceptedAt === undefined ? 0 : (clock.now() - oldestAcceptedAt) / 1000);
  const keys = await store.personalKeys.ends();
  metrics.personalKeys.reset();
  for (const { kind, origin } of keys) metrics.personalKeys.labels(kind, origin).inc();
  for (const days of EXPIRING_DAYS) {
    const end = clock.now() + days * 86_400_000;
    metrics.personalKeysExpiring
      .labels(String(days))
      .set(keys.filter(({ notAfter = Infinity }) => notAfter <= end).length);
  }
}
