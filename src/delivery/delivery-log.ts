// What delivery does, as log events and metrics.
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { RunnerObserver } from "./runner.ts";
import type { Attempt, Settled } from "./settlement.ts";
import type { DeliveryObserver } from "./work.ts";

export function deliveryLog(
  log: Log,
  metrics: Metrics,
  stopped: DeliveryObserver["stopped"],
): DeliveryObserver & RunnerObserver {
  const one = (queueId: string, { attempt, outcome }: Settled) => {
    const { mailbox: recipient, attempts, state: before } = attempt.recipient;
    const facts = {
      queueId,
      recipient,
      treatment: attempt.treatment,
      reply: shownReply(attempt, outcome.lastReply),
      attempt: attempts + 1,
      nextAttemptAt: shownTime(outcome.nextAttemptAt),
    };
    switch (outcome.state) {
      case "delivered":
        metrics.deliveries.labels("delivered").inc();
        if (before === "held") log.event("delivery.released", facts);
        log.event("delivery.delivered", facts);
        break;
      case "failed":
        metrics.deliveries.labels("failed").inc();
        log.event("delivery.failed", facts);
        break;
      case "held":
        // a look at a held recipient that changes nothing is not news
        if (before !== "held" || attempt.result !== "no-key") log.event("delivery.held", facts);
        break;
      case "queued":
        metrics.deliveries.labels("deferred").inc();
        log.event("delivery.deferred", facts);
        break;
    }
  };
  return {
    settled(leased, settled) {
      for (const each of settled) one(leased.id, each);
    },
    noticeQueued(leased, notice) {
      (notice.class === "report" ? metrics.reports : metrics.dsns).inc();
      log.event(notice.class === "report" ? "report.sent" : "dsn.sent", {
        queueId: leased.id,
        recipient: notice.recipient,
      });
    },
    stopped,
    encrypted(kind, ms) {
      metrics.encryptionDuration.labels(kind).observe(ms / 1000);
    },
    sent(ms) {
      metrics.deliveryDuration.observe(ms / 1000);
    },
    broken(leased, cause) {
      log.event("service.fault", { queueId: leased.id, fault: cause });
    },
    upstreamDown(reply, pauseMs) {
      log.event("upstream.down", { reply, pauseMs });
    },
    upstreamUp() {
      log.event("upstream.up");
    },
    spoolFailed(cause) {
      log.event("service.fault", { fault: cause });
    },
  };
}

function shownReply(attempt: Attempt, reply: string): string {
  return "summary" in attempt ? (attempt.summary ?? reply) : reply;
}

function shownTime(at: number | undefined): string | undefined {
  return at === undefined ? undefined : new Date(at).toISOString();
}
