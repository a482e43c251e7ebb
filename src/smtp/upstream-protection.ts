// TLS towards the upstream: what must be trusted, and how well a connection turned out to be protected.
import { isIP } from "node:net";
import { type ConnectionOptions, type SecureContext } from "node:tls";
import type { UpstreamConnection } from "./upstream-connection.ts";
import { shownText } from "./upstream-reply.ts";
import type { UpstreamSettings } from "./upstream-settings.ts";
import { holdsCertificate, systemTrust, trustIn } from "../tls-trust.ts";

/** How well the way to the upstream is protected. `why` says what an unverified certificate lacks. */
export type Protection =
  | { readonly kind: "clear" }
  | { readonly kind: "unverified"; readonly protocol: string; readonly why: string }
  | { readonly kind: "verified"; readonly protocol: string };

/** Why no session comes about: a sentence for the log, with the setting that mends it. */
export class Unreachable extends Error {}

/** The authorities that certificates must lead to. */
export function trustOf({ ca, section }: Pick<UpstreamSettings, "ca" | "section">): SecureContext {
  if (ca !== undefined) {
    if (!holdsCertificate(ca)) throw new Error(`${section}.ca: holds no certificate in PEM`);
    return trustIn([ca]);
  }
  return systemTrust();
}

/** How TLS is to be made by these settings. */
export function tlsOptions(settings: UpstreamSettings, trust: SecureContext): ConnectionOptions {
  const { host } = settings;
  return {
    host,
    // an address may not stand in SNI (RFC 6066 3)
    ...(isIP(host) === 0 && { servername: host }),
    secureContext: trust,
    rejectUnauthorized: settings.tls !== "opportunistic" || settings.ca !== undefined,
  };
}

export function protectionOf(connection: UpstreamConnection): Protection {
  const socket = connection.tlsSocket;
  if (!socket) return { kind: "clear" };
  const protocol = socket.getProtocol() ?? "TLS";
  if (socket.authorized) return { kind: "verified", protocol };
  return { kind: "unverified", protocol, why: shownText(String(socket.authorizationError)) };
}
