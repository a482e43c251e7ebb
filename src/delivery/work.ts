// Work on one lease: prepare, send, settle. Whatever throws makes the recipients wait; nothing is ever dropped here.
import { asError } from "../as-error.ts";
import type { Mailbox } from "../mail/address.ts";
import type { MailFacts } from "../outbound/mail-facts.ts";
import { clearShipment, type Shipment } from "../outbound/departure.ts";
import { prepare, waitFor, type PrepareObserver, type PrepareParts } from "../outbound/prepare.ts";
import { problemReport } from "../outbound/report.ts";
import type { SendResult } from "../smtp/sender.ts";
import type { Leased, LeasedRecipient, Notice, Spool } from "../spool/spool.ts";
import type { Departed, Departures } from "./departures.ts";
import { failureDsn } from "./dsn.ts";
import { copyAttempts, passOnShipment, type InboundParts } from "./pass-on.ts";
import type { RetrySettings } from "./retry.ts";
import type { Steady } from "./steady.ts";
import { notSentAttempt, settle, type Attempt, type Settled } from "./settlement.ts";
import { MAX_TRIES } from "./suspects.ts";

export type WorkParts = {
  readonly spool: Spool;
  readonly departures: Departures;
  readonly prepare: PrepareParts;
  /** For messages of the inbound route. */
  readonly inbound: InboundParts | undefined;
  readonly retry: RetrySettings;
  readonly hostname: string;
  readonly observe: DeliveryObserver;
  now(): number;
  readonly steady: Steady;
  sleep(delayMs: number, signal: AbortSignal): Promise<void>;
  /** From 0 to 1. */
  random(): number;
};

export type DeliveryObserver = {
  settled(leased: Leased, settled: readonly Settled[]): void;
  noticeQueued(leased: Leased, notice: Notice): void;
  encrypted(kind: "smime" | "pgp", ms: number): void;
  sent(ms: number): void;
  stopped: PrepareObserver["stopped"];
  /** A stored message that cannot be read, or a fault of ours. */
  broken(leased: Leased, cause: Error): void;
  /** The spool itself failed: disk full, database locked. */
  spoolFailed(cause: Error): void;
};

/** What the runner must know of the upstream: not tried, reached, or not reachable at all, in the words of the sender. */
export type WorkResult = { readonly upstream: "untried" | "reached" | { readonly unreachable: string } };

/** So many shipments of one message are made and sent at once; each may hold up to 1 MiB. */
const SHIPMENTS_AT_ONCE = 4;
const SETTLE_AGAIN_FIRST_MS = 500;
const SETTLE_AGAIN_MAX_MS = 30_000;

/**
 * Does the whole work of one lease and settles it. What is known of the outcomes is written until it could be: a mail that
 * was delivered must not be sent again because a disk was full. Rejects only when `signal` ends it first. `isUntouched`: work on it
 * has ended the process too often, and it only waits.
 */
export async function work(
  leased: Leased,
  parts: WorkParts,
  signal: AbortSignal,
  isUntouched = false,
): Promise<WorkResult> {
  const attempted = isUntouched ? untouched(leased, parts) : await attemptAll(leased, parts, signal);
  const { attempts, facts, upstream, holdMs, harvested = [] } = attempted;
  const steadySince = parts.steady.since();
  // one for all of its recipients: what fails together is sent together again
  const random = parts.random();
  const settled = attempts.map((attempt) => {
    const hold = holdMs.get(attempt.recipient.index) ?? 0;
    return settle(attempt, leased, parts.now(), parts.retry, random, hold, steadySince);
  });
  const notices = await noticesFor(leased, settled, facts, parts).catch((cause: unknown) => {
    parts.observe.broken(leased, asError(cause));
    return [];
  });
  const all = [...notices, ...harvested];
  const { stored, leaseLost } = await settleSurely(leased, settled, all, parts, signal);
  parts.observe.settled(leased, settled);
  if (!leaseLost) for (const notice of stored) parts.observe.noticeQueued(leased, notice);
  return { upstream };
}

async function settleSurely(
  leased: Leased,
  settled: readonly Settled[],
  notices: readonly Notice[],
  parts: WorkParts,
  signal: AbortSignal,
): ReturnType<Spool["settle"]> {
  const outcomes = settled.map((one) => one.outcome);
  let told = "";
  for (let delayMs = SETTLE_AGAIN_FIRST_MS; ; delayMs = Math.min(delayMs * 2, SETTLE_AGAIN_MAX_MS)) {
    try {
      return await parts.spool.settle(leased, outcomes, notices);
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      const cause = asError(thrown);
      if (cause.message !== told) parts.observe.spoolFailed(cause);
      told = cause.message;
      await parts.sleep(delayMs, signal);
    }
  }
}

type Attempted = {
  readonly attempts: readonly Attempt[];
  readonly facts: MailFacts | undefined;
  readonly holdMs: ReadonlyMap<number, number>;
  /** Notices that learning from incoming mail causes. */
  readonly harvested?: readonly Notice[];
} & WorkResult;

async function attemptAll(leased: Leased, parts: WorkParts, signal: AbortSignal): Promise<Attempted> {
  try {
    if (leased.envelope.class === "report" || leased.envelope.class === "dsn") {
      const sent = await sendAll(leased, [noticeShipment(leased)], parts);
      return { ...sent, facts: undefined, holdMs: new Map() };
    }
    if (leased.envelope.route === "inbound") return await attemptInbound(leased, parts);
    const { shipments, notSent, facts, holdMs } = await prepare(leased, parts.prepare, signal);
    const { attempts, upstream } = await sendAll(leased, shipments, parts);
    return { attempts: [...notSent.map(notSentAttempt), ...attempts], upstream, facts, holdMs };
  } catch (thrown) {
    const cause = asError(thrown);
    parts.observe.broken(leased, cause);
    return waitingAll(leased, cause.message);
  }
}

function untouched(leased: Leased, parts: WorkParts): Attempted {
  const reply = `the process has ended ${MAX_TRIES} times or more while this message was worked on; it rests up to an hour; to try it now: sealpost queue retry ${leased.id}`;
  parts.observe.broken(leased, new Error(reply));
  return waitingAll(leased, reply);
}

/** Nothing can be done now, and nothing is given up. */
function waitingAll(leased: Leased, reply: string): Attempted {
  const later = { treatment: "later", result: "deferred", reply, isRemote: false } as const;
  const attempts = leased.due.map((recipient): Attempt => ({ recipient, ...later }));
  // whoever is held has at least the time of their hold, which is not known here
  const holdMs = new Map(leased.due.filter(({ state }) => state === "held").map(({ index }) => [index, Infinity]));
  return { attempts, facts: undefined, upstream: "untried", holdMs };
}

async function attemptInbound(leased: Leased, parts: WorkParts): Promise<Attempted> {
  const isCopy = leased.envelope.class === "copy";
  if (parts.inbound === undefined) return waitingAll(leased, "incoming mail, but inbound is switched off; see inbound");
  const { harvest, hasNextHop } = parts.inbound;
  if (!isCopy && !hasNextHop)
    return waitingAll(leased, "mail to be passed on has no next hop now; see inbound.forward");
  // a second attempt to pass it on teaches nothing new
  const isFirst = leased.due.some(({ attempts }) => attempts === 0);
  const harvested = isFirst ? await harvest(leased) : [];
  const rest = { facts: undefined, holdMs: new Map(), harvested } as const;
  if (isCopy) return { ...rest, attempts: copyAttempts(leased), upstream: "untried" };
  return { ...rest, ...(await sendAll(leased, [passOnShipment(leased)], parts)) };
}

async function sendAll(
  leased: Leased,
  shipments: readonly Shipment[],
  parts: WorkParts,
): Promise<{ attempts: Attempt[] } & WorkResult> {
  const attempts: Attempt[] = [];
  const waiting = [...shipments];
  let upstream: WorkResult["upstream"] = "untried";
  let unfinished = shipments.length;
  const sendNext = async (): Promise<void> => {
    for (let shipment = waiting.shift(); shipment !== undefined; shipment = waiting.shift()) {
      const departed = await parts.departures.depart(shipment.departure);
      const ended = attemptsOf(leased, shipment, departed, parts);
      if (ended === "apart") {
        waiting.push(...shipment.apart);
        unfinished += shipment.apart.length - 1;
        continue;
      }
      if (departed.kind === "sent") {
        const { result } = departed;
        if (result.kind === "unreachable") upstream = { unreachable: result.reply };
        else if (upstream === "untried") upstream = "reached";
      }
      attempts.push(...ended);
      unfinished--;
      if (unfinished > 0) await keepDelivered(leased, ended, parts);
    }
  };
  await Promise.all(Array.from({ length: SHIPMENTS_AT_ONCE }, sendNext));
  return { attempts, upstream };
}

/** "apart": nothing was sent, and each is to be tried on their own. */
function attemptsOf(
  leased: Leased,
  shipment: Shipment,
  departed: Departed,
  { observe }: WorkParts,
): Attempt[] | "apart" {
  const { recipients, treatment, apart } = shipment;
  if (departed.kind === "sent") {
    if (treatment === "smime" || treatment === "pgp") observe.encrypted(treatment, departed.readyMs);
    observe.sent(departed.sentMs);
    return recipients.map((recipient) => attemptOf(recipient, treatment, departed.result));
  }
  observe.stopped(leased.id, recipients, departed.cause, departed.kind === "not-let-through");
  if (departed.kind === "unencryptable" && apart.length > 0) return "apart";
  return waitFor(recipients, departed.cause).map(notSentAttempt);
}

/** A crash while others of the message are under way does not send this again; if it cannot be written now, settling will. */
async function keepDelivered(leased: Leased, attempts: readonly Attempt[], parts: WorkParts): Promise<void> {
  const delivered = attempts.filter(({ result }) => result === "delivered");
  if (delivered.length === 0) return;
  const outcomes = delivered.map((attempt) => settle(attempt, leased, parts.now(), parts.retry, 0, 0).outcome);
  await parts.spool
    .keepDelivered(leased, outcomes)
    .catch((cause: unknown) => parts.observe.spoolFailed(asError(cause)));
}

/** A recipient that the sender says nothing of waits. */
function attemptOf(recipient: LeasedRecipient, treatment: Shipment["treatment"], result: SendResult): Attempt {
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
}

/** Our own reports and DSNs: written without any content, so they leave as they are. */
function noticeShipment(leased: Leased): Shipment {
  return clearShipment(leased, `own ${leased.envelope.class}`);
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
