// Web Key Directory: asks the domain of an address for its key (draft-koch-openpgp-webkey-service 3.1).
import { createHash } from "node:crypto";
import type { HttpGet } from "../http/http-get.ts";
import { AnswerTooLarge, NoSuchHost } from "../http/http-fault.ts";
import { isPublicHostName } from "../http/public-address.ts";
import { absent, failed } from "../keys/lookup.ts";
import type { PgpKey } from "../keys/recipient-key.ts";
import type { Answer, KeySource } from "../keys/source.ts";
import type { Mailbox } from "../mail/address.ts";
import { keysInAnswer } from "./pgp-answer.ts";

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
  const withholds = ({ domain }: Mailbox) => {
    if (!isPublicHostName(domain)) return `${domain} is no domain of the public DNS, which pgp.wkd needs`;
    if (onlyDomains.length === 0 || onlyDomains.includes(domain)) return undefined;
    return `${domain} is not one of the domains that pgp.wkd may ask`;
  };

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
    probe: () => Promise.resolve({ ok: true, detail: "there is no one server to try: each domain has its own" }),
  };
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
