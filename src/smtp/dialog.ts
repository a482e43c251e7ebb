// The SMTP dialog as a pure state machine: one command line in, one reply and at most one effect out.
//
// Rules:
// 1. Nothing here waits, reads a clock or knows a socket: the same lines always give the same replies.
// 2. Whatever may not be pipelined (DATA, STARTTLS: RFC 2920 3.1) with bytes behind it ends the session.
// 3. After STARTTLS everything that the client said before is forgotten (RFC 3207 4.2).
// 4. A reply says nothing about recipients' keys, versions or users.
import { answerExchange, auth, mayAuthenticate } from "./auth-command.ts";
import {
  CLOSE,
  NONE,
  openingState,
  refused,
  said,
  type DialogSettings,
  type DialogState,
  type Step,
} from "./dialog-state.ts";
import type { Envelope } from "./intake.ts";
import { parseMailArguments, parseRcptArguments } from "./path-command.ts";
import { ehloReply, reply } from "./server-reply.ts";
import type { LineEvent, LineFault } from "./wire-reader.ts";

const MAX_ERRORS = 20;
const MAX_IDLE_COMMANDS = 100;

/** Answers one line. `hasMore`: bytes have come in behind it. */
export function answer(state: DialogState, event: LineEvent, hasMore: boolean, settings: DialogSettings): Step {
  if (event.kind === "fault") return { state, reply: faultReply(event.fault), effect: CLOSE };
  const step = answerLine(state, event.line, hasMore, settings);
  if (step.effect.kind === "close" || step.effect.kind === "auth-failed") return step;
  const errors = step.state.errors + (step.reply.startsWith("5") ? 1 : 0);
  const counted = { ...step.state, errors };
  if (errors >= MAX_ERRORS || counted.idleCommands >= MAX_IDLE_COMMANDS)
    return { state: counted, reply: reply(421, "4.7.0", "too many errors or idle commands"), effect: CLOSE };
  return { ...step, state: counted };
}

function answerLine(state: DialogState, line: Buffer, hasMore: boolean, settings: DialogSettings): Step {
  const text = textOf(line);
  if (text === undefined) return said(state, 500, "5.5.2", "the command is not valid UTF-8");
  if (state.exchange !== undefined) return answerExchange(state, state.exchange, text, settings);
  const [, verb = "", rest = ""] = /^([A-Za-z]+)(?:[ \t]+(.*))?$/s.exec(text.trimEnd()) ?? [];
  const command = COMMANDS.get(verb.toUpperCase());
  if (command === undefined) return said(state, 500, "5.5.2", "command not recognized");
  return command({ state, rest, hasMore, settings });
}

type Command = (line: {
  readonly state: DialogState;
  /** What stands behind the verb, without white space around it. */
  readonly rest: string;
  readonly hasMore: boolean;
  readonly settings: DialogSettings;
}) => Step;

const notImplemented: Command = ({ state }) => said(state, 502, "5.5.1", "command not implemented");
const otherProtocol: Command = ({ state }) => ({
  state,
  reply: reply(421, "4.7.0", "this is an SMTP server"),
  effect: CLOSE,
});

const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ["HELO", (line) => greet(line.state, line.rest, false, line.settings)],
  ["EHLO", (line) => greet(line.state, line.rest, true, line.settings)],
  ["MAIL", ({ state, rest, settings }) => mail(state, rest, settings)],
  ["RCPT", ({ state, rest, settings }) => rcpt(state, rest, settings)],
  ["DATA", ({ state, rest, hasMore }) => content(state, rest, hasMore)],
  ["RSET", ({ state }) => idle({ ...state, transaction: undefined }, 250, "2.0.0", "ok")],
  ["NOOP", ({ state }) => idle(state, 250, "2.0.0", "ok")],
  ["VRFY", ({ state }) => idle(state, 252, "2.1.5", "not verified, send some mail")],
  ["QUIT", ({ state }) => ({ state, reply: reply(221, "2.0.0", "bye"), effect: CLOSE })],
  ["STARTTLS", ({ state, rest, hasMore, settings }) => startTls(state, rest, hasMore, settings)],
  ["AUTH", ({ state, rest, settings }) => auth(state, rest, settings)],
  ...["EXPN", "HELP", "BDAT", "TURN", "ETRN", "SEND", "SOML", "SAML"].map((verb) => [verb, notImplemented] as const),
  ...["GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"].map((verb) => [verb, otherProtocol] as const),
]);

function greet(state: DialogState, name: string, isExtended: boolean, settings: DialogSettings): Step {
  // it will stand in a Received field: nothing that could end or comment out anything there
  if (!/^[A-Za-z0-9._:[\]-]{1,255}$/.test(name))
    return said(state, 501, "5.5.4", "a domain or address literal is needed");
  const greeted = {
    ...state,
    client: { name, isExtended },
    transaction: undefined,
    idleCommands: state.idleCommands + 1,
  };
  if (!isExtended) return { state: greeted, reply: reply(250, "", settings.hostname), effect: NONE };
  return { state: greeted, reply: ehloReply(settings.hostname, extensions(state, settings)), effect: NONE };
}

function extensions(state: DialogState, settings: DialogSettings): string[] {
  const offered = [
    "PIPELINING",
    `SIZE ${settings.maxMessageBytes}`,
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "DSN",
  ];
  if (mayStartTls(settings) && !state.isSecure) offered.push("STARTTLS");
  const isBarred = settings.tlsMode === "required" && !state.isSecure;
  if (settings.users.length > 0 && mayAuthenticate(state, settings) && !isBarred) offered.push("AUTH PLAIN LOGIN");
  return offered;
}

function mail(state: DialogState, rest: string, settings: DialogSettings): Step {
  const path = /^FROM:[ \t]*(.*)$/is.exec(rest)?.[1];
  if (path === undefined) return said(state, 501, "5.5.4", "MAIL FROM:<address> is needed");
  if (state.client === undefined) return said(state, 503, "5.5.1", "EHLO comes first");
  if (settings.tlsMode === "required" && !state.isSecure)
    return refused(state, { code: 530, status: "5.7.0", text: "STARTTLS comes first", reason: "tls-required" });
  if (settings.users.length > 0 && state.user === undefined)
    return refused(state, { code: 530, status: "5.7.0", text: "authentication required", reason: "auth-required" });
  if (state.transaction !== undefined) return said(state, 503, "5.5.1", "a transaction is open already");
  const parsed = parseMailArguments(path);
  if ("refusal" in parsed) return refused(state, parsed.refusal);
  const { declaredBytes, ...envelope } = parsed.value;
  if (declaredBytes > settings.maxMessageBytes)
    return refused(state, { code: 552, status: "5.3.4", text: "the message is too large", reason: "size" });
  return said({ ...state, transaction: { ...envelope, recipients: new Map() } }, 250, "2.1.0", "ok");
}

function rcpt(state: DialogState, rest: string, settings: DialogSettings): Step {
  const path = /^TO:[ \t]*(.*)$/is.exec(rest)?.[1];
  if (path === undefined) return said(state, 501, "5.5.4", "RCPT TO:<address> is needed");
  const { transaction } = state;
  if (transaction === undefined) return said(state, 503, "5.5.1", "MAIL comes first");
  const parsed = parseRcptArguments(path, transaction.smtpUtf8);
  if ("refusal" in parsed) return refused(state, parsed.refusal);
  const { mailbox } = parsed.value;
  const fault = settings.mayReceive?.(mailbox);
  if (fault !== undefined) return refused(state, { ...fault, reason: "recipient" });
  if (!transaction.recipients.has(mailbox.address)) {
    if (transaction.recipients.size >= settings.maxRecipients)
      return refused(state, { code: 452, status: "4.5.3", text: "too many recipients", reason: "recipients" });
    transaction.recipients.set(mailbox.address, parsed.value);
  }
  return said(state, 250, "2.1.5", "ok");
}

function content(state: DialogState, rest: string, hasMore: boolean): Step {
  // a client that waits for 354 has nothing more to say here; one that does not may be carrying foreign commands
  if (hasMore) return { ...said(state, 554, "5.5.0", "wait for the reply to DATA"), effect: CLOSE };
  if (rest !== "") return said(state, 501, "5.5.4", "DATA takes no argument");
  const { transaction } = state;
  if (transaction === undefined) return said(state, 503, "5.5.1", "MAIL comes first");
  if (transaction.recipients.size === 0) return said(state, 554, "5.5.1", "no valid recipients");
  const envelope: Envelope = { ...transaction, recipients: [...transaction.recipients.values()] };
  return { state, reply: reply(354, "", "end with CRLF.CRLF"), effect: { kind: "receive", envelope } };
}

function startTls(state: DialogState, rest: string, hasMore: boolean, settings: DialogSettings): Step {
  if (hasMore) return { ...said(state, 554, "5.5.0", "wait for the reply to STARTTLS"), effect: CLOSE };
  if (state.isSecure) return said(state, 503, "5.5.1", "TLS stands already");
  if (!mayStartTls(settings)) return said(state, 502, "5.5.1", "command not implemented");
  if (rest !== "") return said(state, 501, "5.5.4", "STARTTLS takes no argument");
  return { state: openingState(true), reply: reply(220, "2.0.0", "ready for TLS"), effect: { kind: "start-tls" } };
}

function mayStartTls(settings: DialogSettings): boolean {
  return settings.tlsMode === "starttls" || settings.tlsMode === "required";
}

function idle(state: DialogState, code: number, status: string, text: string): Step {
  return said({ ...state, idleCommands: state.idleCommands + 1 }, code, status, text);
}

function faultReply(fault: LineFault): string {
  switch (fault) {
    case "bare-cr":
    case "bare-lf":
      return reply(500, "5.5.2", "a command line ends with CRLF and nothing else");
    case "nul":
      return reply(500, "5.5.2", "a command line holds no NUL");
    case "too-long":
      return reply(500, "5.5.6", "the command line is too long");
    case "tls-record":
      return reply(421, "4.7.0", "TLS begins with STARTTLS here, or not at all");
  }
}

function textOf(line: Buffer): string | undefined {
  try {
    return UTF8.decode(line);
  } catch {
    return undefined;
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
