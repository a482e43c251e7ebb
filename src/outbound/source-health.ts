// Source health: of each source only the change is news, so that a dead server is told once and not for every mail.
import { SourceAtRest } from "../keys/cached-source.ts";
import type { TrailEntry } from "../keys/chain.ts";
import { withCauses, type Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";

export type SourceState = { readonly ok: boolean; readonly detail: string };

export type SourceHealth = {
  /** Takes note of what the sources said to one look-up. */
  saw(trail: readonly TrailEntry[]): void;
  /** Each source that was used, by `NAME (KIND)`; `detail` is the cause of a failure. */
  states(): Readonly<Record<string, SourceState>>;
};

export function createSourceHealth(log: Log, metrics: Metrics): SourceHealth {
  const states = new Map<string, SourceState>();
  const failedNow = (name: string, { source, fault }: TrailEntry) => {
    // a source that rests was not asked: what it last said still holds
    if (fault === undefined || fault instanceof SourceAtRest) return;
    const detail = withCauses(fault);
    const before = states.get(name);
    states.set(name, { ok: false, detail });
    metrics.sourceUp.labels(source).set(0);
    if (before?.detail !== detail) log.event("source.down", { source, fault: detail });
  };
  return {
    saw(trail) {
      for (const entry of trail) {
        const { kind, source, answer, cached } = entry;
        const name = `${source} (${kind})`;
        if (answer === "failed") failedNow(name, entry);
        else if (answer !== "skipped" && !cached) {
          if (states.get(name)?.ok === false) log.event("source.up", { source });
          states.set(name, { ok: true, detail: "answers" });
          metrics.sourceUp.labels(source).set(1);
        }
      }
    },
    states: () => Object.fromEntries(states),
  };
}
