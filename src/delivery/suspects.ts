// Suspects: messages in whose work the process may have ended; the one that did it must not do so for ever.
//
// Rules:
//   Counted are messages that were here before this start: of the others none has ended a process yet.
//   What was in work when a process ended is worked on alone the next time: only the guilty one comes to a second count.
//   After three beginnings without an end it waits by the retry schedule, untouched, until it is given up; `queue retry` begins anew.
import type { Leased } from "../spool/spool.ts";

export type Suspects = {
  /** Work on it begins. `untouched`: it must not. */
  begin(leased: Leased): "usual" | "alone" | "untouched";
  /** The process has outlived the work. */
  done(leased: Leased): void;
};

export const MAX_TRIES = 3;

type Tries = { begin(id: string, now: number): number; done(id: string): void };

/** `startedAt` is when this process began, in epoch ms. */
export function countSuspects(tries: Tries, startedAt: number, now: () => number): Suspects {
  const isCounted = ({ acceptedAt }: Leased) => acceptedAt < startedAt;
  return {
    begin(leased) {
      if (!isCounted(leased)) return "usual";
      const count = quietly(() => tries.begin(leased.id, now())) ?? 0;
      if (count > MAX_TRIES) return "untouched";
      return count > 1 ? "alone" : "usual";
    },
    done(leased) {
      if (isCounted(leased)) quietly(() => tries.done(leased.id));
    },
  };
}

/** A count that cannot be kept now must not keep mail back. */
function quietly<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}

/** For a route whose work ends no process, or is counted elsewhere. */
export const noSuspects: Suspects = { begin: () => "usual", done: () => undefined };
