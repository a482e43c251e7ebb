import { describe, expect, test } from "vitest";
import { nextAttempt } from "../../src/delivery/retry.ts";
import { HELD_RECHECK_MS, settle, type Attempt } from "../../src/delivery/settlement.ts";
import { mailbox } from "../../src/mail/address.ts";
import type { LeasedRecipient } from "../../src/spool/spool.ts";

const RETRY = { firstMs: 60_000, factor: 1.5, maxMs: 3_600_000, giveUpMs: 5 * 86_400_000 };
const NOW = 1_800_000_000_000;
const DAY = 86_400_000;

function recipient(more: Partial<LeasedRecipient> = {}): LeasedRecipient {
  return {
    index: 0,
    mailbox: mailbox("ann@example.com"),
    notify: undefined,
    attempts: 0,
    state: "queued",
    heldSince: undefined,
    ...more,
  };
}
const settled = (attempt: Attempt, acceptedAt = NOW) => settle(attempt, { acceptedAt }, NOW, RETRY, 0, 7 * DAY);

describe("retry", () => {
  test("the delay grows by the factor up to the maximum", () => {
    const delays = [1, 2, 3, 20].map((attempt) => Number(nextAttempt(attempt, NOW, NOW, RETRY, 0)) - NOW);
    expect(delays).toEqual([60_000, 90_000, 135_000, 3_600_000]);
  });
  test("up to a tenth is taken off at random", () => {
    expect(Number(nextAttempt(1, NOW, NOW, RETRY, 1)) - NOW).toBe(54_000);
  });
  test("the last attempt is at the very end, and after it the recipient is given up", () => {
    expect(nextAttempt(99, NOW - RETRY.giveUpMs + 5_000, NOW, RETRY, 0)).toBe(NOW + 5_000);
    expect(nextAttempt(99, NOW - RETRY.giveUpMs, NOW, RETRY, 0)).toBe("give-up");
  });
});

describe("settlement", () => {
  test("delivered is final and tells nobody", () => {
    const { outcome, report, failure } = settled({
      recipient: recipient(),
      treatment: "smime",
      result: "delivered",
      reply: "250 ok",
    });
    expect([outcome.state, report, failure]).toEqual(["delivered", undefined, undefined]);
  });

  test("deferred is queued again and tells nobody", () => {
    const { outcome, failure } = settled({
      recipient: recipient({ attempts: 1 }),
      treatment: "smime",
      result: "deferred",
      reply: "451 later",
      isRemote: true,
    });
    expect(outcome).toMatchObject({ state: "queued", nextAttemptAt: NOW + 90_000, countsAsAttempt: true });
    expect(failure).toBeUndefined();
  });

  test("deferred too long fails with a DSN that says how long", () => {
    const { outcome, failure } = settled(
      { recipient: recipient(), treatment: "later", result: "deferred", reply: "keystore: broken", isRemote: false },
      NOW - 6 * DAY,
    );
    expect(outcome.state).toBe("failed");
    expect(failure).toMatchObject({
      status: "5.4.7",
      isRemote: false,
      reply: "given up after 144 h: keystore: broken",
    });
  });

  test("refused fails with the next hop's status in the DSN", () => {
    const { outcome, failure } = settled({
      recipient: recipient(),
      treatment: "pgp",
      result: "refused",
      reply: "550 5.1.1 no such user",
    });
    expect(outcome.state).toBe("failed");
    expect(failure).toMatchObject({ status: "5.1.1", isRemote: true });
  });

  test("NOTIFY=NEVER gets no DSN", () => {
    expect(
      settled({ recipient: recipient({ notify: ["NEVER"] }), treatment: "pgp", result: "refused", reply: "550 no" })
        .failure,
    ).toBeUndefined();
  });

  test("report with hold: held, and a notice the first time only", () => {
    const attempt = { treatment: "report", result: "no-key", reason: "no-key", holdMs: 7 * DAY } as const;
    const first = settled({ ...attempt, recipient: recipient() });
    expect(first.outcome).toMatchObject({
      state: "held",
      nextAttemptAt: NOW + HELD_RECHECK_MS,
      countsAsAttempt: false,
    });
    expect(first.report).toEqual({ reason: "no-key", isHeld: true });
    const again = settled({ ...attempt, recipient: recipient({ state: "held", heldSince: NOW - DAY }) });
    expect([again.outcome.state, again.report, again.failure]).toEqual(["held", undefined, undefined]);
  });

  test("the end of a hold is final: block with a DSN, report without", () => {
    const old = recipient({ state: "held", heldSince: NOW - 7 * DAY });
    const block = settled({ recipient: old, treatment: "block", result: "no-key", reason: "expired", holdMs: 7 * DAY });
    expect([block.outcome.state, block.failure?.status]).toEqual(["failed", "5.7.5"]);
    const report = settled({
      recipient: old,
      treatment: "report",
      result: "no-key",
      reason: "expired",
      holdMs: 7 * DAY,
    });
    expect([report.outcome.state, report.failure, report.report]).toEqual(["failed", undefined, undefined]);
  });

  test("report without hold fails with a notice at once, block with a DSN", () => {
    const attempt = { recipient: recipient(), result: "no-key", reason: "no-key", holdMs: 0 } as const;
    expect(settled({ ...attempt, treatment: "report" })).toMatchObject({
      outcome: { state: "failed" },
      report: { isHeld: false },
    });
    expect(settled({ ...attempt, treatment: "block" })).toMatchObject({
      outcome: { state: "failed" },
      failure: { status: "5.7.5" },
    });
  });

  test("a held recipient whose look-up fails stays held", () => {
    const attempt = { treatment: "later", result: "deferred", reply: "down", isRemote: false } as const;
    expect(
      settled({ ...attempt, recipient: recipient({ state: "held", heldSince: NOW - DAY }) }, NOW - 6 * DAY).outcome
        .state,
    ).toBe("held");
  });
});
