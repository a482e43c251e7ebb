// Referee: says from the whole octets of a conversation, without the code of the door, what it must have come to.
//
// It follows the replies where it is for the server to decide (an odd address, a login) and holds them against plain rules;
// where messages begin and end, what is in them and whom they are for it finds out by itself, with regular expressions.
import { domainToASCII } from "node:url";
import { MAX_MESSAGE_BYTES, MAX_RECIPIENTS, USER, type FuzzDialog, type Setup } from "./fuzz-dialog.ts";

export type StoredMessage = { readonly from: string; readonly to: readonly string[]; readonly content: string };

type Match = {
  isGreeted: boolean;
  isKnown: boolean;
  /** Where an AUTH began whose exchange goes on. */
  exchangeAt: number | undefined;
  authFailures: number;
  errors: number;
  idle: number;
  from: string | undefined;
  to: string[];
};
/** What a line may be answered by, and where that leads. */
type Ruling = { readonly codes: readonly number[]; readonly then?: "over" | "content" };

/** How the conversation breaks the rules; nothing when it does not. `output` is all that the server said. */
export function judge(dialog: FuzzDialog, output: string, stored: readonly StoredMessage[]): string[] {
  const { setup, segments } = dialog;
  const said = segments.join("");
  const [talk = "", , ...afterTls] = output.split(/(220 2\.0\.0 ready for TLS\r\n)/);
  const replies = (talk + (output.includes("ready for TLS") ? "220 TLS\r\n" : "")).match(REPLY) ?? [];
  const complaints = /\d{3} [ -~]+\r\n/.test(afterTls.join("")) ? ["a reply in clear after STARTTLS"] : [];
  if (replies.join("").replace("220 TLS\r\n", "") !== talk) complaints.push("the output is not made of replies");
  const expected: StoredMessage[] = [];
  const first = replies.shift()?.slice(0, 3);
  const isRude = setup.isEarly && said !== "";
  if (first !== (isRude ? "554" : "220")) complaints.push(`greeted with ${String(first)}`);
  if (!isRude) complaints.push(...follow(said, edgesOf(segments), setup, replies, expected));
  if (replies.length > 0) complaints.push(`replies to nothing: ${replies.join("")}`);
  if (JSON.stringify(stored) !== JSON.stringify(expected))
    complaints.push(`stored ${JSON.stringify(stored)}, not ${JSON.stringify(expected)}`);
  return complaints;
}

// the texts of replies are of no interest, only that each is one line (EHLO: several)
const REPLY = /(?:\d{3}-[^\r\n]*\r\n)*\d{3}[^\r\n]*\r\n/g;

function edgesOf(segments: readonly string[]): ReadonlySet<number> {
  let at = 0;
  return new Set(segments.map((segment) => (at += segment.length)));
}

/** Goes through all that was said, taking the replies that belong to it. */
function follow(
  said: string,
  edges: ReadonlySet<number>,
  setup: Setup,
  replies: string[],
  expected: StoredMessage[],
): string[] {
  const match: Match = {
    ...{ isGreeted: false, isKnown: false, exchangeAt: undefined, authFailures: 0, errors: 0, idle: 0 },
    ...{ from: undefined, to: [] },
  };
  let at = 0;
  for (;;) {
    const line = lineIn(said.slice(at), match.exchangeAt !== undefined);
    if (line === undefined) return [];
    const reply = replies.shift();
    const code = Number(reply?.slice(0, 3));
    const what = JSON.stringify(line.text.slice(0, 80));
    if (reply === undefined) return [`no reply to ${what}`];
    const begin = at;
    at += line.text.length + 2;
    if (line.fault !== undefined)
      return code === line.fault ? [] : [`${what} is no command line, but was answered by ${reply}`];
    const ruling = rule(match, line.text, !edges.has(at), setup, said.slice(match.exchangeAt ?? begin, at));
    if (code === 421 && /too many errors/.test(reply))
      return match.errors >= 19 || match.idle >= 99 ? [] : [`given up too early at ${what}`];
    if (!ruling.codes.includes(code)) return [`${what} was answered by ${reply}, not ${ruling.codes.join(" or ")}`];
    if (ruling.then === "over" || code === 421) return [];
    note(match, line.text, code, begin);
    if (match.errors >= 20 && code !== 535 && code !== 451) return [`not given up at ${what}`];
    if (ruling.then !== "content" || code !== 354) continue;
    // the rule of this house: CRLF.CRLF, where the CRLF of DATA counts for the first (RFC 5321 4.1.1.4)
    const end = `\r\n${said.slice(at)}`.indexOf("\r\n.\r\n");
    if (end < 0) return [];
    const verdict = judgeContent(said.slice(at, at + end), setup);
    at += end + 3;
    const final = replies.shift() ?? "none";
    if (!verdict.codes.includes(Number(final.slice(0, 3)))) return [`content was answered by ${final}`];
    if (final.startsWith("250")) expected.push({ from: match.from ?? "", to: match.to, content: verdict.content });
    if (verdict.isLast) return [];
    Object.assign(match, { from: undefined, to: [], errors: match.errors + 1 });
    if (final.startsWith("250")) Object.assign(match, { errors: 0, idle: 0 });
  }
}

function lineIn(rest: string, isExchange: boolean): { text: string; fault?: number } | undefined {
  if (rest === "\x16") return undefined;
  if (rest.startsWith("\x16\x03")) return { text: "", fault: 421 };
  const limit = isExchange || /^AUTH /i.test(rest) ? 16_384 : 4_096;
  const text = /^[^\r\n\0]*/.exec(rest)![0];
  if (text.length > limit - 2) return { text, fault: 500 };
  const behind = rest.slice(text.length, text.length + 2);
  if (behind === "" || behind === "\r") return undefined;
  return behind === "\r\n" ? { text } : { text, fault: 500 };
}

function rule(match: Match, octets: string, hasMore: boolean, setup: Setup, login: string): Ruling {
  const text = utf8(octets)?.trimEnd();
  if (text === undefined) return { codes: [500] };
  if (match.exchangeAt !== undefined) return loginRuling(match, login);
  const [, verb = "", rest = ""] = /^([a-z]+)(?:[ \t]+(.*))?$/is.exec(text) ?? [];
  switch (verb.toUpperCase()) {
    case "HELO":
    case "EHLO":
      return { codes: [/^[\w.:[\]-]{1,255}$/.test(rest) ? 250 : 501] };
    case "MAIL":
      if (!/^FROM:/i.test(rest)) return { codes: [501] };
      if (!match.isGreeted) return { codes: [503] };
      if (setup.isLoginRequired && !match.isKnown) return { codes: [530] };
      return match.from === undefined ? pathRuling(rest, true) : { codes: [503] };
    case "RCPT":
      if (!/^TO:/i.test(rest)) return { codes: [501] };
      if (match.from === undefined) return { codes: [503] };
      if (match.to.length >= MAX_RECIPIENTS && !match.to.includes(mailboxIn(rest))) return { codes: [452, ...REFUSED] };
      return pathRuling(rest, false);
    case "DATA":
      if (hasMore) return { codes: [554], then: "over" };
      if (rest !== "") return { codes: [501] };
      if (match.from === undefined) return { codes: [503] };
      if (match.to.length === 0) return { codes: [554] };
      return { codes: [setup.fault === "begin" ? 451 : 354], then: "content" };
    case "STARTTLS":
      if (hasMore) return { codes: [554], then: "over" };
      if (setup.tls === "off") return { codes: [502] };
      return rest === "" ? { codes: [220], then: "over" } : { codes: [501] };
    case "AUTH":
      if (!setup.isLoginRequired) return { codes: [502] };
      return !match.isGreeted || match.isKnown || match.from !== undefined
        ? { codes: [503] }
        : loginRuling(match, login);
    default:
      return FIXED[verb.toUpperCase()] ?? { codes: [500] };
  }
}

const FIXED: Readonly<Record<string, Ruling>> = {
  ...{ RSET: { codes: [250] }, NOOP: { codes: [250] }, VRFY: { codes: [252] }, QUIT: { codes: [221], then: "over" } },
  ...Object.fromEntries("EXPN HELP BDAT TURN ETRN SEND SOML SAML".split(" ").map((verb) => [verb, { codes: [502] }])),
  ...Object.fromEntries(
    "GET POST PUT HEAD OPTIONS CONNECT".split(" ").map((verb) => [verb, { codes: [421], then: "over" }]),
  ),
};

/** 235 only if the right password was said, in whatever exchange; the third wrong one ends the session. */
function loginRuling({ authFailures }: Match, login: string): Ruling {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const { name, password } = USER;
  const right = [`\0${name}\0${password}`, `${name}\0${name}\0${password}`, password].map(base64);
  return {
    codes: [
      334,
      501,
      504,
      authFailures < 2 ? 535 : 421,
      ...(right.some((secret) => login.includes(secret)) ? [235] : []),
    ],
  };
}

const REFUSED = [501, 550, 552, 553, 555];

/** An ordinary address must be taken, one with anything in it that could mean another must not. */
function pathRuling(rest: string, isSender: boolean): Ruling {
  const path = rest.replace(/^\w+:[ \t]*/, "");
  if (/^<[a-z\d_+-]{1,60}@[a-z\d]{1,20}\.test>$/i.test(path))
    return { codes: [!isSender && /@refused\.test>$/i.test(path) ? 550 : 250] };
  if (path === "<>") return { codes: [isSender ? 250 : 550] };
  if (/^<>[ \t]/.test(path) && isSender) return { codes: [250, ...REFUSED] };
  const [, local, domain] = /^<([^@]*)@([^@>]*)>/.exec(path) ?? [];
  const isOdd =
    local === undefined || /[\s"(),:;<>[\\\]%!\p{Cc}\p{Cf}]/u.test(local) || /[^a-z\d.\-\P{ASCII}]/iu.test(domain!);
  return { codes: isOdd ? REFUSED : [250, ...REFUSED] };
}

/** What the accepted line has changed. */
function note(match: Match, octets: string, code: number, begin: number): void {
  const text = utf8(octets)?.trimEnd() ?? "";
  if (code >= 500) match.errors++;
  const verb = match.exchangeAt === undefined ? /^[a-z]*/i.exec(text)![0].toUpperCase() : "AUTH";
  if (verb === "AUTH") {
    match.exchangeAt = code === 334 ? (match.exchangeAt ?? begin) : undefined;
    match.isKnown ||= code === 235;
    if (code === 535) match.authFailures++;
  } else if (code === 451) Object.assign(match, { from: undefined, to: [], errors: match.errors + 1 });
  else if (code >= 300) return;
  else if (verb === "MAIL") match.from = mailboxIn(text);
  else if (verb === "RCPT") match.to = [...new Set([...match.to, mailboxIn(text)])];
  else {
    match.idle++;
    if (verb !== "NOOP" && verb !== "VRFY") Object.assign(match, { from: undefined, to: [] });
    if (/^(?:EHLO|HELO)$/.test(verb)) match.isGreeted = true;
  }
}

/** The one spelling of the address in the brackets: its domain in A-labels. */
function mailboxIn(text: string): string {
  const [, local, domain] = /<([^>]*)@([^@>]*)>/.exec(text) ?? [];
  return local === undefined ? "" : `${local}@${domainToASCII(domain!)}`;
}

/** `raw`: from the first octet of the content to the CRLF before the final dot. */
function judgeContent(raw: string, setup: Setup): { codes: number[]; isLast: boolean; content: string } {
  const unstuffed = raw.replace(/(?<=^|\r\n)\./g, "");
  const content = setup.lineEndings === "strict" ? unstuffed : unstuffed.replace(/\r\n|\r|\n/g, "\r\n");
  const isBad = content.includes("\0") || /\r(?!\n)|(?<!\r)\n/.test(content);
  if (isBad) return { codes: [554], isLast: true, content };
  const header = `\r\n${content}`.split("\r\n\r\n")[0]!;
  const fields = header.match(/\r\n[^ \t\r]/g)?.length ?? 0;
  const codes = [...(content.length > MAX_MESSAGE_BYTES ? [552] : []), ...(fields > 1_000 ? [554] : [])];
  if (codes.length === 0) codes.push(setup.fault === "commit" ? 451 : 250);
  return { codes, isLast: content.length > 2 * MAX_MESSAGE_BYTES, content };
}

function utf8(octets: string): string | undefined {
  const text = Buffer.from(octets, "latin1").toString();
  return Buffer.from(text).toString("latin1") === octets ? text : undefined;
}
