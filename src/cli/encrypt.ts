// encrypt: one message from stdin to stdout as it would be sent, by the same chain, policy and guard as mail.
import type { Command } from "commander";
import { asError } from "../as-error.ts";
import type { Ciphers } from "../encrypt/cipher.ts";
import type { Mailbox } from "../mail/address.ts";
import { sizedBytes, type Sized } from "../mail/chunks.ts";
import { madeReady, Unencryptable, type Shipment } from "../outbound/departure.ts";
import { prepare, waitFor, type Prepared } from "../outbound/prepare.ts";
import type { Leased } from "../spool/spool.ts";
import { mailboxArgument } from "./arguments.ts";
import { addCommand, complain, EXIT, run, type CommonOptions, type ExitCode } from "./run.ts";
import { withKeys } from "./with-keys.ts";

type Options = CommonOptions & { readonly to: readonly string[]; readonly from?: string };

export function register(program: Command): void {
  addCommand(program, "encrypt", "Encrypt the message on stdin as mail to these recipients would be.")
    .requiredOption("--to <address...>", "recipients")
    .option("--from <address>", "reverse-path")
    .action(run(encryptCommand));
}

function encryptCommand(options: Options) {
  return withKeys(options, async (keys, settings) => {
    const recipients = options.to.flatMap((text) => mailboxArgument(text) ?? []);
    const from = options.from === undefined ? undefined : mailboxArgument(options.from);
    if (recipients.length < options.to.length || (options.from !== undefined && from === undefined)) return EXIT.usage;
    const message = await readMessage(settings.outbound.maxMessageSize);
    const signal = AbortSignal.timeout(60_000);
    return writeOut(await prepare(lease(message, recipients, from), keys.prepare, signal), keys.ciphers);
  });
}

/** What the runner would have leased. */
function lease(message: Buffer, recipients: readonly Mailbox[], reversePath: Mailbox | undefined): Leased {
  return {
    id: "stdin",
    token: "",
    envelope: { route: "outbound", class: "mail", reversePath, smtpUtf8: true, is8bit: true },
    allRecipients: recipients,
    due: recipients.map((mailbox, index) => ({
      index,
      mailbox,
      notify: undefined,
      attempts: 0,
      state: "queued",
      heldSince: undefined,
    })),
    acceptedAt: 0,
    wasHereAtStart: false,
    leaseUntil: Infinity,
    content: sizedBytes(message),
  };
}

async function writeOut(prepared: Prepared, ciphers: Ciphers): Promise<ExitCode> {
  const ready: { readonly shipment: Shipment; readonly message: Sized }[] = [];
  const notSent = [...prepared.notSent];
  const waiting = [...prepared.shipments];
  for (let shipment = waiting.shift(); shipment !== undefined; shipment = waiting.shift()) {
    try {
      ready.push({ shipment, message: (await madeReady(shipment.departure, ciphers)).outgoing.message });
    } catch (cause) {
      if (cause instanceof Unencryptable && shipment.apart.length > 0) waiting.push(...shipment.apart);
      else notSent.push(...waitFor(shipment.recipients, asError(cause)));
    }
  }
  const [only, another] = ready;
  if (only !== undefined && another === undefined && notSent.length === 0) {
    for await (const chunk of only.message.chunks()) if (!process.stdout.write(chunk)) await drained();
    return EXIT.ok;
  }
  complain(new Error("the recipients would not all get the same message:"), false);
  for (const { recipients, treatment } of ready.map(({ shipment }) => shipment)) {
    process.stderr.write(`  ${treatment}: ${recipients.map((one) => one.mailbox.address).join(", ")}\n`);
  }
  for (const { recipient, treatment } of notSent) {
    const reason = treatment.kind === "later" ? treatment.cause.message : treatment.reason;
    process.stderr.write(`  ${treatment.kind}: ${recipient.mailbox.address}: ${reason}\n`);
  }
  return EXIT.no;
}

function drained(): Promise<void> {
  return new Promise((resolve) => process.stdout.once("drain", resolve));
}

/** Lines that end with LF alone get CRLF, as files on disk have it. */
async function readMessage(maxBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of process.stdin as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > maxBytes) throw new Error(`the message is larger than outbound.maxMessageSize (${maxBytes} bytes)`);
    parts.push(part);
  }
  const text = Buffer.concat(parts).toString("latin1");
  return Buffer.from(text.replace(/\r?\n/g, "\r\n"), "latin1");
}
