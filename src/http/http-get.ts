// HTTP GET with bounds: one request to one server, so much time, so many bytes, redirects only within the same origin.
import type { Dispatcher } from "undici";
import { AnswerTooLarge, HttpFault, httpFault, placeOf } from "./http-fault.ts";
import { isPublicHostName, type AddressLookup } from "./public-address.ts";
import { createDispatcher, proxyRoute, undici, type Undici } from "./route.ts";

/** Whole body; `contentType` without parameters, lower case, "" when there is none. */
export type HttpAnswer = { readonly status: number; readonly contentType: string; readonly body: Buffer };

/** Rejects with a sentence in an operator's words when there is no answer that may be believed. */
export type HttpGet = (
  url: URL,
  signal: AbortSignal,
  headers?: Readonly<Record<string, string>>,
) => Promise<HttpAnswer>;

export type HttpGetOptions = {
  /**
   * "none"; the URL of a proxy, which is then used for every host; or "env": HTTPS_PROXY (HTTP_PROXY when there is none) and
   * HTTP_PROXY of `env`, in lower case first, with user name and password in the URL where the proxy wants them. NO_PROXY holds
   * host names and IP addresses, each perhaps with `:port`, divided by commas or blanks: `corp.example` and `.corp.example` mean
   * it and all below it, `*.corp.example` only what is below, `*` all. Networks (10.0.0.0/8) are not understood.
   */
  readonly proxy: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** PEM; undefined: the system's CAs. */
  readonly ca?: string | undefined;
  /** Only names of the public DNS are connected to, and only when all their addresses are public ones. Not through a proxy. */
  readonly publicOnly?: boolean;
  /** Largest body, in octets. */
  readonly maxBytes?: number;
  /** For all of it: connecting, redirects, the last octet of the body. */
  readonly deadlineMs?: number;
  /** Instead of the system's resolver. */
  readonly lookup?: AddressLookup;
};

const DEADLINE_MS = 5_000;
const MAX_BODY_BYTES = 1024 * 1024;
const MAX_HOPS = 2;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** What a redirecting answer may hold and the connection be used again. */
const MAX_DUMPED_BYTES = 16 * 1024;

/**
 * Makes a GET whose connections are kept and used again. Every status but 407 is an answer, for the caller to judge; who accepts
 * only 200 and 404 takes no proxy's own 500 to 504 for a server's word. A body in any content-encoding is refused: the octets
 * counted are the octets there are. Throws when a proxy's URL cannot be used.
 */
export function httpGet(options: HttpGetOptions): HttpGet & { close(): Promise<void> } {
  const { maxBytes = MAX_BODY_BYTES, deadlineMs = DEADLINE_MS, publicOnly = false } = options;
  const route = proxyRoute(options.proxy, options.env ?? process.env);
  if (publicOnly && route.kind !== "none")
    throw new Error("a proxy resolves names itself: publicOnly needs proxy none");
  let dispatcher: Dispatcher | undefined;
  let isClosed = false;

  const get: HttpGet = async (url, signal, headers = {}) => {
    const late = AbortSignal.timeout(deadlineMs);
    const proxy = route.proxyFor(url);
    try {
      const library = await undici();
      if (isClosed) throw new HttpFault(`${placeOf(url)} is not asked: the relay is stopping`);
      if (publicOnly && !isPublicHostName(url.hostname))
        throw new HttpFault(`${url.hostname} is not the name of a host in the public DNS`);
      dispatcher ??= createDispatcher(library, route, { ...options, publicOnly, deadlineMs });
      const asked = { accept: "*/*", "user-agent": "Sealpost", ...headers, "accept-encoding": "identity" };
      const either = AbortSignal.any([signal, late]);
      const { request } = library;
      return await follow(url, { request, dispatcher, signal: either, headers: asked, maxBytes });
    } catch (cause) {
      throw httpFault(cause, { url, proxy, lateAfterMs: late.aborted && !signal.aborted ? deadlineMs : undefined });
    }
  };
  const close = async () => {
    isClosed = true;
    await dispatcher?.destroy();
  };
  return Object.assign(get, { close });
}

type Asking = {
  readonly request: Undici["request"];
  readonly dispatcher: Dispatcher;
  readonly signal: AbortSignal;
  readonly headers: Readonly<Record<string, string>>;
  readonly maxBytes: number;
};

async function follow(first: URL, asking: Asking): Promise<HttpAnswer> {
  const { request, dispatcher, signal, headers, maxBytes } = asking;
  let url = first;
  for (let hops = 0; ; hops++) {
    const answer = await request(url, { dispatcher, signal, headers });
    if (!REDIRECTS.has(answer.statusCode)) return whole(url, answer, maxBytes);
    const { location } = answer.headers;
    await answer.body.dump({ limit: MAX_DUMPED_BYTES, signal });
    url = nextPlace(url, location, hops);
  }
}

function nextPlace(url: URL, location: string | string[] | undefined, hops: number): URL {
  const next = typeof location === "string" ? URL.parse(location, url) : null;
  if (next === null) throw new HttpFault(`${placeOf(url)} redirects without saying where to`);
  if (next.origin !== url.origin) {
    // an opaque origin prints as null; a place as much as is to be said of it
    const where = next.origin === "null" ? `a ${next.protocol} URL` : next.origin;
    throw new HttpFault(`${placeOf(url)} redirects to ${where}; redirects to another server are not followed`);
  }
  if (hops >= MAX_HOPS) throw new HttpFault(`${placeOf(url)} redirects more than ${MAX_HOPS} times`);
  return next;
}

async function whole(url: URL, answer: Dispatcher.ResponseData, maxBytes: number): Promise<HttpAnswer> {
  const { statusCode: status, headers, body } = answer;
  const refuse = (text: string, Fault = HttpFault) => {
    // destroying a body that nobody reads is an error of its own
    body.on("error", () => undefined).destroy();
    return new Fault(text);
  };
  if (status === 407) throw refuse(`${placeOf(url)} answered 407, as only a proxy may`);
  const encoding = String(headers["content-encoding"] ?? "identity").trim();
  if (!/^(?:identity)?$/i.test(encoding))
    throw refuse(`${placeOf(url)} answered in a content-encoding, which was not asked for`);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw refuse(`${placeOf(url)} sent an answer larger than ${maxBytes} bytes`, AnswerTooLarge);
    chunks.push(chunk);
  }
  const [type] = [headers["content-type"] ?? ""].flat();
  const contentType = (type ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  return { status, contentType, body: Buffer.concat(chunks, bytes) };
}
