// From a TCP connection to a session that may send mail: greeting, EHLO, STARTTLS, AUTH. Nothing here is about a message.
import type { SecureContext } from "node:tls";
import type { Clock } from "../clock.ts";
import { logIn } from "./upstream-auth.ts";
import { ConnectionFault, UpstreamConnection } from "./upstream-connection.ts";
import { protectionOf, tlsOptions, Unreachable, type Protection } from "./upstream-protection.ts";
import { shownReply, shownText } from "./upstream-reply.ts";
import { serverName, type TimedSettings, type UpstreamSection } from "./upstream-settings.ts";

/** What the upstream offers, from its last EHLO reply: upper-case keyword → parameters. */
export type Extensions = ReadonlyMap<string, string>;

export type UpstreamSession = {
  readonly connection: UpstreamConnection;
  readonly extensions: Extensions;
  readonly protection: Protection;
  /** Where its settings stand, for texts. */
  readonly section: UpstreamSection;
};

export type OpenedSession =
  | { readonly kind: "open"; readonly session: UpstreamSession }
  | { readonly kind: "unreachable"; readonly reply: string };

/**
 * Opens a session. Whatever goes wrong here says nothing about any message, so it is `unreachable` even when the upstream
 * answers 5xx: a wrong setting of ours must not bounce a user's mail. TLS is never weaker than `settings.tls` says; STARTTLS
 * that is offered and then fails never ends in clear (RFC 3207 6, RFC 7435 for unverified certificates).
 */
export async function openSession(
  settings: TimedSettings,
  trust: () => SecureContext,
  clock: Clock,
  signal: AbortSignal,
  onEnd: () => void,
): Promise<OpenedSession> {
  let connection: UpstreamConnection | undefined;
  try {
    const implicit = settings.tls === "implicit" ? tlsOptions(settings, trust()) : undefined;
    const at = { host: settings.host, port: settings.port, tls: implicit, withinMs: settings.timeouts.connectMs };
    connection = await UpstreamConnection.open(at, clock, signal, onEnd);
    return { kind: "open", session: await introduce(connection, settings, trust) };
  } catch (error) {
    const reply = explained(error, settings);
    connection?.fail(new ConnectionFault("lost", reply));
    return { kind: "unreachable", reply };
  }
}

async function introduce(
  connection: UpstreamConnection,
  settings: TimedSettings,
  trust: () => SecureContext,
): Promise<UpstreamSession> {
  const { timeouts, section } = settings;
  const greeting = await connection.reply(timeouts.greetingMs);
  if (greeting.code !== 220)
    throw new Unreachable(`greets with ${shownReply(greeting)}; see ${section}.host and ${section}.port`);
  let extensions = await sayHello(connection, settings);
  if (mustStartTls(settings, extensions)) {
    connection.command("STARTTLS");
    const reply = await connection.reply(timeouts.mailMs);
    if (reply.code !== 220)
      throw new Unreachable(
        `4.7.0 refuses STARTTLS with ${shownReply(reply)}; nothing is sent in clear, see ${section}.tls`,
      );
    await connection.secure(tlsOptions(settings, trust()), timeouts.connectMs);
    extensions = await sayHello(connection, settings);
  }
  const protection = protectionOf(connection);
  if (settings.auth) {
    const mechanisms = (extensions.get("AUTH") ?? "").toUpperCase().split(/\s+/);
    await logIn(connection, settings.auth, mechanisms, protection, timeouts.mailMs);
  }
  return { connection, extensions, protection, section };
}

function mustStartTls(settings: TimedSettings, extensions: Extensions): boolean {
  const isOffered = extensions.has("STARTTLS");
  switch (settings.tls) {
    case "off":
    case "implicit":
      return false;
    case "opportunistic":
      return isOffered;
    case "required":
      if (!isOffered)
        throw new Unreachable(
          `4.7.0 does not offer STARTTLS, but ${settings.section}.tls is required; nothing is sent in clear`,
        );
      return true;
  }
}

async function sayHello(connection: UpstreamConnection, settings: TimedSettings): Promise<Extensions> {
  connection.command(`EHLO ${settings.hostname}`);
  const reply = await connection.reply(settings.timeouts.mailMs);
  if (reply.code !== 250)
    throw new Unreachable(`answers EHLO with ${shownReply(reply)}; see hostname and ${settings.section}.host`);
  const extensions = new Map<string, string>();
  for (const line of reply.lines.slice(1)) {
    // AUTH=PLAIN: the spelling of servers older than RFC 2554
    const [, keyword = "", parameters = ""] = /^([A-Za-z0-9-]+)[ =]?(.*)$/.exec(line) ?? [];
    if (keyword !== "") extensions.set(keyword.toUpperCase(), parameters.trim());
  }
  return extensions;
}

function explained(error: unknown, { section, host, port }: TimedSettings): string {
  const name = `${serverName(section)} ${host}:${port}`;
  if (error instanceof Unreachable) return shownText(`${name} ${error.message}`);
  if (!(error instanceof ConnectionFault))
    return shownText(`${name}: ${error instanceof Error ? error.message : "fault"}`);
  const text = shownText(error.message);
  switch (error.kind) {
    case "tls":
      return `${name}: 4.7.5 no TLS: ${text}; nothing is sent in clear, see ${section}.tls and ${section}.ca`;
    case "closing":
      return `${name} is closing: ${text}`;
    case "late":
    case "lost":
    case "garbled":
      return `${name} cannot be reached: ${text}; see ${section}.host, ${section}.port and ${section}.tls`;
  }
}
