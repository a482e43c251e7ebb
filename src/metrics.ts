// Metrics: Prometheus counters and gauges under the names of the contract.
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";

export type Metrics = ReturnType<typeof createMetrics>;

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** All metrics of one process in a registry of their own. `version` goes into build_info. */
export function createMetrics(version: string) {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name: `sealpost_${name}`, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge<L>({ name: `sealpost_${name}`, help, labelNames, registers });
  const histogram = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Histogram<L>({ name: `sealpost_${name}`, help, labelNames, buckets: SECONDS, registers });

  collectDefaultMetrics({ register: registry });
  const sourceUp = gauge("source_up", "1 when the source's last use worked", ["source"]);
  gauge("build_info", "1, with the version as label", ["version"]).set({ version }, 1);
  return {
    registry,
    messagesAccepted: counter("messages_accepted_total", "messages that got 250", ["listener"]),
    messagesRefused: counter("messages_refused_total", "messages that were refused after MAIL", ["listener", "reason"]),
    recipients: counter("recipients_total", "recipients by treatment", ["treatment"]),
    deliveries: counter("deliveries_total", "attempts by result: delivered, deferred, failed", ["result"]),
    deliveryDuration: histogram("delivery_duration_seconds", "time of one transaction upstream"),
    encryptionDuration: histogram("encryption_duration_seconds", "time to prepare one ciphertext", ["kind"]),
    lookups: counter("lookups_total", "look-ups by source and answer", ["source", "answer"]),
    lookupDuration: histogram("lookup_duration_seconds", "time of one look-up in a source", ["source"]),
    addressesDisclosed: counter("addresses_disclosed_total", "addresses that a network source was asked for", [
      "source",
    ]),
    sourceUp,
    sourceStates: sourceStates(sourceUp),
    queueRecipients: gauge("queue_recipients", "recipients in the spool by state", ["state"]),
    queueOldestAge: gauge("queue_oldest_age_seconds", "age of the oldest message that waits"),
    harvestedKeys: counter("harvested_keys_total", "keys seen in incoming mail", ["kind", "result"]),
    personalKeys: gauge("personal_keys", "personal keys in the store", ["kind", "origin"]),
    personalKeysExpiring: gauge("personal_keys_expiring", "personal keys that expire within so many days", ["days"]),
    connections: gauge("connections", "open SMTP sessions", ["listener"]),
    authFailures: counter("auth_failures_total", "wrong passwords"),
    reports: counter("reports_total", "problem reports queued"),
    dsns: counter("dsn_total", "delivery status notifications queued"),
  };
}

export type SourceStates = {
  /** What the last use of a source said; `kind` tells the two sources apart that have one name, as keystore. */
  set(source: string, kind: string, isUp: boolean): void;
  /** Forgets every source but these, each as `NAME (KIND)`. */
  keepOnly(names: readonly string[]): void;
};

/** Sets the gauge of a name to 1 when no source of that name is down. */
function sourceStates(sourceUp: Gauge<"source">): SourceStates {
  const states = new Map<string, { readonly source: string; readonly isUp: boolean }>();
  const show = (source: string) => {
    const own = [...states.values()].filter((state) => state.source === source);
    if (own.length === 0) sourceUp.remove(source);
    else sourceUp.labels(source).set(own.every(({ isUp }) => isUp) ? 1 : 0);
  };
  return {
    set(source, kind, isUp) {
      states.set(sourceName(source, kind), { source, isUp });
      show(source);
    },
    keepOnly(names) {
      const gone = [...states].filter(([name]) => !names.includes(name));
      for (const [name] of gone) states.delete(name);
      for (const [, { source }] of gone) show(source);
    },
  };
}

/** A source as /readyz names it. */
export function sourceName(source: string, kind: string): string {
  return `${source} (${kind})`;
}
