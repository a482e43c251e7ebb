// Route: by which proxy, if any, requests leave, and undici's dispatcher that sends them so.
import type { Dispatcher } from "undici";
import { systemAuthorities, systemTrust, trustIn } from "../tls-trust.ts";
import { publicAddresses, systemLookup, type AddressLookup } from "./public-address.ts";

export type Route =
  | { readonly kind: "none"; proxyFor(url: URL): undefined }
  | { readonly kind: "fixed"; readonly proxy: URL; proxyFor(url: URL): URL }
  | {
      readonly kind: "env";
      readonly httpProxy: URL | undefined;
      readonly httpsProxy: URL | undefined;
      readonly noProxy: string;
      /** The proxy for such a URL, unless NO_PROXY excepts its host. */
      proxyFor(url: URL): URL | undefined;
    };

type Connecting = {
  readonly ca?: string | undefined;
  readonly publicOnly: boolean;
  readonly deadlineMs: number;
  readonly lookup?: AddressLookup;
};

const CONNECTIONS = 16;
const MAX_HEADER_BYTES = 16 * 1024;
const KEEP_ALIVE_MS = 4_000;

/** Reads a proxy setting: "none", "env" or a URL. Throws a sentence naming the setting or variable when it is no proxy's URL. */
export function proxyRoute(proxy: string, env: Readonly<Record<string, string | undefined>>): Route {
  if (proxy === "none") return { kind: "none", proxyFor: () => undefined };
  if (proxy !== "env") {
    const fixed = proxyUrl(proxy, "the proxy setting");
    return { kind: "fixed", proxy: fixed, proxyFor: () => fixed };
  }
  const fromEnv = (name: string) => {
    const value = (env[name.toLowerCase()] ?? env[name] ?? "").trim();
    return value === "" ? undefined : proxyUrl(value, name);
  };
  const httpProxy = fromEnv("HTTP_PROXY");
  const httpsProxy = fromEnv("HTTPS_PROXY") ?? httpProxy;
  const noProxy = env["no_proxy"] ?? env["NO_PROXY"] ?? "";
  const proxyFor = ({ protocol }: URL) => (protocol === "https:" ? httpsProxy : httpProxy);
  return { kind: "env", httpProxy, httpsProxy, noProxy, proxyFor };
}

/** Loaded with the first request: a relay that asks nobody by HTTP does without it. */
export const undici = () => import("undici");
export type Undici = Awaited<ReturnType<typeof undici>>;

/** A dispatcher that keeps connections; `destroy` ends them all. */
export function createDispatcher(
  { Agent, EnvHttpProxyAgent, ProxyAgent }: Undici,
  route: Route,
  connecting: Connecting,
): Dispatcher {
  const { ca, publicOnly, deadlineMs, lookup = systemLookup } = connecting;
  const timeout = deadlineMs;
  const requestTls = { timeout, secureContext: ca === undefined ? systemTrust() : trustIn([ca]) };
  const common = {
    ...{ connections: CONNECTIONS, pipelining: 1, allowH2: false, maxHeaderSize: MAX_HEADER_BYTES },
    ...{ headersTimeout: deadlineMs, bodyTimeout: deadlineMs, keepAliveTimeout: KEEP_ALIVE_MS },
    connect: { ...requestTls, lookup: publicOnly ? publicAddresses(lookup) : lookup },
  };
  if (route.kind === "none") return new Agent(common);
  // a proxy of the house may have a certificate of the house as well as one of the world
  const proxyTls = { timeout, secureContext: ca === undefined ? systemTrust() : trustIn([...systemAuthorities(), ca]) };
  const proxied = { ...common, connectTimeout: timeout, requestTls, proxyTls };
  if (route.kind === "fixed") return new ProxyAgent({ ...proxied, uri: route.proxy.href });
  // undici reads the process's own environment for what is undefined here
  const { httpProxy, httpsProxy, noProxy } = route;
  return new EnvHttpProxyAgent({
    ...proxied,
    ...{ httpProxy: httpProxy?.href ?? "", httpsProxy: httpsProxy?.href ?? "", noProxy },
  });
}

/** Like other programs, `proxy:3128` is taken for `http://proxy:3128`. The text is never shown: it may hold a password. */
function proxyUrl(text: string, where: string): URL {
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  if (url === null || !["http:", "https:"].includes(url.protocol))
    throw new Error(`${where} must be the URL of an HTTP proxy such as http://proxy.example.com:3128`);
  return url;
}
