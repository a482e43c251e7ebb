// Settlement: what is written down for each recipient of a lease, and which notices that causes (pure but for random).
//
// Rules:
//   delivered upstream                        → delivered
//   deferred, look-up or encryption failed    → queued again by the retry schedule; given up → failed, with a DSN
//   refused upstream (5xx)                    → failed, with a DSN
//   report | block, with hold                 → held, looked at again now and then; at its end → failed (block: with a DSN)
//   report | block, without hold              → failed (report: the notice; block: a DSN)
//   report, first time                        → the notice to the recipient, once a day for each reason
// Nothing is given up for its age within an hour after a jump of the clock or a start (steady.ts): there are attempts after it.
// A recipient that is held stays held while its look-up fails, until both its hold and retry.giveUp are over: then a DSN.
import { withCauses } from "../log.ts";
import type { LeasedRecipient, Leased, RecipientOutcome } from "../spool/spool.ts";
import type { NotSent } from "../outbound/prepare.ts";
import { statusOf, type FailedRecipient } from "./dsn.ts";
import { nextAttempt, type RetrySettings } from "./retry.ts";
import { endOf } from "./steady.ts";

/** What became of one recipient in this lease. */
export type Attempt =
  | {
      readonly recipient: LeasedRecipient;
      readonly treatment: string;
      readonly result: "delivered";
      readonly reply: string;
    }
  | {
      readonly recipient: LeasedRecipient;
      readonly treatment: string;
      readonly result: "deferred";
      readonly reply: string;
      readonly isRemote: boolean;
      /** What the log says instead of the reply, which may be the same for thousands of mails. */
      readonly summary?: string;
    }
  | {
      readonly recipient: LeasedRecipient;
      readonly treatment: string;
      readonly result: "refused";
      readonly reply: string;
    }
  | {
      readonly recipient: LeasedRecipient;
      readonly treatment: "report" | "block";
      readonly result: "no-key";
      readonly reason: string;
      readonly holdMs: number;
    };

/** How often a held recipient is looked up again when nothing tells of a new key, in ms. */
export const HELD_RECHECK_MS = 10 * 60_000;

export type Settled = {
  readonly attempt: Attempt;
  readonly outcome: RecipientOutcome;
  /** The recipient gets a notice. */
  readonly report: { readonly reason: string; readonly isHeld: boolean } | undefined;
  /** The sender is told. */
  readonly failure: FailedRecipient | undefined;
};

export function notSentAttempt({ recipient, treatment, holdMs }: NotSent): Attempt {
  if (treatment.kind !== "later")
    return { recipient, treatment: treatment.kind, result: "no-key", reason: treatment.reason, holdMs };
  const { cause } = treatment;
  const summary = cause.message;
  return { recipient, treatment: "later", result: "deferred", reply: withCauses(cause), isRemote: false, summary };
}

/** Settles one recipient. `random` is from 0 to 1; `holdMs` is what its policy says; `steadySince` is told in steady.ts. */
export function settle(
  attempt: Attempt,
  message: Pick<Leased, "acceptedAt">,
  now: number,
  retry: RetrySettings,
  random: number,
  holdMs: number,
  steadySince = -Infinity,
): Settled {
  switch (attempt.result) {
    case "delivered":
      return { attempt, outcome: final(attempt, "delivered", attempt.reply), report: undefined, failure: undefined };
    case "refused":
      return failedWith(attempt, attempt.reply, statusOf(attempt.reply, "5.0.0"), true);
    case "deferred":
      return deferred(attempt, message.acceptedAt, now, retry, random, holdMs, steadySince);
    case "no-key":
      return withoutKey(attempt, now, steadySince);
  }
}

function deferred(
  attempt: Extract<Attempt, { result: "deferred" }>,
  acceptedAt: number,
  now: number,
  retry: RetrySettings,
  random: number,
  holdMs: number,
  steadySince: number,
): Settled {
  const { recipient, reply, treatment, summary = reply } = attempt;
  // a held recipient has at least the time of its hold
  const holdEnd = (recipient.heldSince ?? acceptedAt) + (recipient.heldSince === undefined ? 0 : holdMs);
  const end = Math.max(endOf(acceptedAt, retry.giveUpMs, steadySince), holdEnd);
  const giveUpMs = end - acceptedAt;
  const next = nextAttempt(recipient.attempts + 1, acceptedAt, now, { ...retry, giveUpMs }, random);
  if (next === "give-up") {
    const hours = Math.round((now - acceptedAt) / 3_600_000);
    return failedWith(attempt, `given up after ${hours} h: ${summary}`, "5.4.7", attempt.isRemote);
  }
  const outcome: RecipientOutcome = {
    index: recipient.index,
    state: recipient.state,
    nextAttemptAt: next,
    lastReply: reply,
    treatment,
    countsAsAttempt: true,
  };
  return { attempt, outcome, report: undefined, failure: undefined };
}

function withoutKey(attempt: Extract<Attempt, { result: "no-key" }>, now: number, steadySince: number): Settled {
  const { recipient, reason, holdMs, treatment } = attempt;
  const holdEnd = endOf(recipient.heldSince ?? now, holdMs, steadySince);
  const isFirst = recipient.heldSince === undefined;
  const isHeld = now < holdEnd;
  const report = treatment === "report" && isFirst ? { reason, isHeld } : undefined;
  if (isHeld) {
    const outcome: RecipientOutcome = {
      index: recipient.index,
      state: "held",
      nextAttemptAt: Math.min(now + HELD_RECHECK_MS, holdEnd),
      lastReply: `held, no usable key: ${reason}`,
      treatment,
      countsAsAttempt: false,
    };
    return { attempt, outcome, report, failure: undefined };
  }
  const reply = `no usable key: ${reason}`;
  if (treatment === "block") return failedWith(attempt, reply, "5.7.5", false);
  return { attempt, outcome: final(attempt, "failed", reply), report, failure: undefined };
}

function failedWith(attempt: Attempt, reply: string, status: string, isRemote: boolean): Settled {
  const { mailbox, notify } = attempt.recipient;
  // RFC 3461 4.1: without NOTIFY the sender hears of failures, with it only when it says so
  const isWanted = notify === undefined || notify.includes("FAILURE");
  const failure: FailedRecipient | undefined = isWanted ? { mailbox, reply, status, isRemote } : undefined;
  return { attempt, outcome: final(attempt, "failed", reply), report: undefined, failure };
}

function final(attempt: Attempt, state: "delivered" | "failed", lastReply: string): RecipientOutcome {
  return { index: attempt.recipient.index, state, lastReply, treatment: attempt.treatment, countsAsAttempt: true };
}
