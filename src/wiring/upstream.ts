// The upstream section of the settings, as the sender wants it.
import { readFileSync } from "node:fs";
import type { Settings } from "../config/schema.ts";
import { Secret } from "../secret.ts";
import type { UpstreamSettings } from "../smtp/sender.ts";

/** Reads the CA file now and a token file afresh for each login, for tokens are short-lived. */
export function upstreamSettings({ upstream, hostname }: Settings): UpstreamSettings {
  const { host, port, tls, ca, connections } = upstream;
  return {
    section: "upstream",
    host,
    port,
    tls,
    ca: ca === null ? undefined : readFileSync(ca, "utf8"),
    hostname,
    auth: authOf(upstream),
    connections,
  };
}

/** Where incoming mail is passed on to; undefined when it is not. */
export function nextHopSettings({ inbound, hostname, upstream }: Settings): UpstreamSettings | undefined {
  if (inbound === null || inbound.forward === "none") return undefined;
  const { host, port, tls, ca } = inbound.forward;
  return {
    ...{ host, port, tls, hostname, auth: undefined, connections: upstream.connections },
    section: "inbound.forward",
    ca: ca === null ? undefined : readFileSync(ca, "utf8"),
  };
}

function authOf({ user, password, tokenFile }: Settings["upstream"]): UpstreamSettings["auth"] {
  if (user === null) return undefined;
  if (tokenFile !== null)
    return { user, token: () => Promise.resolve(new Secret(readFileSync(tokenFile, "utf8").trim())) };
  return password === null ? undefined : { user, password };
}
