// What the usual libraries do without a queue: nodemailer passes each mail on before the client hears 250. In clear, nothing is stored.
import { randomUUID } from "node:crypto";
import { createTransport } from "nodemailer";
import { systemClock } from "../../src/clock.ts";
import { Listener, type ListenerTls } from "../../src/smtp/listener.ts";
import type { Intake } from "../../src/smtp/intake.ts";
import type { ServerTls } from "../load/lane.ts";
import type { Peer } from "./peer.ts";

const UPSTREAM_CONNECTIONS = 8;

/** In this very process: its own listener, nodemailer's pool behind it. */
export async function startPassThrough(sinkPort: number, tls?: ServerTls): Promise<Peer> {
  const transport = createTransport({
    ...{ host: "127.0.0.1", port: sinkPort, pool: true, maxConnections: UPSTREAM_CONNECTIONS },
    ...(tls === undefined ? { ignoreTLS: true } : { requireTLS: true, tls: { ca: tls.ca, servername: "localhost" } }),
    ...{ maxMessages: Infinity, disableFileAccess: true, disableUrlAccess: true },
  });
  const begin = (): Intake => {
    const pieces: Uint8Array[] = [];
    return {
      write: (chunk) => Promise.resolve(void pieces.push(chunk)),
      async commit({ reversePath, recipients }) {
        const to = recipients.map(({ mailbox }) => mailbox.address);
        await transport.sendMail({ envelope: { from: reversePath?.address ?? "", to }, raw: Buffer.concat(pieces) });
        return { id: randomUUID() };
      },
      abort: () => Promise.resolve(),
    };
  };
  const nothing = () => undefined;
  const observer = {
    ...{ onSessionOpened: nothing, onSessionClosed: nothing, onSessionRefused: nothing, onAuthFailed: nothing },
    ...{ onMessageAccepted: nothing, onMessageRefused: nothing, onFault: nothing },
  };
  const listener = new Listener(
    {
      ...{ section: "outbound", hostname: "peer.test", host: "127.0.0.1", port: 0, tls: listenerTls(tls) },
      ...{ allowNetworks: ["127.0.0.0/8"], users: [], maxMessageBytes: 100_000_000, maxRecipients: 100 },
      lineEndings: "strict",
    },
    { begin, observer },
    systemClock,
  );
  return {
    ...{ name: "nodemailer pass-through", port: await listener.listen(), recipient: "alice@example.com" },
    async stop() {
      await listener.close(0);
      transport.close();
    },
  };
}

function listenerTls(tls: ServerTls | undefined): ListenerTls {
  if (tls === undefined) return { mode: "off" };
  return { mode: "starttls", cert: Buffer.from(tls.cert), key: Buffer.from(tls.key) };
}
