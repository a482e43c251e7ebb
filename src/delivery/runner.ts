// Runner: leases what is due and works on it, so much at a time, until it is told to stop.
//
// Rules:
//   One runner works on one route: an upstream that is down does not hold up incoming mail, and the other way round.
//   One message is one lease; its recipients are settled together. Several leases are worked on at once.
//   In flight are at most `maxInFlight` messages, for one recipient fewer (turns.ts); the queue itself has no limit.
//   An upstream that cannot be reached pauses all leasing: one message after each pause finds out whether it is back, the others
//   keep their attempts. The pause grows from 1 s to 30 s.
//   Waits are measured by a clock that nobody sets. What is due later than any schedule says is due now: the clock was set back.
//   A message in whose work a process may have ended is worked on alone (suspects.ts).
//   A lease that takes long is renewed; one whose process died runs out and is due again.
//   To stop: no new leases; what is in flight may finish until the deadline, the rest is given back by its lease.
import { asError } from "../as-error.ts";
import type { Clock } from "../clock.ts";
import { Roster } from "../roster.ts";
import type { Leased, Route } from "../spool/spool.ts";
import { HELD_RECHECK_MS } from "./settlement.ts";
import type { Suspects } from "./suspects.ts";
import { createTurns, SLOW_MS, type MaxEach } from "./turns.ts";
import { work, type WorkParts } from "./work.ts";

export type RunnerSettings = {
  readonly maxInFlight: number;
  readonly maxEach: MaxEach;
  readonly route: Route;
  readonly suspects: Suspects;
};

export type RunnerObserver = {
  upstreamDown(reply: string, pauseMs: number): void;
  upstreamUp(): void;
  /** The spool itself failed: disk full, database locked. The runner goes on after a while; what lasts is told once. */
  spoolFailed(cause: Error): void;
};

export type Runner = {
  /** Runs until `stop`. */
  run(): Promise<void>;
  /** Something may be due sooner than the runner thinks. */
  wake(): void;
  /** Resolves when nothing is in flight or the deadline has passed; tells how many messages were still in flight. */
  stop(deadlineMs: number): Promise<number>;
};

const LEASE_MS = 15 * 60_000;
const RENEW_EVERY_MS = 5 * 60_000;
/** A lease that waits for its turn goes back before it runs out. */
const TURN_WAIT_MS = 5 * 60_000;
/** Another process may have made something due; also the longest sleep when nothing is. */
const POLL_MS = 1000;
const PAUSE_FIRST_MS = 1000;
const PAUSE_MAX_MS = 30_000;
/** A message that is worked on alone keeps others waiting so long at most, and waits so long for those before it. */
const ALONE_MS = 30_000;

export function createRunner(
  parts: WorkParts,
  clock: Clock,
  settings: RunnerSettings,
  observe: RunnerObserver,
): Runner {
  const inFlight = new Roster<Promise<void>>();
  const inWork = new Roster<{ readonly leased: Leased; readonly ending: AbortController }>();
  const stopped = new AbortController();
  const aborted = new AbortController();
  let pauseMs = 0;
  let pausedUntil = 0;
  let pullInAt = 0;
  const longestMs = Math.max(parts.retry.maxMs, HELD_RECHECK_MS);
  let isWoken = false;
  let wakeUp: (() => void) | undefined;
  const turns = createTurns(settings.maxEach, () => clock.monotonic());

  const wake = () => {
    isWoken = true;
    wakeUp?.();
  };
  /** Until it is woken; at once when it was woken since it slept last. */
  const sleep = async (delayMs: number) => {
    if (!isWoken)
      await new Promise<void>((resolve) => {
        const cancel = clock.after(delayMs, resolve);
        wakeUp = () => {
          cancel();
          resolve();
        };
      });
    isWoken = false;
  };

  /** A lease that takes long must not run out; until the work is given up. */
  const keepLeases = async () => {
    for (;;) {
      await clock.sleep(RENEW_EVERY_MS, aborted.signal);
      if (aborted.signal.aborted) return;
      for (const { leased } of inWork)
        await parts.spool.renew(leased, LEASE_MS).catch((cause: unknown) => observe.spoolFailed(asError(cause)));
    }
  };

  const workOn = async (leased: Leased, isUntouched: boolean) => {
    // a signal of its own: listeners of one that lives as long as the runner would hold each other, and what they know of the mail
    const ending = new AbortController();
    const entry = { leased, ending };
    inWork.add(entry);
    try {
      const { upstream } = await work(leased, parts, ending.signal, isUntouched);
      if (upstream === "reached") markUp();
      else if (upstream !== "untried") markDown(upstream.unreachable);
    } catch (cause) {
      observe.spoolFailed(asError(cause));
    } finally {
      inWork.delete(entry);
      if (!isUntouched) settings.suspects.done(leased);
    }
  };

  const markUp = () => {
    if (pauseMs > 0) observe.upstreamUp();
    pauseMs = 0;
    pausedUntil = 0;
  };

  const markDown = (reply: string) => {
    // several in flight fail together: that is one failure
    if (clock.monotonic() < pausedUntil) return;
    pauseMs = pauseMs === 0 ? PAUSE_FIRST_MS : Math.min(pauseMs * 2, PAUSE_MAX_MS);
    pausedUntil = clock.monotonic() + pauseMs;
    observe.upstreamDown(reply, pauseMs);
  };

  /** While the upstream is down one message at a time finds out whether it is back. */
  const mayLease = () =>
    pauseMs === 0 ? inFlight.size < settings.maxInFlight : inFlight.size === 0 && clock.monotonic() >= pausedUntil;

  const leaseNext = async (): Promise<boolean> => {
    if (!mayLease()) return false;
    await releaseWaiting(TURN_WAIT_MS);
    const leased =
      turns.next() ?? (turns.isFull ? null : await parts.spool.lease(clock.now(), LEASE_MS, settings.route));
    if (leased === null) return false;
    if (!turns.mayBegin(leased)) return true;
    const manner = settings.suspects.begin(leased);
    if (manner === "alone") await forAWhile(Promise.allSettled(inFlight));
    if (stopped.signal.aborted) {
      if (manner !== "untouched") settings.suspects.done(leased);
      await parts.spool.release(leased);
      return false;
    }
    turns.begun(leased);
    const task = workOn(leased, manner === "untouched").finally(() => {
      turns.ended(leased);
      inFlight.delete(task);
      wake();
    });
    inFlight.add(task);
    if (manner === "alone") await forAWhile(task);
    return true;
  };

  const releaseWaiting = async (forMs: number) => {
    for (const leased of turns.overdue(forMs)) await parts.spool.release(leased);
  };

  const forAWhile = async (act: Promise<unknown>): Promise<void> => {
    const over = new AbortController();
    await Promise.race([act, clock.sleep(ALONE_MS, AbortSignal.any([over.signal, stopped.signal]))]);
    over.abort();
  };

  const idleMs = async (): Promise<number> => {
    if (clock.monotonic() >= pullInAt) {
      await parts.spool.pullIn(clock.now(), clock.now() + longestMs, settings.route);
      pullInAt = clock.monotonic() + POLL_MS;
    }
    const pauseLeftMs = pausedUntil - clock.monotonic();
    if (pauseLeftMs > 0) return pauseLeftMs;
    if (inFlight.size >= settings.maxInFlight) return POLL_MS;
    if (turns.isFull) return SLOW_MS;
    const dueAt = await parts.spool.nextDueAt(settings.route);
    return dueAt === undefined ? POLL_MS : Math.min(Math.max(dueAt - clock.now(), 1), POLL_MS);
  };

  return {
    async run() {
      let told = "";
      void keepLeases();
      while (!stopped.signal.aborted) {
        try {
          const isLeased = await leaseNext();
          const delayMs = isLeased ? 0 : await idleMs();
          told = "";
          if (!isLeased) await sleep(delayMs);
        } catch (thrown) {
          const cause = asError(thrown);
          if (cause.message !== told) observe.spoolFailed(cause);
          told = cause.message;
          await sleep(POLL_MS);
        }
      }
      await releaseWaiting(0);
    },
    wake,
    async stop(deadlineMs) {
      stopped.abort();
      wake();
      const end = new AbortController();
      await Promise.race([Promise.allSettled(inFlight), clock.sleep(deadlineMs, end.signal)]);
      end.abort();
      aborted.abort();
      for (const { ending } of inWork) ending.abort();
      return inFlight.size;
    },
  };
}
