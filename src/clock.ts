// Clock: the only file that reads the time of day or sets a timer.

/** Time as milliseconds since 1970; `sleep` ends early, without an error, when `signal` fires. */
export type Clock = {
  now(): number;
  /** Milliseconds for waiting: they go on evenly whatever the time of day is set to, and mean nothing beyond this process. */
  monotonic(): number;
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
  /** Calls `act` once, later; not when what it gives was called before. Costs a fifth of a sleep that is always ended early. */
  after(delayMs: number, act: () => void): () => void;
};

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => Math.floor(performance.now()),
  sleep: (delayMs, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const finish = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", finish);
        resolve();
      };
      const timer = setTimeout(finish, delayMs);
      signal?.addEventListener("abort", finish, { once: true });
    }),
  after(delayMs, act) {
    const timer = setTimeout(act, delayMs);
    return () => clearTimeout(timer);
  },
};
