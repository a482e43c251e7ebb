// Places: host names, listen addresses, networks, URLs and mail addresses as the configuration file writes them.
import { isIP, isIPv4, isIPv6 } from "node:net";
import { domainToASCII } from "node:url";
import { parseMailbox } from "../mail/address.ts";
import { FilePath } from "./files.ts";
import { textLeaf, Wrong } from "./leaf.ts";

/** Where a server listens; `host` is an IP address without brackets, port 0 lets the system pick one. */
export type Listen = { readonly host: string; readonly port: number };

const asIs = (text: string) => text;
const HOST_NAME =
  /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/i;

/** Whether this is a host name (RFC 1123, underscores let through as in many an intranet) in ASCII. */
export function isHostName(text: string): boolean {
  return HOST_NAME.test(text);
}

/** A host name (A-labels) or IP address, without scheme, port or brackets. */
export function host() {
  return textLeaf<string>(
    "a host name or IP address",
    { pattern: "^[^/\\s]+$" },
    (text) => {
      const [, bare] = /^[a-z][a-z0-9+.-]*:\/\/([^/:?#]*)/i.exec(text) ?? [];
      if (bare !== undefined) return new Wrong(`host without scheme; write \`${bare}\` and set tls`);
      if (isIP(text) !== 0) return text;
      if (/^(?:[^:]+|\[.*\]):\d+$/.test(text)) return new Wrong("host without port; the port is a setting of its own");
      const ascii = isHostName(text) ? text : domainToASCII(text);
      return isHostName(ascii) ? ascii : new Wrong(`must be a host name or IP address, not ${JSON.stringify(text)}`);
    },
    asIs,
  );
}

/** `127.0.0.1:2525` or `[::1]:2525`. */
export function listen() {
  const allowed = "an address and port such as 127.0.0.1:2525 or [::1]:2525";
  return textLeaf<Listen>(
    allowed,
    { pattern: "^([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$" },
    (text) => {
      const [, v6, v4, digits] = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text) ?? [];
      const port = Number(digits);
      if (v6 !== undefined && isIPv6(v6) && port <= 65_535) return { host: v6, port };
      if (v4 !== undefined && isIPv4(v4) && port <= 65_535) return { host: v4, port };
      return new Wrong(`must be ${allowed}, not ${JSON.stringify(text)}`);
    },
    ({ host, port }) => (isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`),
  );
}

/** Whether only this machine can reach a listener on this address. */
export function isLoopback({ host }: Listen): boolean {
  return host.startsWith("127.") || host === "::1";
}

/** A network in CIDR notation. */
export function network() {
  const allowed = 'a network such as 10.0.0.0/8 or "fd00::/8"';
  return textLeaf<string>(
    allowed,
    { pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$" },
    (text) => {
      const [, address = "", digits] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
      const longest = isIPv4(address) ? 32 : isIPv6(address) ? 128 : -1;
      return Number(digits) <= longest ? text : new Wrong(`must be ${allowed}, not ${JSON.stringify(text)}`);
    },
    asIs,
  );
}

/** A URL of one of these schemes. A password in it is refused: it would be shown wherever the URL is. */
export function url(schemes: readonly string[], example: string, { mayBeEmpty = false, mayNameUser = false } = {}) {
  const pattern = `^((${schemes.join("|")})://\\S+)${mayBeEmpty ? "?" : ""}$`;
  return textLeaf<string>(
    `a URL such as ${example}`,
    { pattern },
    (text) => {
      if (mayBeEmpty && text === "") return text;
      const parsed = URL.parse(text);
      if (parsed !== null && (parsed.password !== "" || (parsed.username !== "" && !mayNameUser)))
        return new Wrong("must hold no user name or password");
      const isKnown = parsed !== null && schemes.includes(parsed.protocol.slice(0, -1)) && parsed.host !== "";
      return isKnown && /^[a-z]+:\/\//i.test(text)
        ? text
        : new Wrong(
            `must be a URL that begins with ${schemes.map((one) => `${one}://`).join(" or ")}, such as ${example}`,
          );
    },
    asIs,
  );
}

/** A file of a revocation list, or its http(s) URL; the file is looked up from the folder of the configuration. */
export function listPlace() {
  const allowed = "a file name or an http:// or https:// URL";
  return textLeaf<string | FilePath>(
    allowed,
    { minLength: 1 },
    (text) => {
      if (text === "" || text.includes("\0")) return new Wrong(`must be ${allowed}`);
      if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return new FilePath("other", text);
      const parsed = URL.parse(text);
      const isWeb = parsed !== null && ["http:", "https:"].includes(parsed.protocol) && parsed.host !== "";
      return isWeb && parsed.username + parsed.password === "" ? text : new Wrong(`must be ${allowed}`);
    },
    (value) => (value instanceof FilePath ? value.path : value),
  );
}

/** `sqlite`, or the URL of a PostgreSQL database without a password in it. */
export function database() {
  const allowed = "sqlite or a URL such as postgres://user@db.example.com:5432/sealpost";
  return textLeaf<string>(
    allowed,
    { pattern: "^(sqlite|postgres(ql)?://\\S+)$" },
    (text) => {
      if (text === "sqlite") return text;
      const parsed = URL.parse(text);
      if (parsed !== null && parsed.password !== "")
        return new Wrong("must hold no password; put it into a file and name that in databasePasswordFile");
      const isPostgres = parsed !== null && ["postgres:", "postgresql:"].includes(parsed.protocol);
      return isPostgres && parsed.host !== "" && parsed.pathname.length > 1 ? text : new Wrong(`must be ${allowed}`);
    },
    asIs,
  );
}

/** `env`, `none` or the URL of an HTTP proxy. */
export function proxy() {
  const allowed = "env, none or a URL such as http://proxy.example.com:3128";
  return textLeaf<string>(
    allowed,
    { pattern: "^(env|none|https?://\\S+)$" },
    (text) => {
      if (text === "env" || text === "none") return text;
      const parsed = URL.parse(text);
      if (parsed !== null && parsed.username + parsed.password !== "")
        return new Wrong("must hold no user name or password; write env and give them in HTTPS_PROXY");
      return parsed !== null && ["http:", "https:"].includes(parsed.protocol) ? text : new Wrong(`must be ${allowed}`);
    },
    asIs,
  );
}

/** An address or `@domain`, in the canonical form that RCPT is compared with: `key` of Mailbox, or `@` and A-labels. */
export function addressOrDomain() {
  return textLeaf<string>(
    "an address or @domain",
    { pattern: "^[^@\\s]*@[^@\\s]+$" },
    (text) => {
      const parsed = parseMailbox(text.startsWith("@") ? `postmaster${text}` : text);
      if ("fault" in parsed)
        return new Wrong(`must be an address or @domain, not ${JSON.stringify(text)}: ${parsed.fault.text}`);
      return text.startsWith("@") ? `@${parsed.mailbox.domain}` : parsed.mailbox.key;
    },
    asIs,
  );
}

/** A bare domain in A-labels. */
export function domain() {
  return textLeaf<string>(
    "a domain",
    { pattern: "^[^@\\s]+$" },
    (text) => {
      const parsed = parseMailbox(`postmaster@${text}`);
      return "mailbox" in parsed ? parsed.mailbox.domain : new Wrong(`must be a domain, not ${JSON.stringify(text)}`);
    },
    asIs,
  );
}

/** An address in which `*` stands for any run of characters; a pattern without `@` can match nothing and is refused. */
export function addressPattern() {
  return textLeaf<string>(
    'an address with * for anything, such as "*@internal.example.com"',
    { pattern: "^[^@\\s]*@[^@\\s]+$" },
    (text) => {
      const at = text.indexOf("@");
      if (/^[^@\s]+@[^@\s]+$/.test(text)) return `${text.slice(0, at)}@${asciiDomainPattern(text.slice(at + 1))}`;
      return new Wrong(
        at === 0
          ? `needs a local part; write "*${text}"`
          : `must be an address with * for anything, such as "*@internal.example.com", not ${JSON.stringify(text)}`,
      );
    },
    asIs,
  );
}

// recipients are compared in A-labels; a label that holds a * is left as it is
function asciiDomainPattern(pattern: string): string {
  return pattern
    .split(".")
    .map((label) => (label.includes("*") ? label : domainToASCII(label) || label))
    .join(".");
}
