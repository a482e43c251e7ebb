// Kill plan: when in its life, and at what, each process is killed (pure).
import { between, randomOf, weighted } from "./random.ts";

export type Kill = {
  /** While it works, while the next one starts, or while it stops after SIGTERM. */
  readonly during: "work" | "start" | "stop";
  /** So many mails are acknowledged first. */
  readonly afterMails: number;
  /** Then so many turns of the event loop pass; with `start` and `stop`, so many ms after that began. */
  readonly turns: number;
  readonly delayMs: number;
};

/** Together the killed processes take about four fifths of the mails; the last one, which is not killed, takes the rest. */
const KILLED_SHARE = 0.8;

export function killPlan(seed: number, mails: number, kills: number): Kill[] {
  const mean = (mails * KILLED_SHARE) / kills;
  return Array.from({ length: kills }, (_, number) => {
    const random = randomOf(seed, "kill", number);
    const during = weighted(random, [
      [70, "work" as const],
      [18, "start" as const],
      [12, "stop" as const],
    ]);
    // half of the kills come early, when what the life before has left is still being worked on
    const afterMails = number % 2 === 0 ? between(random, 0, Math.round(mean / 5)) : between(random, 0, mean * 3.8);
    return { during, afterMails, turns: between(random, 0, 60), delayMs: between(random, 0, 1_500) };
  });
}
