// One mail transaction: MAIL, RCPT, DATA and the content, with one outcome for each recipient (RFC 5321 3.3).
//
// Rules:
// 1. A recipient is delivered only by a 2xx reply to the final dot.
// 2. It is refused only by a 5xx reply that speaks of it or of the message. Everything else, the unknown included, is deferred.
// 3. The final dot is sent only behind the whole content: if reading it fails, the connection ends first.
// 4. Without an accepted recipient there is no DATA; therefore DATA is never pipelined with the RCPTs.
import { needsSmtpUtf8, type Mailbox } from "../mail/address.ts";
import type { Guarded } from "../mail/outgoing.ts";
import type { Sized } from "../mail/chunks.ts";
import type { SpooledForwardPath } from "../spool/spool.ts";
import { ConnectionFault, type UpstreamConnection } from "./upstream-connection.ts";
import { DotStuffing } from "./upstream-dot-stuffing.ts";
import { shownReply, shownText, type Reply } from "./upstream-reply.ts";
import type { Extensions, UpstreamSession } from "./upstream-session.ts";
import { serverName, type UpstreamSection, type UpstreamTimeouts } from "./upstream-settings.ts";

const NOTHING = Buffer.alloc(0);

/** What is to be sent. Only what the guard has let through can be: no other value has the type `Guarded`. */
export type Transaction = {
  /** undefined is the null reverse-path. */
  readonly reversePath: Mailbox | undefined;
  readonly recipients: readonly SpooledForwardPath[];
  /** The client has said SMTPUTF8 / BODY=8BITMIME. */
  readonly smtpUtf8: boolean;
  readonly is8bit: boolean;
  /** Lines end with CRLF; if the last one does not, a CRLF is added. All other octets arrive as they are. */
  readonly outgoing: Guarded;
};

/** `reply` is harmless to show and at most 500 characters; `status` an enhanced status code of class 5. */
export type RecipientResult = { readonly mailbox: Mailbox } & (
  | { readonly outcome: "delivered"; readonly reply: string }
  | { readonly outcome: "deferred"; readonly reply: string }
  | { readonly outcome: "refused"; readonly reply: string; readonly status: string }
);

export type TransactionEnd =
  /** Results in the order of the recipients. `isClean`: the session can begin the next transaction without RSET. */
  | { readonly kind: "ended"; readonly results: readonly RecipientResult[]; readonly isClean: boolean }
  /** The upstream does not want us (530 and the like): says nothing about the message. */
  | { readonly kind: "unwelcome"; readonly reply: string }
  /** The connection ended before MAIL was answered: nothing has happened. */
  | { readonly kind: "unanswered"; readonly reply: string };

type Verdict =
  | { readonly outcome: "delivered" | "deferred"; readonly reply: string }
  | { readonly outcome: "refused"; readonly reply: string; readonly status: string };

/** Runs one transaction; never rejects. After anything but a reply the connection is over. */
export async function transact(
  session: UpstreamSession,
  transaction: Transaction,
  timeouts: UpstreamTimeouts,
): Promise<TransactionEnd> {
  const course = new Course(session, transaction, timeouts);
  try {
    return { kind: "ended", results: course.results(await course.run()), isClean: course.isClean };
  } catch (error) {
    const reply = shownText(faultText(error, session.section));
    session.connection.fail(new ConnectionFault("lost", reply));
    if (error instanceof Unwelcome) return { kind: "unwelcome", reply };
    const hasGone = error instanceof ConnectionFault && (error.kind === "lost" || error.kind === "closing");
    if (hasGone && !course.isMailAnswered) return { kind: "unanswered", reply };
    return { kind: "ended", results: course.results({ outcome: "deferred", reply }), isClean: false };
  }
}

/** A reply that is about our login or our TLS, not about the message. */
class Unwelcome extends Error {}
/** A reply that no command of ours can have brought about. */
class OutOfStep extends Error {}

class Course {
  readonly #connection: UpstreamConnection;
  readonly #extensions: Extensions;
  readonly #transaction: Transaction;
  readonly #timeouts: UpstreamTimeouts;
  /** By position: the same mailbox may stand twice. */
  readonly #verdicts = new Map<number, Verdict>();
  isMailAnswered = false;
  isClean = false;

  constructor(session: UpstreamSession, transaction: Transaction, timeouts: UpstreamTimeouts) {
    this.#connection = session.connection;
    this.#extensions = session.extensions;
    this.#transaction = transaction;
    this.#timeouts = timeouts;
  }

  /** The verdict on every recipient that has none of its own. */
  async run(): Promise<Verdict> {
    const { message } = this.#transaction.outgoing;
    const unsendable = (await this.#unsendable(message)) ?? this.#checkRecipients();
    if (unsendable) {
      this.isClean = true;
      return unsendable;
    }
    const refusal = this.#extensions.has("PIPELINING") ? await this.#envelopeInOne() : await this.#envelopeInSteps();
    if (refusal) return refusal;
    if (this.#open().length === 0) return deferred("no recipient was accepted");
    this.#connection.command("DATA");
    const go = await this.#reply(this.#timeouts.dataMs);
    if (go.code !== 354) return negative(go);
    await this.#sendContent(message);
    const end = await this.#reply(this.#timeouts.dotMs);
    if (!isPositive(end)) return negative(end);
    this.isClean = true;
    return { outcome: "delivered", reply: shownReply(end) };
  }

  results(rest: Verdict): RecipientResult[] {
    return this.#transaction.recipients.map(({ mailbox }, i) => ({ mailbox, ...(this.#verdicts.get(i) ?? rest) }));
  }

  /** Why the message as such cannot go to this upstream; found out before anything is said. */
  async #unsendable(message: Sized): Promise<Verdict | undefined> {
    const { reversePath, smtpUtf8 } = this.#transaction;
    const limit = Number(this.#extensions.get("SIZE") ?? 0);
    if (limit > 0 && message.size > limit)
      return refused("5.3.4", `the message of ${message.size} octets is larger than the ${limit} that upstream takes`);
    if (this.#extensions.has("SMTPUTF8")) return undefined;
    const isNeeded = (reversePath && needsSmtpUtf8(reversePath)) ?? false;
    if (isNeeded || (smtpUtf8 && (await hasEightBitHeader(message))))
      return refused("5.6.7", "the message needs SMTPUTF8, which upstream does not offer");
    return undefined;
  }

  /** Sorts out the recipients that this upstream cannot be told of; a verdict when none is left. */
  #checkRecipients(): Verdict | undefined {
    const lack = refused("5.6.7", "the address needs SMTPUTF8, which upstream does not offer");
    if (!this.#extensions.has("SMTPUTF8")) {
      this.#transaction.recipients.forEach(({ mailbox }, i) => {
        if (needsSmtpUtf8(mailbox)) this.#verdicts.set(i, lack);
      });
    }
    return this.#open().length === 0 ? lack : undefined;
  }

  /** MAIL and all RCPTs in one segment (RFC 2920); gives the verdict on all when MAIL is refused. */
  async #envelopeInOne(): Promise<Verdict | undefined> {
    const open = this.#open();
    this.#connection.command(this.#mailCommand(), ...open.map((i) => this.#rcptCommand(i)));
    const refusal = await this.#mailReply();
    for (const i of open) {
      const reply = await this.#connection.reply(this.#timeouts.rcptMs);
      if (!refusal) this.#judgeRcpt(i, reply);
    }
    return refusal;
  }

  async #envelopeInSteps(): Promise<Verdict | undefined> {
    this.#connection.command(this.#mailCommand());
    const refusal = await this.#mailReply();
    if (refusal) return refusal;
    for (const i of this.#open()) {
      this.#connection.command(this.#rcptCommand(i));
      this.#judgeRcpt(i, await this.#connection.reply(this.#timeouts.rcptMs));
    }
    return undefined;
  }

  async #mailReply(): Promise<Verdict | undefined> {
    const reply = await this.#connection.reply(this.#timeouts.mailMs);
    this.isMailAnswered = true;
    return isPositive(checked(reply)) ? undefined : negative(reply);
  }

  #judgeRcpt(i: number, reply: Reply): void {
    if (isPositive(checked(reply))) return;
    // "too many recipients" of old servers: the others have their turn later (RFC 5321 4.5.3.1.10)
    const isTooMany = reply.status === "5.5.3" || (reply.code === 552 && reply.status === undefined);
    this.#verdicts.set(i, isTooMany ? deferred(shownReply(reply)) : negative(reply));
  }

  async #sendContent(message: Sized): Promise<void> {
    const { size, pieces } = message;
    const stuffing = new DotStuffing();
    let octets = 0;
    let last: Uint8Array = NOTHING;
    const wrongSize = () => new Error(`the content is not the ${size} octets that were announced`);
    const take = async (chunk: Uint8Array): Promise<void> => {
      octets += chunk.length;
      if (octets > size) throw wrongSize();
      const stuffed = stuffing.push(chunk);
      if (octets < size) await this.#connection.write(stuffed, this.#timeouts.blockMs);
      else if (chunk.length > 0) last = stuffed;
    };
    // what is in memory is not read through a generator, which V8 would keep, with the octets, until the whole heap is marked
    if (pieces !== undefined) for (const chunk of pieces()) await take(chunk);
    else for await (const chunk of message.chunks()) await take(chunk);
    if (octets !== size) throw wrongSize();
    // copied: a corked socket would send both in one segment too, but its buffer outlives the mail and keeps it
    this.#connection.endMessage(Buffer.concat([last, stuffing.end()]));
  }

  async #reply(withinMs: number): Promise<Reply> {
    return checked(await this.#connection.reply(withinMs));
  }

  /** Positions of the recipients that are not judged yet. */
  #open(): number[] {
    return [...this.#transaction.recipients.keys()].filter((i) => !this.#verdicts.has(i));
  }

  #mailCommand(): string {
    const { reversePath, recipients, smtpUtf8, is8bit, outgoing } = this.#transaction;
    const isUtf8 =
      smtpUtf8 || [reversePath, ...recipients.map((one) => one.mailbox)].some((m) => m && needsSmtpUtf8(m));
    const parameters = [
      this.#extensions.has("SIZE") ? ` SIZE=${outgoing.message.size}` : "",
      is8bit && this.#extensions.has("8BITMIME") ? " BODY=8BITMIME" : "",
      isUtf8 && this.#extensions.has("SMTPUTF8") ? " SMTPUTF8" : "",
    ];
    return `MAIL FROM:<${reversePath ? safeAddress(reversePath) : ""}>${parameters.join("")}`;
  }

  #rcptCommand(i: number): string {
    const recipient = this.#transaction.recipients[i];
    if (!recipient) throw new RangeError(`there is no recipient ${i}`);
    const notify = recipient.notify && this.#extensions.has("DSN") ? ` NOTIFY=${recipient.notify.join(",")}` : "";
    return `RCPT TO:<${safeAddress(recipient.mailbox)}>${notify}`;
  }
}

// the grammar lets none of these through; here is the last place to see that it has not
function safeAddress({ address }: Mailbox): string {
  // eslint-disable-next-line no-control-regex
  if (/[\x00-\x20\x7f<>]/.test(address)) throw new Error("an address holds a character that would end the command");
  return address;
}

/** The reply, unless it is one that says nothing about the message. */
function checked(reply: Reply): Reply {
  const { code } = reply;
  if (code === 530 || code === 534 || code === 535 || code === 538) throw new Unwelcome(shownReply(reply));
  if (code === 503) throw new OutOfStep(`upstream is out of step: ${shownReply(reply)}`);
  return reply;
}

function isPositive(reply: Reply): boolean {
  return reply.code >= 200 && reply.code < 300;
}

function negative(reply: Reply): Verdict {
  const text = shownReply(reply);
  if (reply.code >= 500) return { outcome: "refused", reply: text, status: reply.status ?? "5.0.0" };
  if (reply.code >= 400) return deferred(text);
  throw new OutOfStep(`upstream gives a reply that has no place here: ${text}`);
}

function deferred(reply: string): Verdict {
  return { outcome: "deferred", reply };
}

function refused(status: string, text: string): Verdict {
  return { outcome: "refused", status, reply: `${status} ${text}` };
}

function faultText(error: unknown, section: UpstreamSection): string {
  const text = error instanceof Error ? error.message : "fault";
  if (error instanceof Unwelcome) {
    // there is no login at the next hop
    const settings = section === "upstream" ? "upstream.user and upstream.tls" : `${section}.tls`;
    return `${serverName(section)} wants a login or TLS: ${text}; see ${settings}`;
  }
  if (error instanceof ConnectionFault || error instanceof OutOfStep) return text;
  return `not sent: ${text}`;
}

/** Whether the header section has an octet beyond ASCII (RFC 6532). */
async function hasEightBitHeader(message: Sized): Promise<boolean> {
  let last = Buffer.alloc(0);
  for await (const chunk of message.chunks()) {
    const text = Buffer.concat([last, chunk]);
    const end = text.indexOf("\r\n\r\n");
    if (text.subarray(0, end < 0 ? text.length : end).some((octet) => octet > 0x7f)) return true;
    if (end >= 0) return false;
    last = text.subarray(-3);
  }
  return false;
}
