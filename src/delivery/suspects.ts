// Suspects: messages in whose work the process may have ended; the one that did it must not do so for ever.
//
// Rules:
//   Counted are messages that were here before this start: of the others none has ended a process yet.
//   What was in work when a process ended is worked on alone the next time: only the guilty one comes to a second count.
//   After three beginnings without an end it rests: a minute, then twice as long each time, up to an hour, until it is given up. Killed
//   by chance each time it is not lost, and a guilty one ends the process no oftener. `queue retry` begins anew.
import type { Leased } from "../spool/spool.ts";

export type Suspects = {
  /** Work on it begins. `untouched`: it must not. */
  begin(leased: Leased): "usual" | "alone" | "untouched";
  /** The process has outlived the work. */
  done(leased: Leased): void;
};

export const MAX_TRIES = 3;
const FIRST_REST_MS = 60_000;
const MAX_REST_MS = 3_600_000;

type Tries = {
  of(id: string): { readonly tries: number; readonly at: number } | undefined;
  begin(id: string, now: number): number;
  done(id: string): void;
};

export function countSuspects(tries: Tries, now: () => number): Suspects {
  const begin = (id: string) => {
    const before = tries.of(id);
    if (before !== undefined && isResting(before.tries, now() - before.at)) return "untouched";
    tries.begin(id, now());
    return before === undefined ? "usual" : "alone";
  };
  // a count that cannot be kept now must not keep mail back
  return {
    begin(leased) {
      try {
        return leased.wasHereAtStart ? begin(leased.id) : "usual";
      } catch {
        return "usual";
      }
    },
    done(leased) {
      try {
        if (leased.wasHereAtStart) tries.done(leased.id);
      } catch {
        return;
      }
    },
  };
}

/** A clock that was set back leaves nobody waiting for it. */
function isResting(tries: number, restedMs: number): boolean {
  const restMs = Math.min(FIRST_REST_MS * 2 ** (tries - MAX_TRIES), MAX_REST_MS);
  return tries >= MAX_TRIES && restedMs >= 0 && restedMs < restMs;
}

/** For a route whose work ends no process, or is counted elsewhere. */
export const noSuspects: Suspects = { begin: () => "usual", done: () => undefined };
