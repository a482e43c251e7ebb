// What prepare finds out and decides, as log events and metrics.
import { LRUCache } from "lru-cache";
import { withCauses, type Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { GuardStop } from "./guard.ts";
import type { PrepareObserver } from "./prepare.ts";
import type { SourceHealth } from "./source-health.ts";
import type { Treatment } from "./treatment.ts";

/** So many addresses are remembered of which it was told why one of their look-ups failed. */
const TOLD_ADDRESSES = 10_000;

/**
 * Why a source failed is told by `health`, once; the lines of each mail only name the source. What is one address's alone is told in
 * such a line, once for that address.
 */
export function prepareLog(log: Log, metrics: Metrics, health: SourceHealth): PrepareObserver {
  const told = new LRUCache<string, string>({ max: TOLD_ADDRESSES });
  const news = (about: string, cause: Error) => {
    const fault = withCauses(cause);
    if (told.get(about) === fault) return undefined;
    told.set(about, fault);
    return fault;
  };
  const lookedUp: PrepareObserver["lookedUp"] = (queueId, recipient, trail) => {
    health.saw(trail);
    for (const { source, kind, answer, ms, cached, candidates, setAside = [], fault: cause, isOnlyHere } of trail) {
      if (answer === "skipped") continue;
      metrics.lookups.labels(source, answer).inc();
      metrics.lookupDuration.labels(source).observe(ms / 1000);
      const fingerprint = candidates.find((candidate) => candidate.fit)?.fingerprint;
      const isItsOwn = isOnlyHere === true && cause !== undefined;
      const fault = isItsOwn ? news(`${source} ${kind} ${recipient.key}`, cause) : undefined;
      log.event(`lookup.${answer}`, { queueId, recipient, source, kind, fingerprint, ms, cached, fault });
      for (const { fit, reason, detail, place, fingerprint: unfit } of candidates) {
        if (!fit) log.event("key.unfit", { queueId, recipient, source, place, fingerprint: unfit, reason, detail });
      }
      for (const detail of setAside)
        log.event("key.unfit", { queueId, recipient, source, reason: "set-aside", detail });
    }
  };
  return {
    lookedUp,
    decided(queueId, { mailbox: recipient, attempts, state }, { treatment, trail }) {
      lookedUp(queueId, recipient, trail);
      if (attempts === 0 && state === "queued") metrics.recipients.labels(treatment.kind).inc();
      const reason = reasonOf(treatment);
      const fingerprints = "key" in treatment ? [treatment.key.fingerprint] : undefined;
      log.event("treatment.decided", { queueId, recipient, treatment: treatment.kind, reason, fingerprints });
    },
    stopped(queueId, recipients, cause) {
      log.event(cause instanceof GuardStop ? "guard.stopped" : "service.fault", { queueId, recipients, reason: cause });
    },
    encrypted(kind, ms) {
      metrics.encryptionDuration.labels(kind).observe(ms / 1000);
    },
  };
}

function reasonOf(treatment: Treatment): string | undefined {
  if ("reason" in treatment) return treatment.reason;
  if ("source" in treatment) return treatment.source;
  return treatment.kind === "later" ? treatment.cause.message : undefined;
}
