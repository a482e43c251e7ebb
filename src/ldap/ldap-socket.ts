// LDAP socket: one connection to the server, under TLS whose certificate was verified unless TLS is off, within a deadline.
import { once } from "node:events";
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls, type SecureContext } from "node:tls";
import { ExtendedRequest } from "ldapts";
import { lateFault, LdapFault, notLdapFault, serverOf, shown, socketFault } from "./ldap-fault.ts";
import { messageLength, NotLdap, readReply } from "./ldap-reply.ts";
import type { LdapSettings } from "./ldap-directory.ts";
import { holdsCertificate, systemTrust, trustIn } from "../tls-trust.ts";

/** RFC 4511 4.14. */
const START_TLS = "1.3.6.1.4.1.1466.20037";
const MAX_RESPONSE_BYTES = 65_536;

/** The authorities that certificates must lead to. */
export function trustOf({ ca }: Pick<LdapSettings, "ca">): SecureContext {
  if (ca !== undefined) {
    if (!holdsCertificate(ca)) throw new LdapFault("untrusted", "ca holds no certificate in PEM", { setting: "ca" });
    return trustIn([ca]);
  }
  return systemTrust();
}

/**
 * Connects as `tls` says; `trust` is asked for only when there is TLS. Rejects with an LdapFault, and then leaves no socket:
 * with the reason of `signal` when that fires. The socket has a listener for errors; they show as `close`.
 */
export async function openLdapSocket(
  settings: LdapSettings,
  trust: () => SecureContext,
  signal: AbortSignal,
): Promise<Socket> {
  const tcp = connect({ host: settings.host, port: settings.port });
  tcp.setNoDelay(true);
  tcp.on("error", () => undefined);
  let isInTls = false;
  try {
    await once(tcp, "connect", { signal });
    if (settings.tls === "off") return tcp;
    if (settings.tls === "starttls") await startTls(tcp, settings, signal);
    isInTls = true;
    return await secured(tcp, settings, trust(), signal);
  } catch (cause) {
    tcp.destroy();
    if (signal.aborted) throw signal.reason instanceof LdapFault ? signal.reason : lateFault(settings);
    throw cause instanceof NotLdap ? notLdapFault(cause, settings) : socketFault(cause, settings, isInTls);
  }
}

async function secured(tcp: Socket, settings: LdapSettings, trust: SecureContext, signal: AbortSignal) {
  const { host } = settings;
  // an address may not stand in SNI (RFC 6066 3); the name in the certificate is compared with either
  const name = isIP(host) === 0 ? { servername: host } : {};
  const socket = connectTls({ socket: tcp, host, ...name, secureContext: trust, rejectUnauthorized: true });
  socket.on("error", () => undefined);
  await once(socket, "secureConnect", { signal });
  return socket;
}

/** Not by ldapts: it takes what came in clear behind the response for the beginning of the protected part. */
async function startTls(tcp: Socket, settings: LdapSettings, signal: AbortSignal): Promise<void> {
  const server = serverOf(settings);
  tcp.write(new ExtendedRequest({ messageId: 1, oid: START_TLS }).write());
  const response = await firstMessage(tcp, server, signal);
  const reply = readReply(response);
  if (reply.kind !== "extended" || reply.id !== 1) throw new NotLdap("an answer to something else than StartTLS");
  if (reply.code === 0) return;
  throw tlsOffer(`${server} does not offer StartTLS (${[reply.code, shown(reply.text)].join(" ").trim()})`);
}

/** Anything that came behind it in the same packet is an error; what comes later meets TLS, which takes it for garbage. */
async function firstMessage(tcp: Socket, server: string, signal: AbortSignal): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  const giveUp = () => tcp.destroy();
  signal.addEventListener("abort", giveUp, { once: true });
  try {
    for await (const chunk of tcp.iterator({ destroyOnReturn: false })) {
      bytes = Buffer.concat([bytes, chunk as Buffer]);
      const length = messageLength(bytes) ?? Infinity;
      if (length !== Infinity && length > MAX_RESPONSE_BYTES) throw new NotLdap(`a response of ${length} octets`);
      if (bytes.length === length) return bytes;
      if (bytes.length > length) throw tlsOffer(`${server} sends more in clear after its answer to StartTLS`);
    }
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
  throw tlsOffer(`${server} closed the connection when asked for StartTLS`);
}

function tlsOffer(message: string): LdapFault {
  return new LdapFault("unreachable", message, { setting: "tls" });
}
