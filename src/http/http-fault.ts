// HTTP fault: why there is no answer, in an operator's words; never the query of a URL, which holds an address.

/** There is no answer; the message is a whole sentence. */
export class HttpFault extends Error {}

/** The DNS says that there is no such host, or that it has no address (RFC 1034 4.3.1); not: that the DNS could not be asked. */
export class NoSuchHost extends HttpFault {
  constructor(host: string, cause: unknown) {
    super(`no such host ${host}`, { cause });
  }
}

/** The server answers well, but more than is read: a fault of this one answer. */
export class AnswerTooLarge extends HttpFault {}

/** What was asked: `proxy` is the one that may have been used, `lateAfterMs` is there when the time ran out. */
export type Asked = {
  readonly url: URL;
  readonly proxy: URL | undefined;
  readonly lateAfterMs: number | undefined;
};

/** What Node's TLS calls a certificate that does not verify: the names of X509_V_ERR_…, and its own for a wrong name. */
const CERTIFICATE_CODE =
  /^(?:UNABLE_TO_|CERT_|CRL_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_|PATH_LENGTH_|ERROR_IN_CERT_|HOSTNAME_MISMATCH|ERR_TLS_CERT_)/;
const CUT_CODES: ReadonlySet<string> = new Set([
  ...["ECONNRESET", "EPIPE", "UND_ERR_SOCKET", "UND_ERR_RES_CONTENT_LENGTH_MISMATCH", "UND_ERR_ABORTED"],
]);
const SLOW_CODES: ReadonlySet<string> = new Set([
  ...["ETIMEDOUT", "UND_ERR_CONNECT_TIMEOUT", "UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT"],
]);
const UNREACHABLE_CODES: ReadonlySet<string> = new Set(["EHOSTUNREACH", "ENETUNREACH", "EADDRNOTAVAIL", "EACCES"]);

/** `keys.example.com:11371`, the port always named. */
export function placeOf({ protocol, hostname, port }: URL): string {
  return `${hostname}:${port === "" ? (protocol === "https:" ? 443 : 80) : port}`;
}

/** Whatever went wrong while asking, as an HttpFault. */
export function httpFault(cause: unknown, asked: Asked): HttpFault {
  if (cause instanceof HttpFault) return cause;
  const place = placeOf(asked.url);
  const fault = (text: string) => new HttpFault(text, { cause });
  if (asked.lateAfterMs !== undefined)
    return fault(`time-out after ${asked.lateAfterMs} ms: no whole answer from ${place}`);
  const { code, message, name } = featuresOf(cause);
  const proxyWord = proxyFault(message, code, place, asked.proxy);
  if (proxyWord !== undefined) return fault(proxyWord);
  // undici calls its own aborts AbortError as well
  if (name === "TimeoutError" || name === "AbortError") return fault(`${place} did not answer before it was given up`);
  if (code === "ENOTFOUND" || code === "ENODATA") {
    const host = textAt(cause, "hostname") ?? asked.url.hostname;
    return host === asked.url.hostname ? new NoSuchHost(host, cause) : fault(`no such host ${host}, the proxy's`);
  }
  if (textAt(cause, "syscall") === "getaddrinfo")
    return fault(`the name ${textAt(cause, "hostname") ?? asked.url.hostname} cannot be resolved now (${code})`);
  const peer = peerOf(cause, asked);
  if (code === "ECONNREFUSED") return fault(`connection refused by ${peer}`);
  if (UNREACHABLE_CODES.has(code)) return fault(`no way to ${peer} (${code})`);
  if (SLOW_CODES.has(code)) return fault(`time-out: no connection to ${peer}`);
  if (CERTIFICATE_CODE.test(code))
    return fault(
      `the certificate of ${asked.url.hostname} is not trusted (${shown(message)}); see the ca setting or the system's CAs`,
    );
  if (code.startsWith("ERR_SSL_") || code === "EPROTO") return fault(`no TLS with ${peer} (${code})`);
  if (code === "UND_ERR_HEADERS_OVERFLOW") return fault(`${place} sent a header larger than is read`);
  if (name === "HTTPParserError") return fault(`${place} answered with something that is not HTTP`);
  if (CUT_CODES.has(code)) return fault(`connection cut by ${place}`);
  return fault(`no answer from ${place} (${code === "" ? name : code})`);
}

/** What a proxy said instead of passing the request on. */
function proxyFault(message: string, code: string, place: string, proxy: URL | undefined): string | undefined {
  if (proxy === undefined) return undefined;
  const named = `the proxy ${placeOf(proxy)}`;
  const status = /^Proxy response \((\d{3})\)/.exec(message)?.[1];
  // 401 is tinyproxy's word for a wrong password
  if (status === "407" || status === "401" || message.startsWith("Proxy Authentication Required"))
    return `${named} wants another user name and password (${status ?? 407}); see HTTP_PROXY and HTTPS_PROXY in the environment`;
  if (status !== undefined) return `${named} refused to connect to ${place} (${status})`;
  if (code === "UND_ERR_PRX_TLS") return `the certificate of ${named} is not trusted; see the system's CAs`;
  return code === "UND_ERR_PRX_CONN" ? `connection cut by ${named}` : undefined;
}

function peerOf(cause: unknown, { url, proxy }: Asked): string {
  const port = textAt(cause, "port");
  const isProxys =
    proxy !== undefined && placeOf(proxy).endsWith(`:${port ?? ""}`) && !placeOf(url).endsWith(`:${port ?? ""}`);
  return isProxys ? `the proxy ${placeOf(proxy)}` : placeOf(url);
}

function featuresOf(cause: unknown) {
  const isError = cause instanceof Error;
  return {
    code: textAt(cause, "code") ?? "",
    message: isError ? cause.message : "",
    name: isError ? cause.name : "fault",
  };
}

/** A property as text; of an AggregateError, whose addresses failed one by one, the first one's. */
function textAt(cause: unknown, property: string): string | undefined {
  if (typeof cause !== "object" || cause === null) return undefined;
  const value: unknown = Reflect.get(cause, property);
  if (typeof value === "string" || typeof value === "number") return String(value);
  return cause instanceof AggregateError ? textAt(cause.errors[0], property) : undefined;
}

/** Names in a certificate are a stranger's words. */
function shown(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, 200);
}
