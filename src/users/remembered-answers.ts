// Remembered answers: an answer is kept for a while, and all who ask the same question at the same time share one asking.
import { LRUCache } from "lru-cache";
import type { Clock } from "../clock.ts";
import { unlessAborted } from "../unless-aborted.ts";

export type Ask<T> = (question: string, signal: AbortSignal) => Promise<T>;

type Asking<T> = { readonly answer: Promise<T>; readonly controller: AbortController; waiting: number };

/**
 * `ask` with a memory of at most `maxAnswers`, each kept for `keptMs(answer)`; 0: not at all. What rejects is not kept. A caller
 * whose `signal` fires is rejected at once and leaves the others waiting; when nobody waits any longer, the asking is aborted.
 */
export function rememberAnswers<T extends object>(
  ask: Ask<T>,
  keptMs: (answer: T) => number,
  maxAnswers: number,
  clock: Clock,
): Ask<T> {
  // a resolution above 0 would keep the time of day in a timer of its own
  const kept = new LRUCache<string, T>({ max: maxAnswers, ttlResolution: 0, perf: { now: () => clock.now() } });
  const underWay = new Map<string, Asking<T>>();

  const forget = (question: string, asking: Asking<T>) => {
    if (underWay.get(question) === asking) underWay.delete(question);
  };
  const begin = (question: string): Asking<T> => {
    const controller = new AbortController();
    const asking: Asking<T> = { answer: ask(question, controller.signal), controller, waiting: 0 };
    underWay.set(question, asking);
    void asking.answer.then(
      (answer) => {
        const ttl = keptMs(answer);
        // lru-cache takes a time of 0 for ever
        if (ttl > 0) kept.set(question, answer, { ttl });
        forget(question, asking);
      },
      () => forget(question, asking),
    );
    return asking;
  };

  return async (question, signal) => {
    signal.throwIfAborted();
    const known = kept.get(question);
    if (known !== undefined) return known;
    const asking = underWay.get(question) ?? begin(question);
    asking.waiting++;
    try {
      return await unlessAborted(asking.answer, signal);
    } finally {
      if (--asking.waiting === 0) {
        forget(question, asking);
        asking.controller.abort();
      }
    }
  };
}
