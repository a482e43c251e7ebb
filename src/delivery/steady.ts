// Steady: since when the time of day has gone on evenly; after a jump mail gets a while before it is given up for its age.
import type { Clock } from "../clock.ts";

/** NTP slews by less between two looks, and steps a good clock by less. */
const JUMP_MS = 10_000;
/** So long after a jump of the clock, or a start, nothing is given up for its age. */
const GRACE_MS = 3_600_000;
/** A process that was away for no longer was only started again: otherwise one that is so every 50 minutes gave up nothing, ever. */
const RESTART_MS = 5 * 60_000;

export type Steady = {
  /** Looks at the clock: since when it has not jumped. Call it now and then. */
  since(): number;
  /** What the next process should know; keep it once a minute. */
  note(): string;
};

/** A start counts as a jump, for the machine may have been off or asleep and without network; `note` is what the last process left. */
export function steadyClock(clock: Clock, note?: string): Steady {
  const offset = () => clock.now() - clock.monotonic();
  let last = offset();
  let since = sinceBefore(note, clock.now()) ?? clock.now();
  const steady = {
    since() {
      const current = offset();
      if (Math.abs(current - last) > JUMP_MS) since = clock.now();
      last = current;
      return since;
    },
    note: () => `${steady.since()} ${clock.now()}`,
  };
  return steady;
}

function sinceBefore(note: string | undefined, now: number): number | undefined {
  const [since = NaN, noted = NaN] = (note ?? "").split(" ").map(Number);
  const awayMs = now - noted;
  return since <= noted && awayMs >= 0 && awayMs <= RESTART_MS ? since : undefined;
}

/** When something that may last `durationMs` from `from` on is over: not before there was time for more than one attempt. */
export function endOf(from: number, durationMs: number, steadySince: number): number {
  return Math.max(from + durationMs, steadySince + Math.min(GRACE_MS, durationMs));
}
