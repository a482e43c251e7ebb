// Work on one lease: prepare, send, settle. Whatever throws makes the recipients wait; nothing is ever dropped here.
import { ApprovedClear } from "../mail/outgoing.ts";
import type { Mailbox } from "../mail/address.ts";
import { guard } from "../outbound/guard.ts";
import type { MailFacts } from "../outbound/mail-facts.ts";
import { prepare, type PrepareParts, type Shipment } from "../outbound/prepare.ts";
import { problemReport } from "../outbound/report.ts";
import type { Sender, SendResult } from "../smtp/sender.ts";
import type { Leased, Notice, Spool } from "../spool/spool.ts";
import { failureDsn } from "./dsn.ts";
import type { RetrySettings } from "./retry.ts";
import { notSentAttempt, settle, type Attempt, type Settled } from "./settlement.ts";

export type WorkParts = {
  readonly spool: Spool;
  readonly sender: Sender;
  readonly prepare: PrepareParts;
  readonly retry: RetrySettings;
  readonly hostname: string;
  readonly observe: DeliveryObserver;
  now(): number;
  /** From 0 to 1. */
  random(): number;
};

export type DeliveryObserver = {
  settled(leased: Leased, settled: readonly Settled[]): void;
  noticeQueued(leased: Leased, notice: Notice): void;
  sent(ms: number): void;
  /** A stored message that cannot be read, or a fault of ours. */
  broken(leased: Leased, cause: Error): void;
};

/** What the runner must know of the upstream: not tried, reached, or not reachable at all, in the words of the sender. */
export type WorkResult = { readonly upstream: "untried" | "reached" | { readonly unreachable: string } };

/** Does the whole work of one lease and settles it. Rejects only when the spool itself fails; the lease then runs out. */
export async function work(leased: Leased, parts: WorkParts, signal: AbortSignal): Promise<WorkResult> {
  const { attempts, facts, upstream } = await attemptAll(leased, parts, signal);
  const settled = attempts.map((attempt) => settle(attempt, leased, parts.now(), parts.retry, parts.random()));
  const notices = await noticesFor(leased, settled, facts, parts);
  const { leaseLost } = await parts.spool.settle(
    leased,
    settled.map((one) => one.outcome),
    notices,
  );
  parts.observe.settled(leased, settled);
  if (leaseLost) return { upstream };
  for (const notice of notices) parts.observe.noticeQueued(leased, notice);
  return { upstream };
}

type Attempted = { attempts: Attempt[]; facts: MailFacts | undefined } & WorkResult;

async function attemptAll(leased: Leased, parts: WorkParts, signal: AbortSignal): Promise<Attempted> {
  try {
    if (leased.envelope.class !== "mail")
      return await sendAll(leased, [await noticeShipment(leased)], [], undefined, parts);
    const { shipments, notSent, facts } = await prepare(leased, parts.prepare, signal);
    return await sendAll(leased, shipments, notSent.map(notSentAttempt), facts, parts);
  } catch (thrown) {
    const cause = thrown instanceof Error ? thrown : new Error(String(thrown));
    parts.observe.broken(leased, cause);
    const attempts = leased.due.map((recipient): Attempt => ({
      recipient,
      treatment: "later",
      result: "deferred",
      reply: cause.message,
      isRemote: false,
    }));
    return { attempts, facts: undefined, upstream: "untried" };
  }
}

async function sendAll(
  leased: Leased,
  shipments: readonly Shipment[],
  notSent: readonly Attempt[],
  facts: MailFacts | undefined,
  parts: WorkParts,
): Promise<Attempted> {
  const sent = await Promise.all(
    shipments.map(async (shipment) => ({ shipment, result: await send(leased, shipment, parts) })),
  );
  const attempts = sent.flatMap(({ shipment, result }) => attemptsOf(shipment, result));
  const down = sent.map(({ result }) => result).find((result) => result.kind === "unreachable");
  const upstream = down !== undefined ? { unreachable: down.reply } : sent.length > 0 ? "reached" : "untried";
  return { attempts: [...notSent, ...attempts], facts, upstream };
}

async function send(leased: Leased, shipment: Shipment, parts: WorkParts): Promise<SendResult> {
  const since = parts.now();
  const result = await parts.sender.send({
    reversePath: leased.envelope.reversePath,
    recipients: shipment.recipients.map(({ mailbox, notify }) =>
      notify === undefined ? { mailbox } : { mailbox, notify },
    ),
    smtpUtf8: shipment.smtpUtf8,
    is8bit: shipment.is8bit,
    outgoing: shipment.guarded,
  });
  parts.observe.sent(parts.now() - since);
  return result;
}

/** One attempt for each recipient of the shipment; a recipient that the sender says nothing of waits. */
function attemptsOf({ recipients, treatment }: Shipment, result: SendResult): Attempt[] {
  return recipients.map((recipient): Attempt => {
    if (result.kind === "unreachable")
      return { recipient, treatment, result: "deferred", reply: result.reply, isRemote: false };
    const own = result.results.find(({ mailbox }) => mailbox.address === recipient.mailbox.address);
    switch (own?.outcome) {
      case undefined:
        return { recipient, treatment, result: "deferred", reply: "no outcome is known", isRemote: false };
      case "deferred":
        return { recipient, treatment, result: "deferred", reply: own.reply, isRemote: true };
      case "delivered":
      case "refused":
        return { recipient, treatment, result: own.outcome, reply: own.reply };
    }
  });
}

/** Our own reports and DSNs: written without any content, so they leave as they are. */
async function noticeShipment(leased: Leased): Promise<Shipment> {
  const rule = `own ${leased.envelope.class}`;
  const guarded = await guard(new ApprovedClear(leased.content, rule), { kind: "clear", rule });
  return { recipients: leased.due, treatment: "clear", guarded, is8bit: false, smtpUtf8: leased.envelope.smtpUtf8 };
}

async function noticesFor(
  leased: Leased,
  settled: readonly Settled[],
  facts: MailFacts | undefined,
  parts: WorkParts,
): Promise<Notice[]> {
  // a notice about a notice would be a loop
  if (leased.envelope.class !== "mail") return [];
  const from = facts?.from ?? leased.envelope.reversePath ?? postmaster(parts.hostname);
  const reports = settled.flatMap(({ attempt, report }) =>
    report === undefined
      ? []
      : [
          problemReport(
            attempt.recipient.mailbox,
            report.reason,
            report.isHeld,
            { hostname: parts.hostname, from },
            parts.now(),
          ),
        ],
  );
  const failures = settled.flatMap(({ failure }) => failure ?? []);
  const { reversePath } = leased.envelope;
  const dsns =
    failures.length === 0 || reversePath === undefined
      ? []
      : [
          failureDsn(
            { id: leased.id, reversePath, acceptedAt: leased.acceptedAt },
            failures,
            facts,
            { hostname: parts.hostname },
            parts.now(),
          ),
        ];
  return Promise.all([...reports, ...dsns]);
}

function postmaster(hostname: string): Mailbox {
  const address = `postmaster@${hostname}`;
  return { address, key: address, local: "postmaster", domain: hostname };
}
