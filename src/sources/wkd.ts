// Web Key Directory: asks the domain of an address for its key (draft-koch-openpgp-webkey-service 3.1).
import { createHash } from "node:crypto";
import { asError } from "../as-error.ts";
import type { HttpGet } from "../http/http-get.ts";
import { AnswerTooLarge, NoSuchHost } from "../http/http-fault.ts";
import { isPublicHostName } from "../http/public-address.ts";
import { absent, failed } from "../keys/lookup.ts";
import type { PgpKey } from "../keys/recipient-key.ts";
import type { Answer, KeySource, Probe } from "../keys/source.ts";
import type { Mailbox } from "../mail/address.ts";
import { keysInAnswer } from "./pgp-answer.ts";
import { withheldBy } from "./withheld.ts";

export type WkdSettings = {
  /** To be made with publicOnly and without a proxy: strangers' domains say where it connects to. */
  readonly get: HttpGet;
  /** Domains in A-labels that may be asked; empty: all. */
  readonly onlyDomains: readonly string[];
  /** Called once for each request, which holds the local part. */
  readonly disclosed: () => void;
  readonly now: () => number;
};

/** The directories of the recipients' own domains as one source. */
export function webKeyDirectory({ get, onlyDomains, disclosed, now }: WkdSettings): KeySource<PgpKey> {
  const withholds = (mailbox: Mailbox) =>
    isPublicHostName(mailbox.domain)
      ? withheldBy("pgp.wkdOnlyDomains", onlyDomains, mailbox)
      : `${mailbox.domain} is no domain of the public DNS, which pgp.wkd needs`;

  const ask = async (url: URL, mailbox: Mailbox, signal: AbortSignal): Promise<Answer<PgpKey>> => {
    disclosed();
    const { status, body } = await get(url, signal);
    if (status === 404) return absent;
    if (status !== 200) return failed(new Error(`${url.hostname} answered ${status}`));
    const read = await keysInAnswer(body, mailbox, now());
    return read.kind === "failed" ? { ...read, cause: new Error(`${url.hostname} ${read.cause.message}`) } : read;
  };

  return {
    name: "wkd",
    hasManyServers: true,
    withholds,
    async find(mailbox, signal) {
      if (withholds(mailbox) !== undefined) return absent;
      try {
        return await ask(advancedUrl(mailbox), mailbox, signal);
      } catch (cause) {
        // the direct method is only for domains without the host name of the advanced one
        if (!(cause instanceof NoSuchHost)) return failure(cause);
      }
      try {
        return await ask(directUrl(mailbox), mailbox, signal);
      } catch (cause) {
        // a domain without an address has no directory
        return cause instanceof NoSuchHost ? absent : failure(cause);
      }
    },
    probe: (signal) => probe(get, onlyDomains, signal),
  };
}

/** Asks the directories that are named for their policy, in which is nobody's address. */
async function probe(get: HttpGet, domains: readonly string[], signal: AbortSignal): Promise<Probe> {
  if (domains.length === 0)
    return {
      ok: true,
      detail: "nothing was asked, for each domain has a server of its own; those in pgp.wkdOnlyDomains would be",
    };
  const states = await Promise.all(domains.map((domain) => stateOf(get, domain, signal)));
  const faults = states.filter(({ ok }) => !ok);
  const shown = faults.length > 0 ? faults : states;
  return { ok: faults.length === 0, detail: shown.map(({ detail }) => detail).join("; ") };
}

/** Judges the directory of one domain as a look-up would: 404, or no such host, is an answer. */
async function stateOf(get: HttpGet, domain: string, signal: AbortSignal): Promise<Probe> {
  for (const [host, folder] of [
    [`openpgpkey.${domain}`, `${domain}/`],
    [domain, ""],
  ] as const) {
    try {
      const { status } = await get(new URL(`https://${host}/.well-known/openpgpkey/${folder}policy`), signal);
      if (status === 200) return { ok: true, detail: `${host} has a directory` };
      if (status === 404) return { ok: true, detail: `${host} answers, and shows no directory` };
      return { ok: false, detail: `${host} answered ${status}; see pgp.wkdOnlyDomains` };
    } catch (cause) {
      if (!(cause instanceof NoSuchHost))
        return { ok: false, detail: `${asError(cause).message}; see pgp.wkdOnlyDomains` };
    }
  }
  return { ok: true, detail: `${domain} has no web server, so no directory` };
}

function failure(cause: unknown): Answer<PgpKey> {
  return { ...failed(cause), ...(cause instanceof AnswerTooLarge ? { isOnlyHere: true } : {}) };
}

function advancedUrl({ local, domain }: Mailbox): URL {
  return directoryUrl(`openpgpkey.${domain}`, `${domain}/`, local);
}

function directUrl({ local, domain }: Mailbox): URL {
  return directoryUrl(domain, "", local);
}

function directoryUrl(host: string, folder: string, local: string): URL {
  const path = `/.well-known/openpgpkey/${folder}hu/${wkdHash(local)}`;
  return new URL(`https://${host}${path}?l=${encodeURIComponent(local)}`);
}

/** Z-base-32 of the SHA-1 of the local part, of which only ASCII letters are made lower case: 32 characters. */
function wkdHash(local: string): string {
  const lowered = local.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  return zBase32(createHash("sha1").update(lowered, "utf8").digest());
}

const Z_BASE_32 = "ybndrfg8ejkmcpqxot1uwisza345h769";

/** RFC 6189 5.1.6, of a whole number of 5-bit groups. */
function zBase32(bytes: Buffer): string {
  let text = "";
  for (let bit = 0; bit < bytes.length * 8; bit += 5) {
    const pair = (bytes[bit >>> 3] ?? 0) * 256 + (bytes[(bit >>> 3) + 1] ?? 0);
    text += Z_BASE_32[(pair >>> (11 - (bit & 7))) & 31] ?? "";
  }
  return text;
}
