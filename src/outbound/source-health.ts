// Source health: of each source only the change is news, so that a dead server is told once and not for every mail.
import { SourceAtRest } from "../keys/cached-source.ts";
import type { TrailEntry } from "../keys/chain.ts";
import { withCauses, type Log } from "../log.ts";
import { sourceName, type Metrics } from "../metrics.ts";
import type { Chains } from "./decide.ts";

export type SourceState = { readonly ok: boolean; readonly detail: string };

export type SourceHealth = {
  /** Takes note of what the sources said to one look-up. */
  saw(trail: readonly TrailEntry[]): void;
  /** Each source that was used, by `NAME (KIND)`; `detail` is the cause of a failure. */
  states(): Readonly<Record<string, SourceState>>;
  /** Forgets every source but these: after a reload, when the old chains have ended. */
  keepOnly(names: readonly string[]): void;
};

export function createSourceHealth(log: Log, metrics: Metrics): SourceHealth {
  const states = new Map<string, SourceState>();
  const failedNow = (name: string, { source, kind, fault }: TrailEntry) => {
    // a source that rests was not asked: what it last said still holds
    if (fault === undefined || fault instanceof SourceAtRest) return;
    const detail = withCauses(fault);
    const before = states.get(name);
    states.set(name, { ok: false, detail });
    metrics.sourceStates.set(source, kind, false);
    if (before?.detail !== detail) log.event("source.down", { source, fault: detail });
  };
  return {
    saw(trail) {
      for (const entry of trail) {
        const { kind, source, answer, cached, isOnlyHere = false, hasManyServers = false } = entry;
        if (hasManyServers) continue;
        const name = sourceName(source, kind);
        // one person's broken entry says that the source answers
        if (answer === "failed" && !isOnlyHere) failedNow(name, entry);
        else if (answer !== "skipped" && !cached) {
          if (states.get(name)?.ok === false) log.event("source.up", { source });
          states.set(name, { ok: true, detail: "answers" });
          metrics.sourceStates.set(source, kind, true);
        }
      }
    },
    states: () => Object.fromEntries(states),
    keepOnly(names) {
      for (const name of states.keys()) if (!names.includes(name)) states.delete(name);
      metrics.sourceStates.keepOnly(names);
    },
  };
}

/** Every source of these chains, as `NAME (KIND)`. */
export function sourceNames({ smime, pgp }: Chains): string[] {
  return [smime, pgp].flatMap(({ kind, sources }) => sources.map(({ name }) => sourceName(name, kind)));
}
