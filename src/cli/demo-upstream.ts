// A mail server for the demo that accepts everything and keeps it in memory.
import { randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import { Listener } from "../smtp/listener.ts";
import type { ListenerObserver } from "../smtp/observer.ts";

export type Recorded = { readonly recipients: readonly string[]; readonly message: Buffer };

export type Recorder = {
  readonly port: number;
  /** The messages received, once there are `count`; throws after `deadlineMs`. */
  waitFor(count: number, deadlineMs: number): Promise<readonly Recorded[]>;
  close(): Promise<void>;
};

const nobody = () => undefined;
const OBSERVER: ListenerObserver = {
  onSessionOpened: nobody,
  onSessionClosed: nobody,
  onSessionRefused: nobody,
  onAuthFailed: nobody,
  onMessageAccepted: nobody,
  onMessageRefused: nobody,
  onFault: nobody,
};

export async function openRecorder(clock: Clock): Promise<Recorder> {
  const recorded: Recorded[] = [];
  let arrived = new AbortController();
  const begin = () => {
    const parts: Uint8Array[] = [];
    return {
      write(chunk: Uint8Array) {
        // the listener may use its buffer again
        parts.push(Uint8Array.from(chunk));
        return Promise.resolve();
      },
      commit(envelope: { recipients: readonly { mailbox: { address: string } }[] }) {
        recorded.push({
          recipients: envelope.recipients.map(({ mailbox }) => mailbox.address),
          message: Buffer.concat(parts),
        });
        arrived.abort();
        arrived = new AbortController();
        return Promise.resolve({ id: randomUUID() });
      },
      abort: () => Promise.resolve(),
    };
  };
  const listener = new Listener(
    {
      section: "outbound",
      hostname: "mail.example.com",
      host: "127.0.0.1",
      port: 0,
      tls: { mode: "off" },
      allowNetworks: ["127.0.0.0/8"],
      users: [],
      maxMessageBytes: 64 * 1024 * 1024,
      maxRecipients: 100,
      lineEndings: "strict",
    },
    { begin, observer: OBSERVER },
    clock,
  );
  const port = await listener.listen();
  return {
    port,
    async waitFor(count, deadlineMs) {
      const end = clock.now() + deadlineMs;
      while (recorded.length < count) {
        if (clock.now() >= end)
          throw new Error(`only ${recorded.length} of ${count} messages arrived within ${deadlineMs} ms`);
        await clock.sleep(end - clock.now(), arrived.signal);
      }
      return recorded;
    },
    close: () => listener.close(0),
  };
}
