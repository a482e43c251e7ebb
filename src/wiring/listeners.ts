// The wiring of the two ways in: for each route a listener before the spool, opened, changed and closed with the settings.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../clock.ts";
import type { Settings } from "../config/schema.ts";
import type { Log } from "../log.ts";
import type { Mailbox } from "../mail/address.ts";
import type { Metrics } from "../metrics.ts";
import { Listener, type ListenerOwner, type ListenerSettings } from "../smtp/listener.ts";
import { listenerLog } from "../smtp/listener-log.ts";
import { spoolDoor } from "../smtp/spool-door.ts";
import type { Route, Spool } from "../spool/spool.ts";

/** How long running transactions may take at the end, in ms; with the sessions' fifth of it less than 30 s. */
export const DRAIN_MS = 24_000;

export type OpenListener = {
  readonly port: number;
  /** Other settings on the same host and port, for the sessions to come. */
  use(settings: Settings): void;
  close(graceMs?: number): Promise<void>;
};

export type ListenerParts = {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly spool: Spool;
  /** A message of this route was accepted. */
  readonly accepted: (route: Route) => void;
};

/** Undefined when this way in is switched off. Throws a sentence when the place cannot be had. */
export async function openListener(
  route: Route,
  settings: Settings,
  parts: ListenerParts,
): Promise<OpenListener | undefined> {
  const section = settings[route];
  if (section === null) return undefined;
  const { log, metrics, clock, spool, accepted } = parts;
  // whom mail may be for is asked at each RCPT: a reload changes it for open sessions too
  let mayReceive = recipientsOf(route, settings);
  let messageClass = classOf(route, settings);
  const owner: ListenerOwner = {
    begin: spoolDoor(
      spool,
      { hostname: settings.hostname, route, classOf: () => messageClass },
      () => clock.now(),
      () => accepted(route),
    ),
    mayReceive: (mailbox) => mayReceive(mailbox),
    observer: listenerLog(route, log, metrics),
  };
  const listener = new Listener(listenerSettings(route, settings), owner, clock);
  const port = await listener.listen().catch((cause: unknown) => {
    const { host, port: taken } = section.listen;
    throw new Error(`cannot listen on ${host}:${taken}; see ${route}.listen`, { cause });
  });
  return {
    port,
    use(next) {
      listener.use(listenerSettings(route, next));
      mayReceive = recipientsOf(route, next);
      messageClass = classOf(route, next);
    },
    close: (graceMs = 0) => listener.close(graceMs),
  };
}

export type Listeners = Record<Route, OpenListener | undefined>;

/** Both ways in, or neither: when the second cannot be changed, the first is changed back. */
export async function changeListeners(listeners: Listeners, before: Settings, next: Settings, parts: ListenerParts) {
  await changeListener("outbound", listeners, before, next, parts);
  try {
    await changeListener("inbound", listeners, before, next, parts);
  } catch (cause) {
    await changeListener("outbound", listeners, next, before, parts);
    throw cause;
  }
}

/**
 * Brings a way in from one configuration to the next. On another host or port the old one stops accepting first, for the places may
 * overlap; when the new one cannot be opened, the old place is opened again and the reason is thrown.
 */
async function changeListener(
  route: Route,
  listeners: Listeners,
  before: Settings,
  next: Settings,
  parts: ListenerParts,
): Promise<void> {
  const current = listeners[route];
  if (current === undefined) {
    listeners[route] = await openListener(route, next, parts);
    return;
  }
  if (next[route] !== null && isDeepStrictEqual(before[route]?.listen, next[route].listen)) {
    current.use(next);
    return;
  }
  // its sessions may finish while the new one opens
  const closing = current.close(DRAIN_MS);
  try {
    listeners[route] = await openListener(route, pinned(route, next, current.port), parts);
  } catch (cause) {
    await closing;
    listeners[route] = await openListener(route, pinned(route, before, current.port), parts);
    throw cause;
  }
}

/** A port that the machine chose stays the same over a reload. */
function pinned(route: Route, settings: Settings, port: number): Settings {
  const section = settings[route];
  if (section?.listen.port !== 0) return settings;
  return { ...settings, [route]: { ...section, listen: { ...section.listen, port } } };
}

/** Incoming mail that is not passed on is a copy of what its readers get otherwise. */
function classOf(route: Route, { inbound }: Settings): "mail" | "copy" {
  return route === "inbound" && inbound?.forward === "none" ? "copy" : "mail";
}

/** Which recipients a way in takes: Jira may write to anybody, mail from outside only to those that are ours. */
function recipientsOf(route: Route, { inbound }: Settings): NonNullable<ListenerOwner["mayReceive"]> {
  if (route === "outbound" || inbound === null) return () => undefined;
  const allowed = new Set(inbound.recipients);
  return ({ key, domain }: Mailbox) =>
    allowed.has(key) || allowed.has(`@${domain}`)
      ? undefined
      : { code: 550, status: "5.7.1", text: "this relay takes no mail for that address" };
}

/** Reads certificate and key afresh each time: they are renewed under the same names. */
function listenerSettings(route: Route, settings: Settings): ListenerSettings {
  const { outbound, inbound, hostname } = settings;
  const { listen, tls, allowNetworks } = route === "inbound" && inbound !== null ? inbound : outbound;
  return {
    section: route,
    hostname,
    host: listen.host,
    port: listen.port,
    tls:
      tls.mode === "off"
        ? { mode: "off" }
        : { mode: tls.mode, cert: readFileSync(tls.cert), key: readFileSync(tls.key) },
    allowNetworks,
    users: route === "outbound" ? outbound.users.map(({ name, password }) => ({ name, password })) : [],
    maxMessageBytes: outbound.maxMessageSize,
    maxRecipients: outbound.maxRecipients,
    lineEndings: outbound.lineEndings,
  };
}
