// Log: JSON lines on stdout, one named event each; nothing but the listed facts ever gets in.
import { createHash } from "node:crypto";
import { pino, stdTimeFunctions, type DestinationStream } from "pino";
import { parseMailbox, type Mailbox } from "./mail/address.ts";
import { systemClock } from "./clock.ts";
import { logOutput, toStdout, type LogOutput } from "./log-output.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type AddressForm = "full" | "domain" | "hashed";

/** Every event there is, with the level it is written at; docs/OPERATION.md explains them and a test compares. */
export const EVENT_LEVELS = {
  "service.started": "info",
  "service.stopping": "info",
  "service.stopped": "info",
  "service.fault": "error",
  "config.reloaded": "info",
  "config.refused": "error",
  "session.opened": "debug",
  "session.closed": "debug",
  "session.refused": "warn",
  "auth.failed": "warn",
  "message.accepted": "info",
  "message.refused": "warn",
  "keystore.loaded": "info",
  "keystore.failed": "error",
  "crl.loaded": "info",
  "crl.failed": "error",
  "source.down": "error",
  "source.up": "info",
  "cache.expired": "info",
  "lookup.found": "debug",
  "lookup.absent": "debug",
  "lookup.failed": "warn",
  "key.unfit": "info",
  "key.uploaded": "info",
  "key.removed": "info",
  "treatment.decided": "info",
  "guard.stopped": "error",
  "delivery.delivered": "info",
  "delivery.deferred": "warn",
  "delivery.failed": "warn",
  "delivery.held": "info",
  "delivery.released": "info",
  "harvest.seen": "debug",
  "harvest.learned": "info",
  "harvest.deferred": "info",
  "harvest.promoted": "info",
  "harvest.pending": "warn",
  "harvest.ignored": "info",
  "upstream.down": "error",
  "upstream.up": "info",
  "report.sent": "info",
  "dsn.sent": "info",
} as const satisfies Record<string, LogLevel>;

export type LogEvent = keyof typeof EVENT_LEVELS;

/**
 * What an event may carry. Mailboxes are written in the form `log.addresses` asks for, also those within texts, for replies of
 * servers and causes of faults name them; errors as their messages. `detail` may name people, as the subjects of certificates do:
 * it is written only where addresses are written in full.
 */
export type LogFacts = Record<
  string,
  string | number | boolean | null | undefined | Mailbox | Error | readonly (string | Mailbox)[]
>;

export type Log = { event(name: LogEvent, facts?: LogFacts): void };

/** Opens the log. `destination` is for tests; stdout otherwise. */
export function openLog(
  settings: { level: LogLevel; addresses: AddressForm },
  destination: DestinationStream & { flush?: () => void } = stdoutUntilTheEnd(),
): Log {
  const logger = pino(
    {
      level: settings.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
    },
    destination,
  );
  return {
    event(name, facts = {}) {
      const level = EVENT_LEVELS[name];
      if (!logger.isLevelEnabled(level)) return;
      const line: Record<string, unknown> = { event: name };
      for (const [key, value] of Object.entries(facts)) {
        if (value !== undefined && (key !== "detail" || settings.addresses === "full"))
          line[key] = Array.isArray(value)
            ? value.map((one) => shown(one as never, settings.addresses))
            : shown(value as never, settings.addresses);
      }
      logger[level](line);
      // whoever is refused something finds the reason, and a process that is killed has told what troubled it
      if (level === "warn" || level === "error") destination.flush?.();
    },
  };
}

function stdoutUntilTheEnd(): LogOutput {
  const output = logOutput(toStdout(), lossLine);
  process.on("exit", output.flush);
  return output;
}

function lossLine(lost: number): string {
  const fault = `${lost} lines of the log were lost: nobody read stdout, or its disk was full`;
  return `${JSON.stringify({ level: "error", time: new Date(systemClock.now()).toISOString(), event: "service.fault", fault })}\n`;
}

/** For commands and tests that have nothing to log to. */
export const silentLog: Log = { event: () => undefined };

function shown(value: string | number | boolean | null | Mailbox | Error, form: AddressForm): unknown {
  if (value instanceof Error) return shownText(withCauses(value), form);
  if (typeof value === "object" && value !== null) return shownAddress(value, form);
  return typeof value === "string" ? shownText(value, form) : value;
}

/**
 * What looks like an address: a plain or quoted local part, an at sign, also in percent form, a domain or an address literal. The
 * lengths are some times those of RFC 5321 4.5.3.1, so that no text takes long to search.
 */
const ADDRESS_LIKE =
  /(?:"(?:[^"\\]|\\.){1,320}"|[^\s<>()[\]:;,"@]{1,320})(?:@|%40)(?:\[[^\]\s]{1,64}\]|[\p{L}\p{N}_](?:[\p{L}\p{M}\p{N}._-]{0,253}[\p{L}\p{M}\p{N}_])?)/giu;

function shownText(text: string, form: AddressForm): string {
  if (form === "full" || !/@|%40/.test(text)) return text;
  return text.replace(ADDRESS_LIKE, (found) => {
    const parsed = parseMailbox(found);
    return "mailbox" in parsed ? shownAddress(parsed.mailbox, form) : "@";
  });
}

export function shownAddress(mailbox: Mailbox, form: AddressForm): string {
  switch (form) {
    case "full":
      return mailbox.address;
    case "domain":
      return `@${mailbox.domain}`;
    case "hashed":
      return createHash("sha256").update(mailbox.key).digest("hex").slice(0, 16);
  }
}

/** `message: cause: cause`, at most five deep. */
export function withCauses(error: Error): string {
  const parts: string[] = [];
  for (let at: unknown = error; at instanceof Error && parts.length < 5; at = at.cause)
    if (!parts.includes(at.message)) parts.push(at.message);
  return parts.join(": ");
}
