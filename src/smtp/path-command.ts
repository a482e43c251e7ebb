// The arguments of MAIL and RCPT (RFC 5321 4.1.1.2 and 4.1.1.3): one path in angle brackets and its parameters.
import { needsSmtpUtf8, parseMailbox, type Mailbox } from "../mail/address.ts";
import type { SpooledForwardPath } from "../spool/spool.ts";
import type { Refusal } from "./intake.ts";

type Parameters = ReadonlyMap<string, string | undefined>;
type Parsed<T> = { readonly value: T } | { readonly refusal: Refusal };

/** MAIL: who sends (undefined is the null reverse-path) and what the parameters announce. */
export type MailArguments = {
  readonly reversePath: Mailbox | undefined;
  readonly declaredBytes: number;
  readonly is8bit: boolean;
  readonly smtpUtf8: boolean;
};

// a path may hold a quoted string with brackets in it; it is refused later, but as a whole
const PATH = /^<((?:"(?:[^"\\]|\\.)*"|[^<>"])*)>(?:[ \t]+(.*))?$/s;
const PARAMETER = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\s=]*))?$/;
const MAIL_KEYWORDS = ["SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID"];
const RCPT_KEYWORDS = ["NOTIFY", "ORCPT"];
const NOTIFY = ["NEVER", "SUCCESS", "FAILURE", "DELAY"] as const;
const MAX_ENVID_CHARS = 100;

const syntax = (text: string): { refusal: Refusal } => ({
  refusal: { code: 501, status: "5.5.4", text, reason: "syntax" },
});

/** Parses what stands behind `MAIL FROM:`. */
export function parseMailArguments(text: string): Parsed<MailArguments> {
  const split = splitPath(text, MAIL_KEYWORDS);
  if ("refusal" in split) return split;
  const { path, parameters } = split.value;
  const fault =
    sizeFault(parameters) ??
    bodyFault(parameters) ??
    utf8Fault(parameters) ??
    authFault(parameters) ??
    dsnFault(parameters);
  if (fault !== undefined) return syntax(fault);
  const smtpUtf8 = parameters.has("SMTPUTF8");
  const announced = {
    declaredBytes: Number(parameters.get("SIZE") ?? 0),
    is8bit: parameters.get("BODY")?.toUpperCase() === "8BITMIME",
    smtpUtf8,
  };
  if (path === "") return { value: { reversePath: undefined, ...announced } };
  const parsed = mailboxOf(path, smtpUtf8);
  return "refusal" in parsed ? parsed : { value: { reversePath: parsed.value, ...announced } };
}

/** Parses what stands behind `RCPT TO:`; `smtpUtf8` is what MAIL of this transaction said. */
export function parseRcptArguments(text: string, smtpUtf8: boolean): Parsed<SpooledForwardPath> {
  const split = splitPath(text, RCPT_KEYWORDS);
  if ("refusal" in split) return split;
  const { path, parameters } = split.value;
  const notify = parameters.get("NOTIFY");
  const wishes = notify === undefined ? undefined : notifyOf(notify);
  if (parameters.has("NOTIFY") && wishes === undefined) return syntax("NOTIFY is malformed");
  if (parameters.has("ORCPT") && !isOriginalRecipient(parameters.get("ORCPT"))) return syntax("ORCPT is malformed");
  const parsed = mailboxOf(path, smtpUtf8);
  if ("refusal" in parsed) return parsed;
  return { value: wishes === undefined ? { mailbox: parsed.value } : { mailbox: parsed.value, notify: wishes } };
}

function splitPath(text: string, keywords: readonly string[]): Parsed<{ path: string; parameters: Parameters }> {
  const match = PATH.exec(text);
  if (match === null) return syntax("an address in angle brackets is needed");
  const parameters = new Map<string, string | undefined>();
  for (const part of (match[2] ?? "").split(/[ \t]+/).filter((word) => word !== "")) {
    const [, keyword, value] = PARAMETER.exec(part) ?? [];
    if (keyword === undefined || value === "") return syntax("a parameter is malformed");
    const name = keyword.toUpperCase();
    if (!keywords.includes(name))
      return { refusal: { code: 555, status: "5.5.4", text: "parameter not recognized", reason: "parameter" } };
    if (parameters.has(name)) return syntax("a parameter is given twice");
    parameters.set(name, value);
  }
  return { value: { path: match[1] ?? "", parameters } };
}

function mailboxOf(path: string, smtpUtf8: boolean): Parsed<Mailbox> {
  const parsed = parseMailbox(path);
  if ("fault" in parsed) return { refusal: { ...parsed.fault, reason: "address" } };
  // a domain beyond ASCII needs SMTPUTF8 on the wire although we make A-labels of it (RFC 6531 3.2)
  if (!smtpUtf8 && (needsSmtpUtf8(parsed.mailbox) || !/^\p{ASCII}*$/u.test(path)))
    return { refusal: { code: 553, status: "5.6.7", text: "this address needs SMTPUTF8", reason: "smtputf8" } };
  return { value: parsed.mailbox };
}

function sizeFault(parameters: Parameters): string | undefined {
  if (!parameters.has("SIZE")) return undefined;
  return /^\d{1,20}$/.test(parameters.get("SIZE") ?? "") ? undefined : "SIZE is malformed";
}

function bodyFault(parameters: Parameters): string | undefined {
  if (!parameters.has("BODY")) return undefined;
  return /^(?:7BIT|8BITMIME)$/i.test(parameters.get("BODY") ?? "") ? undefined : "BODY must be 7BIT or 8BITMIME";
}

function utf8Fault(parameters: Parameters): string | undefined {
  return parameters.get("SMTPUTF8") === undefined ? undefined : "SMTPUTF8 takes no value";
}

/** RFC 4954 5: `<>` or a mailbox in xtext. It is not used: nobody is trusted to speak for others. */
function authFault(parameters: Parameters): string | undefined {
  if (!parameters.has("AUTH")) return undefined;
  const value = parameters.get("AUTH") ?? "";
  return value === "<>" || isXtext(value) ? undefined : "AUTH is malformed";
}

/** RFC 3461 4.3 and 4.4. */
function dsnFault(parameters: Parameters): string | undefined {
  const ret = parameters.get("RET");
  if (parameters.has("RET") && !/^(?:FULL|HDRS)$/i.test(ret ?? "")) return "RET must be FULL or HDRS";
  if (!parameters.has("ENVID")) return undefined;
  const envid = parameters.get("ENVID") ?? "";
  return isXtext(envid) && envid.length <= MAX_ENVID_CHARS ? undefined : "ENVID is malformed";
}

function notifyOf(value: string): SpooledForwardPath["notify"] | undefined {
  const words = value.toUpperCase().split(",");
  const known = NOTIFY.filter((word) => words.includes(word));
  if (known.length !== words.length || (words.includes("NEVER") && words.length > 1)) return undefined;
  return known;
}

/** RFC 3461 4.2: an address type, a semicolon, xtext; with SMTPUTF8 the address may be UTF-8 (RFC 6533 3). */
function isOriginalRecipient(value: string | undefined): boolean {
  const [, type, address] = /^([A-Za-z0-9-]+);(.+)$/su.exec(value ?? "") ?? [];
  if (type === undefined || address === undefined) return false;
  return type.toUpperCase() === "UTF-8" ? !/[\p{C}\p{Z}]/u.test(address) : isXtext(address);
}

/** xtext (RFC 3461 4) whose decoding is printable: `+0D+0A` could otherwise end a line where it is shown. */
function isXtext(value: string): boolean {
  if (!/^(?:[!-*,-<>-~]|\+[0-9A-F]{2})+$/.test(value)) return false;
  return [...value.matchAll(/\+([0-9A-F]{2})/g)].every(([, hex = ""]) => /^(?:[2-6].|7[0-9A-E])$/.test(hex));
}
