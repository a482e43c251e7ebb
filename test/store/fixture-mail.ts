// Mail for spool tests: envelopes, contents of a given size, and short ways to put them in and to read them again.
import { createHash } from "node:crypto";
import { mailbox } from "../../src/mail/address.ts";
import { collect } from "../../src/mail/chunks.ts";
import type {
  Leased,
  LeasedRecipient,
  Notice,
  RecipientOutcome,
  Route,
  Spool,
  SpooledEnvelope,
} from "../../src/spool/spool.ts";

export const SMALL_BYTES = 3_000;
/** Sealed bodies of more than 256 KiB are files beside the database. */
export const LARGE_BYTES = 300 * 1024;

export function envelopeTo(...addresses: readonly string[]): SpooledEnvelope {
  return {
    route: "outbound",
    class: "mail",
    reversePath: mailbox("jira@example.com"),
    recipients: addresses.map((address) => ({ mailbox: mailbox(address) })),
    smtpUtf8: false,
    is8bit: false,
  };
}

/** The same octets for the same mark and size, so that another process can make them again. */
export function contentOf(mark: string, sizeBytes: number): Buffer {
  const block = createHash("sha512").update(mark).digest("base64");
  const head = `Message-ID: <${mark}@jira.example.com>\r\nSubject: ${mark}\r\n\r\n`;
  return Buffer.from(head + `${block.slice(0, 76)}\r\n`.repeat(Math.ceil(sizeBytes / 78))).subarray(0, sizeBytes);
}

/** Writes in uneven pieces and commits; gives the id that was acknowledged. */
export async function accept(
  spool: Spool,
  content: Buffer,
  envelope = envelopeTo("alice@example.com"),
): Promise<string> {
  const receiving = spool.receive();
  for (let at = 0; at < content.length; at += 50_021) await receiving.write(content.subarray(at, at + 50_021));
  await receiving.commit(envelope);
  return receiving.id;
}

export async function mustLease(
  spool: Spool,
  at: number,
  leaseForMs = 60_000,
  route: Route = "outbound",
): Promise<Leased> {
  const leased = await spool.lease(at, leaseForMs, route);
  if (leased === null) throw new Error("nothing is due");
  return leased;
}

export const read = (leased: Leased): Promise<Buffer> => collect(leased.content);

export function outcome(recipient: LeasedRecipient, fields: Partial<RecipientOutcome> = {}): RecipientOutcome {
  return {
    index: recipient.index,
    state: "delivered",
    lastReply: "250 2.0.0 taken",
    treatment: "smime",
    countsAsAttempt: true,
    ...fields,
  };
}

export function report(address: string, onceADay?: string): Notice {
  const message = Buffer.from(`To: ${address}\r\nSubject: notice\r\n\r\nno key\r\n`);
  const notice = { class: "report", reversePath: undefined, recipient: mailbox(address), message } as const;
  return onceADay === undefined ? notice : { ...notice, onceADay };
}
