// AUTH towards the upstream: PLAIN, LOGIN and XOAUTH2, never over a way on which others can listen (RFC 4954).
import type { Secret } from "../secret.ts";
import type { UpstreamConnection } from "./upstream-connection.ts";
import { Unreachable, type Protection } from "./upstream-protection.ts";
import { shownReply } from "./upstream-reply.ts";
import type { UpstreamAuth } from "./upstream-settings.ts";

/** Logs in or throws Unreachable. No text of it holds a password or token. */
export async function logIn(
  connection: Pick<UpstreamConnection, "peerAddress" | "command" | "reply">,
  auth: UpstreamAuth,
  mechanisms: readonly string[],
  protection: Protection,
  withinMs: number,
): Promise<void> {
  const where = "token" in auth ? "upstream.tokenFile" : "upstream.passwordFile";
  if (protection.kind !== "verified" && !isLoopback(connection.peerAddress)) {
    const lack =
      protection.kind === "clear" ? "there is no TLS" : `its certificate is not verified (${protection.why})`;
    throw new Unreachable(
      `does not get upstream.user and its password because ${lack}; see upstream.tls and upstream.ca`,
    );
  }
  const [first = "", ...more] = await loginLines(auth, mechanisms);
  connection.command(first);
  let reply = await connection.reply(withinMs);
  for (const line of more) {
    if (reply.code !== 334) break;
    connection.command(line);
    reply = await connection.reply(withinMs);
  }
  if (reply.code === 334) {
    // XOAUTH2 tells its error in a challenge; the empty response brings the reply that counts
    connection.command("");
    reply = await connection.reply(withinMs);
  }
  if (reply.code !== 235)
    throw new Unreachable(`refuses the login with ${shownReply(reply)}; see upstream.user and ${where}`);
}

/** The AUTH command and the lines that answer its challenges. */
async function loginLines(auth: UpstreamAuth, offered: readonly string[]): Promise<string[]> {
  const mechanisms = "token" in auth ? (["XOAUTH2"] as const) : (["PLAIN", "LOGIN"] as const);
  const mechanism = mechanisms.find((one) => offered.includes(one));
  if (mechanism === undefined)
    throw new Unreachable(`does not offer AUTH ${mechanisms.join(" or ")}; see upstream.user and upstream.tls`);
  const secret = await secretOf(auth);
  const { user } = auth;
  switch (mechanism) {
    case "PLAIN":
      return [`AUTH PLAIN ${base64(`\0${user}\0${secret.reveal()}`)}`];
    case "LOGIN":
      return ["AUTH LOGIN", base64(user), base64(secret.reveal())];
    case "XOAUTH2":
      return [`AUTH XOAUTH2 ${base64(`user=${user}\x01auth=Bearer ${secret.reveal()}\x01\x01`)}`];
  }
}

async function secretOf(auth: UpstreamAuth): Promise<Secret> {
  if (!("token" in auth)) return auth.password;
  try {
    return await auth.token();
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : "fault";
    throw new Unreachable(`gets no login: upstream.tokenFile cannot be read: ${text}`, { cause });
  }
}

function isLoopback(address: string): boolean {
  return /^(?:::ffff:)?127\./.test(address) || address === "::1";
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
