// A clock that stands still until a test moves it, and tells when somebody has gone to sleep.
import type { Clock } from "../src/clock.ts";

type Sleeper = { readonly dueAt: number; readonly delayMs: number; readonly wake: () => void };

export type ManualClock = Clock & {
  /** Moves the time on and wakes whoever is due. */
  advance(byMs: number): void;
  /** Sets the time of day, as an operator or NTP does; nobody wakes. */
  set(byMs: number): void;
  /** Resolves when somebody sleeps for exactly `delayMs`; at once when somebody does already. */
  whenSleeping(delayMs: number): Promise<void>;
};

export function manualClock(startAt = 1_800_000_000_000): ManualClock {
  let now = startAt;
  let setByMs = 0;
  const sleepers = new Set<Sleeper>();
  const watchers = new Set<() => void>();
  const after: Clock["after"] = (delayMs, act) => {
    const wake = () => {
      sleepers.delete(sleeper);
      act();
    };
    const sleeper = { dueAt: now + delayMs, delayMs, wake };
    sleepers.add(sleeper);
    watchers.forEach((look) => look());
    return () => sleepers.delete(sleeper);
  };
  return {
    now: () => now + setByMs,
    monotonic: () => now - startAt,
    after,
    sleep: (delayMs, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted === true) {
          resolve();
          return;
        }
        const cancel = after(delayMs, resolve);
        const end = () => {
          cancel();
          resolve();
        };
        signal?.addEventListener("abort", end, { once: true });
      }),
    advance(byMs) {
      now += byMs;
      [...sleepers].filter((one) => one.dueAt <= now).forEach((one) => one.wake());
    },
    set: (byMs) => (setByMs += byMs),
    whenSleeping: (delayMs) =>
      new Promise((resolve) => {
        const look = () => {
          if (![...sleepers].some((one) => one.delayMs === delayMs)) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
      }),
  };
}
