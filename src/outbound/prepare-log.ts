// What prepare finds out and decides, as log events and metrics.
import { LRUCache } from "lru-cache";
import { SourceAtRest } from "../keys/cached-source.ts";
import type { TrailEntry } from "../keys/chain.ts";
import { withCauses, type Log } from "../log.ts";
import type { Mailbox } from "../mail/address.ts";
import type { Metrics } from "../metrics.ts";
import type { PrepareObserver } from "./prepare.ts";
import type { SourceHealth } from "./source-health.ts";
import type { Treatment } from "./treatment.ts";

/** So many addresses are remembered of which it was told why one of their look-ups failed. */
const TOLD_ADDRESSES = 10_000;
const TOLD_AGAIN_MS = 10 * 60_000;

/**
 * Why a source failed is told by `health`, once; the lines of each mail only name the source. What is one address's alone, or its
 * domain's own server's, is told in such a line, once for that address until it gets another answer; what is said in the same words
 * of many addresses, as by a server that floods, once in ten minutes.
 */
export function prepareLog(log: Log, metrics: Metrics, health: SourceHealth): PrepareObserver {
  const told = new LRUCache<string, string>({ max: TOLD_ADDRESSES });
  const toldOfAny = new LRUCache<string, true>({ max: TOLD_ADDRESSES, ttl: TOLD_AGAIN_MS });
  /** What is wrong with one address, if it was not told of it before. */
  const news = (recipient: Mailbox, { source, kind, fault: cause, isOnlyHere, hasManyServers }: TrailEntry) => {
    const about = `${source} ${kind} ${recipient.key}`;
    const ofAny = (fault: string) => `${source} ${kind} ${fault}`;
    if (cause === undefined) {
      toldOfAny.delete(ofAny(told.get(about) ?? ""));
      told.delete(about);
      return undefined;
    }
    if (isOnlyHere !== true && hasManyServers !== true) return undefined;
    // a server that rests was not asked: what it last said still holds
    const fault = withCauses(cause instanceof SourceAtRest && cause.cause instanceof Error ? cause.cause : cause);
    if (told.get(about) === fault) return undefined;
    told.set(about, fault);
    if (toldOfAny.has(ofAny(fault))) return undefined;
    toldOfAny.set(ofAny(fault), true);
    return fault;
  };
  const lookedUp: PrepareObserver["lookedUp"] = (queueId, recipient, trail) => {
    health.saw(trail);
    for (const entry of trail) {
      const { source, kind, answer, ms, cached, candidates, setAside = [] } = entry;
      if (answer === "skipped") continue;
      metrics.lookups.labels(source, answer).inc();
      metrics.lookupDuration.labels(source).observe(ms / 1000);
      const fingerprint = candidates.find((candidate) => candidate.fit)?.fingerprint;
      const fault = news(recipient, entry);
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
    stopped(queueId, recipients, cause, isByGuard) {
      const mailboxes = recipients.map(({ mailbox }) => mailbox);
      log.event(isByGuard ? "guard.stopped" : "service.fault", { queueId, recipients: mailboxes, reason: cause });
    },
  };
}

function reasonOf(treatment: Treatment): string | undefined {
  if ("reason" in treatment) return treatment.reason;
  if ("source" in treatment) return treatment.source;
  return treatment.kind === "later" ? treatment.cause.message : undefined;
}
