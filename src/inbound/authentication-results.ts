// Authentication-Results (RFC 8601): what our border MTA found out about a message's author, read strictly.
//
// The rules, each on the safe side:
// 1. The border MTA must remove incoming fields that carry its own authserv-id (RFC 8601 5). Rules 2 to 4 only make a
//    forged field that it left there useless wherever they can.
// 2. The verdict is the topmost Authentication-Results field's; its authserv-id must be the configured one. When the field
//    of another service stands above ours, the border is not what the configuration says, and nothing is believed.
// 3. Received fields tell where our house ends, if the border's hostname is its authserv-id: once a `by` of that name was
//    seen, the first Received with another name came from outside, and so did every field below it. A Received of the border
//    itself may stand above its results (milters insert below it), and those of later hops inside may.
// 4. Further fields with our authserv-id must be readable and hold no dmarc result that says otherwise.
// 5. dmarc=pass with header.from equal to the author's domain is believed. When no field of ours has a dmarc result, dkim=pass
//    is, if header.d (else the domain of header.i) is the author's domain or a parent of it: who controls a domain controls
//    what is below it, not the other way round. Never spf alone.
import { parseMailbox, type Mailbox } from "../mail/address.ts";
import { fieldsNamed, fieldValue, type HeaderSection } from "../mail/header.ts";
import { withoutComments, type Belief } from "./author.ts";

/** `header.from=example.com`: ptype and property in lower case, the value without its quotes. */
export type ResultProperty = { readonly ptype: string; readonly property: string; readonly value: string };

/** One resinfo: method and result in lower case. */
export type MethodResult = {
  readonly method: string;
  readonly version: number;
  readonly result: string;
  readonly properties: readonly ResultProperty[];
};

/** `authservId` is undefined when not even that can be read. */
export type AuthenticationResults =
  | { readonly authservId: string; readonly results: readonly MethodResult[] }
  | { readonly authservId: string | undefined; readonly fault: string };

const FIELD = "authentication-results";
/** Each hop adds one or two. */
const MAX_FIELDS = 50;

const QUOTED = String.raw`"(?:[^"\\]|\\.)*"`;
// token of RFC 2045 5.1, as RFC 8601 2.2 refers to it
const TOKEN = String.raw`[!#$%&'*+.0-9A-Z^_\x60a-z{|}~\-]+`;
const KEYWORD = String.raw`[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?`;
// base64 and IPv6 addresses stand there without quotes in real fields; they end at white space or a semicolon like any other
const PVALUE = String.raw`(?:${QUOTED})?[!#$%&'*+./:<=>?@\[\]0-9A-Z^_\x60a-z{|}~\-]*`;
const WS = String.raw`[ \t]*`;

const AUTHSERV_ID = new RegExp(`${WS}(${TOKEN}|${QUOTED})(?:[ \\t]+(\\d+))?${WS}(?=;)`, "y");
const NO_RESULT = new RegExp(`;${WS}none${WS}$`, "iy");
const METHOD = new RegExp(`;${WS}(${KEYWORD})(?:${WS}/${WS}(\\d+))?${WS}=${WS}(${KEYWORD})(?=[ \\t;]|$)`, "y");
const REASON = new RegExp(`[ \\t]+reason${WS}=${WS}(?:${TOKEN}|${QUOTED})(?=[ \\t;]|$)`, "iy");
const PROPERTY = new RegExp(`[ \\t]+(${KEYWORD})${WS}\\.${WS}(${KEYWORD})${WS}=${WS}(${PVALUE})(?=[ \\t;]|$)`, "y");
const SPACE = /[ \t]*/y;

/**
 * Reads an unfolded field value by the grammar of RFC 8601 2.2. Whatever is not of that grammar makes the whole field
 * faulty, results before the fault included.
 */
export function parseAuthenticationResults(value: string): AuthenticationResults {
  const text = withoutComments(value);
  if (text === undefined) return { authservId: undefined, fault: "a comment, a quote or a character is out of place" };
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    return match;
  };
  const id = take(AUTHSERV_ID);
  if (id === undefined) return { authservId: undefined, fault: "there is no authserv-id" };
  const authservId = unquoted(id[1] ?? "");
  if (id[2] !== undefined && Number(id[2]) !== 1) return { authservId, fault: `version ${id[2]} is not known` };
  if (take(NO_RESULT) !== undefined) return { authservId, results: [] };
  const results: MethodResult[] = [];
  while (at < text.length) {
    const method = take(METHOD);
    if (method === undefined) return { authservId, fault: `result ${results.length + 1} cannot be read` };
    take(REASON);
    const properties: ResultProperty[] = [];
    for (let next = take(PROPERTY); next !== undefined; next = take(PROPERTY)) {
      const [, ptype = "", property = "", quotable = ""] = next;
      properties.push({
        ptype: ptype.toLowerCase(),
        property: property.toLowerCase(),
        value: unquoted(quotable),
      });
    }
    const [, name = "", version = "1", result = ""] = method;
    results.push({ method: name.toLowerCase(), version: Number(version), result: result.toLowerCase(), properties });
    take(SPACE);
  }
  return { authservId, results };
}

function unquoted(text: string): string {
  return text.replace(/^"((?:[^"\\]|\\.)*)"/, (_, inner: string) => inner.replace(/\\(.)/g, "$1"));
}

const no = (reason: string): Belief => ({ believed: false, reason });

/**
 * Whether the border MTA that signs its results as `authservId` vouches for `author`, by the rules at the head of this file.
 * `header` is the message's as it reached us.
 */
export function authenticatedAuthor(header: HeaderSection, authservId: string, author: Mailbox): Belief {
  if (fieldsNamed(header, FIELD).length > MAX_FIELDS)
    return no(`more than ${MAX_FIELDS} authentication-results fields`);
  const { fields, isTopInside } = resultFields(header, authservId);
  const [top] = fields;
  if (top === undefined) return no("there is no authentication-results field");
  const isOurs = (field: AuthenticationResults) => isSame(field.authservId, authservId);
  if (!isOurs(top)) return no(foreignReason(top, fields.some(isOurs), authservId));
  if (!isTopInside)
    return no(`the results of ${authservId} came from outside: they stand below another host's received`);
  const verdicts: (readonly MethodResult[])[] = [];
  for (const field of fields.filter(isOurs)) {
    if ("fault" in field) return no(`results of ${authservId} cannot be read: ${field.fault}`);
    const odd = field.results.find(({ method, version }) => version !== 1 && (method === "dmarc" || method === "dkim"));
    if (odd !== undefined) return no(`${odd.method} version ${odd.version} is not known`);
    verdicts.push(field.results);
  }
  return judge(verdicts, authservId, author);
}

function foreignReason(top: AuthenticationResults, isOursBelow: boolean, authservId: string): string {
  const whose = top.authservId === undefined ? "a field without an authserv-id" : "a field of another service";
  return isOursBelow ? `${whose} stands above the results of ${authservId}` : `no results of ${authservId}`;
}

/** All fields from the top, and whether the first stands above what came from outside (rule 3). */
function resultFields(header: HeaderSection, authservId: string) {
  const fields: AuthenticationResults[] = [];
  let border = false;
  let outside = false;
  let isTopInside = false;
  for (const field of header.fields) {
    if (field.name === "received") {
      const isBorder = isSame(receivedBy(fieldValue(field)), authservId);
      outside ||= border && !isBorder;
      border ||= isBorder;
    } else if (field.name === FIELD) {
      if (fields.length === 0) isTopInside = !outside;
      fields.push(parseAuthenticationResults(fieldValue(field)));
    }
  }
  return { fields, isTopInside };
}

/** The host that wrote a Received field (RFC 5321 4.4). */
function receivedBy(value: string): string | undefined {
  return /(?:^|[ \t])by[ \t]+([^ \t;]+)/i.exec(withoutComments(value) ?? "")?.[1];
}

function isSame(found: string | undefined, authservId: string): boolean {
  const lower = (text: string) => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  return found !== undefined && lower(found) === lower(authservId);
}

/** `verdicts`: the results of each field of ours, the topmost first. */
function judge(verdicts: readonly (readonly MethodResult[])[], authservId: string, author: Mailbox): Belief {
  const [top = []] = verdicts;
  const ofMethod = (results: readonly MethodResult[], name: string) => results.filter(({ method }) => method === name);
  const dmarc = verdicts.flatMap((results) => ofMethod(results, "dmarc"));
  if (dmarc.length === 0) return judgeDkim(ofMethod(top, "dkim"), authservId, author);
  if (dmarc.some(({ result }) => result === "temperror"))
    return no("dmarc=temperror: try later is no use: not learned");
  const bad = dmarc.find(({ result }) => result !== "pass");
  if (bad !== undefined) return no(`dmarc=${bad.result}`);
  for (const result of dmarc) {
    const [from, ...more] = valuesOf(result, "from");
    if (from === undefined) return no("dmarc=pass does not say for which header.from");
    if (more.length > 0) return no("dmarc=pass names more than one header.from");
    if (domainOf(from) !== author.domain) return no("dmarc=pass is for another header.from");
  }
  if (ofMethod(top, "dmarc").length === 0) return no(`only a lower field of ${authservId} has a dmarc result`);
  return { believed: true, by: `dmarc=pass of ${authservId}` };
}

function judgeDkim(dkim: readonly MethodResult[], authservId: string, author: Mailbox): Belief {
  const aligned: MethodResult[] = [];
  for (const result of dkim) {
    const domain = signingDomain(result);
    if (domain === "ambiguous") return no(`dkim=${result.result} names more than one domain`);
    if (domain !== undefined && isSameOrParent(domain, author.domain)) aligned.push(result);
  }
  const bad = aligned.find(({ result }) => result !== "pass");
  if (bad !== undefined) return no(`dkim=${bad.result} for the author's domain`);
  if (aligned.length > 0) return { believed: true, by: `dkim=pass of ${authservId}` };
  return no("neither dmarc nor dkim vouches for the author's domain; spf alone does not");
}

/** header.d, or the domain of header.i; both, when i is within d (RFC 6376 3.5). */
function signingDomain(result: MethodResult): string | undefined {
  const ds = valuesOf(result, "d");
  const is = valuesOf(result, "i");
  if (ds.length > 1 || is.length > 1) return "ambiguous";
  const d = ds[0] === undefined ? undefined : domainOf(ds[0]);
  const i = is[0] === undefined ? undefined : domainOf(is[0].slice(is[0].lastIndexOf("@") + 1));
  if (ds.length > 0 && is.length > 0)
    return d !== undefined && i !== undefined && isSameOrParent(d, i) ? d : "ambiguous";
  return d ?? i;
}

function valuesOf(result: MethodResult, name: string): string[] {
  return result.properties.flatMap(({ ptype, property, value }) =>
    ptype === "header" && property === name ? [value] : [],
  );
}

/** A domain in our canonical form, undefined when it is none. */
function domainOf(text: string): string | undefined {
  const parsed = parseMailbox(`postmaster@${text}`);
  return "mailbox" in parsed && !text.includes("@") ? parsed.mailbox.domain : undefined;
}

/** A domain of one label is nobody's: com is no parent here. */
function isSameOrParent(domain: string, of: string): boolean {
  return domain === of || (domain.includes(".") && of.endsWith(`.${domain}`));
}
