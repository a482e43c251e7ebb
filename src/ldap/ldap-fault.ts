// LDAP fault: why an answer of a directory cannot be had, in an operator's words, with the setting that mends it.
import { asError } from "../as-error.ts";
import type { LdapResult } from "./ldap-reply.ts";
import type { LdapEntry, LdapSettings } from "./ldap-directory.ts";

export type LdapFaultKind =
  "unreachable" | "untrusted" | "refused" | "no-such-base" | "too-much" | "referral" | "time-out" | "cut" | "other";

type Reason = {
  /** The setting beside `host` that mends it, e.g. `ca`. */
  readonly setting?: keyof LdapSettings | "passwordFile" | "baseDn" | "filter";
  readonly cause?: unknown;
  /** What came before the fault: with `referral`, the entries of this server's own part of the directory. */
  readonly entries?: readonly LdapEntry[];
  /** Whether it lies in what was searched for, and the server serves well whoever searches for something else. */
  readonly isOnlyHere?: boolean;
};

/** `cut` alone says nothing of the directory: the connection ended, another may do better. */
export class LdapFault extends Error {
  readonly kind: LdapFaultKind;
  readonly setting: Reason["setting"];
  readonly entries: readonly LdapEntry[];
  readonly isOnlyHere: boolean;

  constructor(kind: LdapFaultKind, message: string, reason: Reason = {}) {
    super(message, { cause: reason.cause });
    this.kind = kind;
    this.setting = reason.setting;
    this.entries = reason.entries ?? [];
    this.isOnlyHere = reason.isOnlyHere ?? false;
  }
}

/** The fault in words, with the setting below `settingName` that mends it; `names` are those that are called otherwise there. */
export function faultOf(cause: unknown, settingName: string, names: Readonly<Record<string, string>> = {}): Error {
  const fault = asError(cause);
  if (!(fault instanceof LdapFault) || fault.setting === undefined) return fault;
  return new Error(`${fault.message}; see ${settingName}.${names[fault.setting] ?? fault.setting}`, { cause: fault });
}

/** `host:port`, for texts. */
export function serverOf({ host, port }: Pick<LdapSettings, "host" | "port">): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Why no connection or no TLS came about; `cause` is what the socket says. */
export function socketFault(cause: unknown, settings: LdapSettings, isInTls: boolean): LdapFault {
  if (cause instanceof LdapFault) return cause;
  const error: Error & { code?: unknown } = asError(cause);
  const code = String(error.code);
  const server = serverOf(settings);
  if (isInTls) return tlsFault(error, code, settings);
  const at = { setting: "host", cause } as const;
  switch (code) {
    case "ECONNREFUSED":
      return new LdapFault("unreachable", `connection refused by ${server}`, { setting: "port", cause });
    case "ENOTFOUND":
      return new LdapFault("unreachable", `no such host ${settings.host}`, at);
    case "EAI_AGAIN":
      return new LdapFault("unreachable", `the name of host ${settings.host} cannot be resolved now`, at);
    default:
      return new LdapFault("unreachable", `no connection to ${server}: ${shown(error.message)}`, at);
  }
}

function tlsFault(error: Error, code: string, settings: LdapSettings): LdapFault {
  const { host } = settings;
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return new LdapFault("untrusted", `certificate of ${host} is for another name`, { setting: "host", cause: error });
  // OpenSSL's reasons of X.509 verification, as Node names them
  if (/CERT|SIGNATURE|ISSUER|CHAIN|CRL|CA$|HOSTNAME/.test(code) && !code.startsWith("ERR_SSL"))
    return new LdapFault("untrusted", `certificate of ${host} not trusted (${shown(error.message)})`, {
      setting: "ca",
      cause: error,
    });
  return new LdapFault("unreachable", `no TLS with ${serverOf(settings)}: ${shown(error.message)}`, {
    setting: "tls",
    cause: error,
  });
}

export function lateFault(settings: LdapSettings): LdapFault {
  return new LdapFault("time-out", `${serverOf(settings)} did not answer in time`, { setting: "host" });
}

export function notLdapFault(cause: Error, settings: LdapSettings): LdapFault {
  return new LdapFault("other", `${serverOf(settings)} does not speak LDAP (${cause.message})`, {
    setting: "port",
    cause,
  });
}

/** What the server said instead of success to a bind. */
export function bindFault(result: LdapResult, settings: LdapSettings): LdapFault {
  const text = said(result);
  switch (result.code) {
    case 49:
      return new LdapFault("refused", `wrong user or password (bind as ${settings.user ?? ""} refused${text})`, {
        setting: "passwordFile",
      });
    case 32:
    case 34:
      return new LdapFault("refused", `bind as ${settings.user ?? ""} refused, it is no DN there${text}`, {
        setting: "user",
      });
    default:
      return resultFault(result, settings, undefined);
  }
}

/** What the server said instead of success to a search below `base`, or to a bind. RFC 4511 4.1.9, appendix A. */
export function resultFault(result: LdapResult, settings: LdapSettings, base: string | undefined): LdapFault {
  const text = said(result);
  const server = serverOf(settings);
  switch (result.code) {
    // Active Directory says operationsError to whoever is not logged in
    case 1:
    case 48:
    case 50: {
      const who = settings.user === null ? "an anonymous user" : settings.user;
      return new LdapFault("refused", `insufficient rights of ${who} at ${server}${text}`, { setting: "user" });
    }
    case 3:
      return new LdapFault("time-out", `${server} has run out of its time limit${text}`, { setting: "filter" });
    case 4:
    case 11:
      return new LdapFault("too-much", `size limit of ${server}: there are more entries than it gives${text}`, {
        setting: "filter",
        // the other, of administration, is met by whatever the server has no index for
        isOnlyHere: result.code === 4,
      });
    case 7:
    case 8:
    case 13:
      return new LdapFault("refused", `${server} does not let in without TLS or in this way${text}`, {
        setting: "tls",
      });
    case 10:
      return new LdapFault("referral", elsewhere(server, base, result.referral), { setting: "baseDn" });
    case 32:
      return new LdapFault("no-such-base", `base DN ${base ?? ""} does not exist at ${server}`, { setting: "baseDn" });
    case 34:
      return new LdapFault("no-such-base", `base DN ${base ?? ""} is no DN${text}`, { setting: "baseDn" });
    default:
      return new LdapFault("other", `${server} answers with LDAP result ${result.code}${text}`);
  }
}

/** Part of what was asked for is at other servers, which are not asked. `entries` came from this one. */
export function referralFault(
  settings: LdapSettings,
  base: string,
  uris: readonly string[],
  entries: readonly LdapEntry[],
): LdapFault {
  return new LdapFault("referral", elsewhere(serverOf(settings), base, uris), {
    ...{ setting: "baseDn", entries, isOnlyHere: true },
  });
}

function elsewhere(server: string, base: string | undefined, uris: readonly string[]): string {
  const part = base === undefined ? "" : ` for a part of ${base === "" ? "the directory" : base}`;
  return `${server} refers to ${shown(uris[0] ?? "elsewhere")}${part}, which is not followed`;
}

function said({ text }: LdapResult): string {
  return text === "" ? "" : `: ${shown(text)}`;
}

/** A text of the other side, cut to what fits into a log line. */
export function shown(text: string): string {
  return text
    .replace(/[\p{C}\p{Z}]+/gu, " ")
    .trim()
    .slice(0, 200);
}
