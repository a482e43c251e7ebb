// The upstream section of the settings, as the sender wants it.
import { readFileSync } from "node:fs";
import type { Settings } from "../config/schema.ts";
import { Secret } from "../secret.ts";
import type { UpstreamSettings } from "../smtp/sender.ts";

/** So many of the upstream's connections one recipient leaves to others. */
const SPARE_CONNECTIONS = 2;

/** The same as data, which another thread can be given: with the password in clear, so it is not for showing. */
export type UpstreamData = Omit<UpstreamSettings, "auth"> & {
  readonly connectionsEach: number;
  readonly login:
    ({ readonly user: string } & ({ readonly password: string } | { readonly tokenFile: string })) | undefined;
};

/** Reads the CA file now. */
export function upstreamData({ upstream, hostname }: Settings): UpstreamData {
  const { host, port, tls, ca, connections } = upstream;
  return {
    ...{ host, port, tls, hostname, connections, section: "upstream", login: loginOf(upstream) },
    ca: ca === null ? undefined : readFileSync(ca, "utf8"),
    connectionsEach: Math.max(1, connections - SPARE_CONNECTIONS),
  };
}

/** A token file is read afresh for each login, for tokens are short-lived. */
export function upstreamSettings({ login, ...rest }: UpstreamData): UpstreamSettings {
  if (login === undefined) return { ...rest, auth: undefined };
  const { user } = login;
  const token = (file: string) => Promise.resolve(new Secret(readFileSync(file, "utf8").trim()));
  const auth =
    "tokenFile" in login
      ? { user, token: () => token(login.tokenFile) }
      : { user, password: new Secret(login.password) };
  return { ...rest, auth };
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

function loginOf({ user, password, tokenFile }: Settings["upstream"]): UpstreamData["login"] {
  if (user === null) return undefined;
  if (tokenFile !== null) return { user, tokenFile };
  return password === null ? undefined : { user, password: password.reveal() };
}
