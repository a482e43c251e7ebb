// What a listener does, as log events and metrics.
import { asError } from "../as-error.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { ListenerObserver } from "./observer.ts";

/** `listener` is the section's name: outbound or inbound. */
export function listenerLog(listener: "outbound" | "inbound", log: Log, metrics: Metrics): ListenerObserver {
  const connections = metrics.connections.labels(listener);
  return {
    onSessionOpened(session) {
      connections.inc();
      log.event("session.opened", { listener, ...session });
    },
    onSessionClosed(session) {
      connections.dec();
      log.event("session.closed", { listener, ...session });
    },
    onSessionRefused(refusal) {
      log.event("session.refused", { listener, ...refusal });
    },
    onAuthFailed(failure) {
      metrics.authFailures.inc();
      log.event("auth.failed", { listener, ...failure });
    },
    onMessageAccepted({ sessionId, queueId, envelope, sizeBytes }) {
      metrics.messagesAccepted.labels(listener).inc();
      const recipients = envelope.recipients.map((recipient) => recipient.mailbox);
      log.event("message.accepted", {
        listener,
        sessionId,
        queueId,
        from: envelope.reversePath ?? "<>",
        recipients,
        size: sizeBytes,
      });
    },
    onMessageRefused({ sessionId, code, reason, cause }) {
      metrics.messagesRefused.labels(listener, reason).inc();
      log.event("message.refused", {
        listener,
        sessionId,
        code,
        reason,
        fault: cause === undefined ? undefined : asError(cause),
      });
    },
    onFault(error) {
      log.event("service.fault", { listener, fault: asError(error) });
    },
  };
}
