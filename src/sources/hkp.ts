// HKP key server: asks one server for the keys of an address (draft-gallagher-openpgp-hkp, as SKS and dirmngr speak it).
import { asError } from "../as-error.ts";
import { AnswerTooLarge } from "../http/http-fault.ts";
import type { HttpAnswer, HttpGet } from "../http/http-get.ts";
import { absent, failed } from "../keys/lookup.ts";
import type { PgpKey } from "../keys/recipient-key.ts";
import type { Answer, KeySource } from "../keys/source.ts";
import { spellingsOf, type Mailbox } from "../mail/address.ts";
import { keysInAnswer } from "./pgp-answer.ts";
import { withheldBy } from "./withheld.ts";

export type HkpSettings = {
  /** hkp, hkps, http or https; its path stands before `/pks/lookup`. */
  readonly url: string;
  readonly get: HttpGet;
  /** Domains in A-labels whose addresses may be sent; empty: all. */
  readonly onlyDomains: readonly string[];
  /** Called once for each request that holds an address. */
  readonly disclosed: () => void;
  readonly now: () => number;
};

const PORTS: Readonly<Record<string, { readonly scheme: string; readonly port: string }>> = {
  "hkp:": { scheme: "http", port: "11371" },
  "hkps:": { scheme: "https", port: "443" },
  "http:": { scheme: "http", port: "80" },
  "https:": { scheme: "https", port: "443" },
};
/** As dirmngr asks: a proxy on the way is to ask again. */
const FRESH = { "cache-control": "no-cache", pragma: "no-cache" };
/** No server can have it: the domain is reserved (RFC 2606 2). */
const NOBODY = "sealpost-verify@invalid";
const SETTING = "see pgp.keyServer.url";

/** An HKP server as a source. Throws a sentence when `url` is not an HKP server's. */
export function hkpKeyServer(settings: HkpSettings): KeySource<PgpKey> {
  const { get, onlyDomains, disclosed, now } = settings;
  const base = lookupUrl(settings.url);
  const withholds = (mailbox: Mailbox) => withheldBy("pgp.keyServer.onlyDomains", onlyDomains, mailbox);

  const ask = async (address: string, mailbox: Mailbox, signal: AbortSignal): Promise<Answer<PgpKey>> => {
    disclosed();
    const answer = await get(question(base, "get", address), signal, FRESH);
    if (answer.status === 404) return absent;
    if (answer.status !== 200) return failed(new Error(`${answerer(base)} answered ${answer.status}; ${SETTING}`));
    const read = await keysInAnswer(keyText(answer), mailbox, now());
    if (read.kind !== "failed") return read;
    return { ...read, cause: new Error(`${base.origin} ${read.cause.message}; ${SETTING}`) };
  };

  return {
    name: "keyserver",
    withholds,
    async find(mailbox, signal) {
      if (withholds(mailbox) !== undefined) return absent;
      let answer: Answer<PgpKey> = absent;
      try {
        for (const address of spellingsOf(mailbox)) {
          answer = await ask(address, mailbox, signal);
          if (answer.kind !== "absent") return answer;
        }
        return answer;
      } catch (cause) {
        return { ...failed(cause), ...(cause instanceof AnswerTooLarge ? { isOnlyHere: true } : {}) };
      }
    },
    probe: (signal) => probe(base, get, signal),
  };
}

/** Whether it is a key server: one that has no key for an address that cannot be, and perhaps tells of itself. */
async function probe(base: URL, get: HttpGet, signal: AbortSignal) {
  try {
    const stats = await get(question(base, "stats"), signal, FRESH);
    const { status } = await get(question(base, "get", NOBODY), signal, FRESH);
    if (status !== 404) {
      const what = `${answerer(base)} answered ${status} for an address that cannot exist, where a key server says 404`;
      return { ok: false, detail: `${what}; ${SETTING}` };
    }
    // those that tell nothing of themselves know at least that they were asked: 501, 400
    if (stats.status === 404) {
      const what = `${answerer(base)} answered 404 to everything, as a web server does that is no key server`;
      return { ok: false, detail: `${what}; ${SETTING}` };
    }
    return stats.status === 200
      ? { ok: true, detail: `${base.origin} is a key server` }
      : { ok: true, detail: `${base.origin} answers, but does not say that it is a key server (${stats.status})` };
  } catch (cause) {
    return { ok: false, detail: `${asError(cause).message}; ${SETTING}` };
  }
}

/** `hkp://host/prefix` → `http://host:11371/prefix/pks/lookup`. */
function lookupUrl(text: string): URL {
  const given = URL.parse(text);
  const known = given === null ? undefined : PORTS[given.protocol];
  if (given === null || known === undefined || given.hostname === "")
    throw new Error("pgp.keyServer.url must begin with hkps://, hkp://, https:// or http://");
  const prefix = given.pathname.replace(/\/+$/, "");
  return new URL(`${known.scheme}://${given.hostname}:${given.port || known.port}${prefix}/pks/lookup`);
}

/** Who may have given a status: in clear a proxy on the way may speak in the server's place. */
function answerer({ protocol, origin }: URL): string {
  return protocol === "http:" ? `${origin}, or a proxy before it,` : origin;
}

function question(base: URL, op: "get" | "stats", address?: string): URL {
  const url = new URL(base);
  // not URLSearchParams, which writes a blank as +: SKS would take the + of an address, written so, for a blank
  const search = address === undefined ? "" : `&search=${encodeURIComponent(address)}`;
  url.search = `?op=${op}&options=mr${search}`;
  return url;
}

/** Servers that do not heed options=mr put the armor into a page. */
function keyText({ contentType, body }: HttpAnswer): Buffer {
  if (contentType !== "text/html") return body;
  const text = body
    .toString("latin1")
    .replace(/<[^<>]*>/g, "\n")
    .replace(/&(?:#(\d{1,3})|#x([0-9a-f]{1,2})|(amp|lt|gt|quot|apos));/gi, (entity, decimal, hex, name) => {
      if (typeof decimal === "string") return String.fromCharCode(Number(decimal));
      if (typeof hex === "string") return String.fromCharCode(parseInt(hex, 16));
      return NAMED_ENTITIES[String(name).toLowerCase()] ?? entity;
    });
  return /^-----BEGIN PGP /m.test(text) ? Buffer.from(text, "latin1") : body;
}

const NAMED_ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
