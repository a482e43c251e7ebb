// What prepare finds out and decides, as log events and metrics.
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { GuardStop } from "./guard.ts";
import type { PrepareObserver } from "./prepare.ts";

export function prepareLog(log: Log, metrics: Metrics): PrepareObserver {
  return {
    decided(queueId, { mailbox: recipient, attempts, state }, { treatment, trail }) {
      for (const { source, kind, answer, ms, cached, candidates, fault } of trail) {
        if (answer === "skipped") continue;
        metrics.lookups.labels(source, answer).inc();
        metrics.lookupDuration.labels(source).observe(ms / 1000);
        const fingerprint = candidates.find((candidate) => candidate.fit)?.fingerprint;
        log.event(`lookup.${answer}`, { queueId, recipient, source, kind, fingerprint, ms, cached, fault });
        for (const { fit, reason, fingerprint: unfit } of candidates) {
          if (!fit) log.event("key.unfit", { queueId, recipient, source, fingerprint: unfit, reason });
        }
      }
      if (attempts === 0 && state === "queued") metrics.recipients.labels(treatment.kind).inc();
      const reason = "reason" in treatment ? treatment.reason : "source" in treatment ? treatment.source : undefined;
      const fingerprints = "key" in treatment ? [treatment.key.fingerprint] : undefined;
      const fault = treatment.kind === "later" ? treatment.cause : undefined;
      log.event("treatment.decided", { queueId, recipient, treatment: treatment.kind, reason, fingerprints, fault });
    },
    stopped(queueId, recipients, cause) {
      log.event(cause instanceof GuardStop ? "guard.stopped" : "service.fault", { queueId, recipients, reason: cause });
    },
    encrypted(kind, ms) {
      metrics.encryptionDuration.labels(kind).observe(ms / 1000);
    },
  };
}
