// Retry: when a recipient is tried again and when it is given up (pure).

/** retry.* of the configuration, times in ms. */
export type RetrySettings = {
  readonly firstMs: number;
  readonly factor: number;
  readonly maxMs: number;
  readonly giveUpMs: number;
};

/**
 * When to try again after the attempt with number `attempt` (1 is the first), or "give-up". The delay grows by `factor` up to
 * `max`; `random` (0 to 1) takes up to a tenth off, so that what failed together does not come back together.
 */
export function nextAttempt(
  attempt: number,
  acceptedAt: number,
  now: number,
  settings: RetrySettings,
  random: number,
): number | "give-up" {
  const end = acceptedAt + settings.giveUpMs;
  if (now >= end) return "give-up";
  const delayMs = Math.min(settings.firstMs * settings.factor ** (attempt - 1), settings.maxMs);
  // one last attempt at the very end
  return Math.min(now + Math.round(delayMs * (1 - random / 10)), end);
}
