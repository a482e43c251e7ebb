// Steady: since when the time of day has gone on evenly; after a jump mail gets a while before it is given up for its age.
import type { Clock } from "../clock.ts";

/** NTP slews by less between two looks, and steps a good clock by less. */
const JUMP_MS = 10_000;
/** So long after a jump of the clock, or a start, nothing is given up for its age. */
const GRACE_MS = 3_600_000;

export type Steady = {
  /** Looks at the clock: since when it has not jumped. Call it now and then. */
  since(): number;
};

/** The start counts as a jump: the machine may have been off or asleep, and its network may not be up yet. */
export function steadyClock(clock: Clock): Steady {
  const offset = () => clock.now() - clock.monotonic();
  let last = offset();
  let since = clock.now();
  return {
    since() {
      const current = offset();
      if (Math.abs(current - last) > JUMP_MS) since = clock.now();
      last = current;
      return since;
    },
  };
}

/** When something that may last `durationMs` from `from` on is over: not before there was time for more than one attempt. */
export function endOf(from: number, durationMs: number, steadySince: number): number {
  return Math.max(from + durationMs, steadySince + Math.min(GRACE_MS, durationMs));
}
