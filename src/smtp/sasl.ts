// SASL for SMTP AUTH: the mechanisms PLAIN (RFC 4616) and LOGIN, and the comparison of passwords.
import { createHash, timingSafeEqual } from "node:crypto";
import type { Secret } from "../secret.ts";

export type User = { readonly name: string; readonly password: Secret };

/** What is awaited from the client next. `login-password` remembers the name that came before it. */
export type SaslExchange =
  | { readonly awaits: "plain" }
  | { readonly awaits: "login-name" }
  | { readonly awaits: "login-password"; readonly name: string };

/** The outcome of one SASL line: a challenge to send on, credentials to judge, or the exchange has failed. */
export type SaslStep =
  | { readonly kind: "challenge"; readonly text: string; readonly exchange: SaslExchange }
  | { readonly kind: "credentials"; readonly name: string; readonly password: string }
  | { readonly kind: "cancelled" }
  | { readonly kind: "malformed" };

const CHALLENGE_NAME = Buffer.from("Username:").toString("base64");
const CHALLENGE_PASSWORD = Buffer.from("Password:").toString("base64");
const MAX_DELAY_MS = 8_000;

/** Begins an exchange; undefined when the mechanism is not one of ours. `initial` is the initial response as it came. */
export function beginExchange(mechanism: string, initial: string | undefined): SaslStep | undefined {
  const first: Readonly<Record<string, SaslStep & { kind: "challenge" }>> = {
    PLAIN: { kind: "challenge", text: "", exchange: { awaits: "plain" } },
    LOGIN: { kind: "challenge", text: CHALLENGE_NAME, exchange: { awaits: "login-name" } },
  };
  const name = mechanism.toUpperCase();
  const step = Object.hasOwn(first, name) ? first[name] : undefined;
  if (step === undefined || initial === undefined) return step;
  // "=" stands for an empty initial response (RFC 4954 4)
  return continueExchange(step.exchange, initial === "=" ? "" : initial);
}

/** The client's answer to a challenge. */
export function continueExchange(exchange: SaslExchange, response: string): SaslStep {
  if (response === "*") return { kind: "cancelled" };
  const text = decode(response);
  if (text === undefined) return { kind: "malformed" };
  switch (exchange.awaits) {
    case "plain": {
      const [authorization, name, password, ...more] = text.split("\0");
      if (name === undefined || password === undefined || more.length > 0) return { kind: "malformed" };
      // nobody may act for somebody else
      if (authorization !== "" && authorization !== name) return { kind: "malformed" };
      return { kind: "credentials", name, password };
    }
    case "login-name":
      return { kind: "challenge", text: CHALLENGE_PASSWORD, exchange: { awaits: "login-password", name: text } };
    case "login-password":
      return { kind: "credentials", name: exchange.name, password: text };
  }
}

/** Whether one of the users has this name and password; takes the same time whichever part is wrong. */
export function isKnown(users: readonly User[], name: string, password: string): boolean {
  let matches = 0;
  for (const user of users)
    matches |= Number(isSame(user.name, name)) & Number(isSame(user.password.reveal(), password));
  return matches === 1;
}

/** How long the reply to the nth wrong password in a row waits, behind those of the same address before it: 1, 2, 4, then 8 seconds. */
export function failureDelayMs(failures: number): number {
  return Math.min(MAX_DELAY_MS, 1_000 * 2 ** Math.min(failures - 1, 10));
}

// digests have one length, so the comparison tells nothing of the length of the secret
function isSame(left: string, right: string): boolean {
  return timingSafeEqual(digest(left), digest(right));
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function decode(response: string): string | undefined {
  if (response.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(response)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(response, "base64"));
  } catch {
    return undefined;
  }
}
