// AUTH (RFC 4954) within the dialog: when it is allowed, and what a right or wrong password leads to.
import { NONE, said, type DialogSettings, type DialogState, type Step } from "./dialog-state.ts";
import { reply } from "./server-reply.ts";
import { beginExchange, continueExchange, isKnown, type SaslExchange, type SaslStep } from "./sasl.ts";

const MAX_AUTH_FAILURES = 3;

/** `rest` is what stands behind AUTH. */
export function auth(state: DialogState, rest: string, settings: DialogSettings): Step {
  if (settings.users.length === 0) return said(state, 502, "5.5.1", "command not implemented");
  if (state.client === undefined) return said(state, 503, "5.5.1", "EHLO comes first");
  if (!mayAuthenticate(state, settings)) return said(state, 538, "5.7.11", "encryption required for authentication");
  if (settings.tlsMode === "required" && !state.isSecure) return said(state, 530, "5.7.0", "STARTTLS comes first");
  if (state.user !== undefined) return said(state, 503, "5.5.1", "authenticated already");
  if (state.transaction !== undefined) return said(state, 503, "5.5.1", "not within a transaction");
  const [mechanism = "", initial, ...more] = rest.split(/[ \t]+/);
  if (more.length > 0) return said(state, 501, "5.5.4", "too many arguments");
  return afterSasl(state, beginExchange(mechanism, initial), settings);
}

/** Answers a line that belongs to an exchange. */
export function answerExchange(
  state: DialogState,
  exchange: SaslExchange,
  text: string,
  settings: DialogSettings,
): Step {
  return afterSasl({ ...state, exchange: undefined }, continueExchange(exchange, text), settings);
}

function afterSasl(state: DialogState, step: SaslStep | undefined, settings: DialogSettings): Step {
  if (step === undefined) return said(state, 504, "5.5.4", "the mechanisms are PLAIN and LOGIN");
  switch (step.kind) {
    case "challenge":
      return { state: { ...state, exchange: step.exchange }, reply: `334 ${step.text}\r\n`, effect: NONE };
    case "cancelled":
      return said(state, 501, "5.7.0", "authentication cancelled");
    case "malformed":
      return said(state, 501, "5.5.2", "the response is malformed");
    case "credentials":
      if (isKnown(settings.users, step.name, step.password)) {
        const known = { ...state, user: step.name, authFailures: 0 };
        return { ...said(known, 235, "2.7.0", "authenticated"), effect: { kind: "auth-succeeded" } };
      }
      return authFailed(state, step.name, settings);
  }
}

function authFailed(state: DialogState, name: string, settings: DialogSettings): Step {
  const authFailures = state.authFailures + 1;
  const isLast = authFailures >= MAX_AUTH_FAILURES;
  const user = settings.users.find((known) => known.name === name)?.name;
  const failed = { ...state, authFailures, errors: state.errors + 1 };
  const text = isLast
    ? reply(421, "4.7.0", "too many failed logins")
    : reply(535, "5.7.8", "wrong user name or password");
  return { state: failed, reply: text, effect: { kind: "auth-failed", user, isLast } };
}

/** Whether a password may be sent: never in clear over a network. */
export function mayAuthenticate(state: DialogState, settings: DialogSettings): boolean {
  return state.isSecure || settings.isLoopback;
}
