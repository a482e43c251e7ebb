// What the sender's tests share: an upstream and a sender that end with the test, and messages to send.
import { onTestFinished } from "vitest";
import { systemClock, type Clock } from "../../src/clock.ts";
import { mailbox } from "../../src/mail/address.ts";
import { sizedBytes, type Sized } from "../../src/mail/chunks.ts";
import { Guarded } from "../../src/mail/outgoing.ts";
import { createSender, type SendResult, type Sender, type Transaction } from "../../src/smtp/sender.ts";
import type { UpstreamSettings } from "../../src/smtp/upstream-settings.ts";
import { startUpstream, type Upstream } from "../upstream.ts";
import type { UpstreamOptions } from "../upstream-script.ts";

export const MESSAGE = "Subject: ciphertext\r\n\r\nMIIB\r\n";

export async function newUpstream(options: UpstreamOptions = {}): Promise<Upstream> {
  const upstream = await startUpstream(options);
  onTestFinished(() => upstream.close());
  return upstream;
}

export function senderTo(
  { port }: { readonly port: number },
  settings: Partial<UpstreamSettings> = {},
  clock: Clock = systemClock,
): Sender {
  const usual = {
    section: "upstream",
    host: "127.0.0.1",
    port,
    tls: "off",
    ca: undefined,
    hostname: "relay.test",
    auth: undefined,
  } as const;
  const sender = createSender({ ...usual, connections: 2, ...settings }, clock);
  onTestFinished(() => sender.close());
  return sender;
}

/** A transaction from ann@a.test; contents given as text are taken octet by octet. */
export function mailTo(
  recipients: readonly string[],
  content: string | Uint8Array | Sized = MESSAGE,
  more: Partial<Transaction> = {},
): Transaction {
  const bytes = typeof content === "string" ? Buffer.from(content, "latin1") : content;
  return {
    reversePath: mailbox("ann@a.test"),
    recipients: recipients.map((address) => ({ mailbox: mailbox(address) })),
    smtpUtf8: false,
    is8bit: false,
    outgoing: new Guarded(bytes instanceof Uint8Array ? sizedBytes(bytes) : bytes),
    ...more,
  };
}

/** One line for each recipient: `bob@b.test delivered 250 2.0.0 queued`. */
export function shown(result: SendResult): string[] {
  if (result.kind === "unreachable") return [`unreachable ${result.reply}`];
  return result.results.map((one) => {
    const status = one.outcome === "refused" ? ` (${one.status})` : "";
    return `${one.mailbox.address} ${one.outcome}${status} ${one.reply}`;
  });
}
