// Chain: asks the sources in order of precedence; the first fit key wins, an unfit one is passed by, a failure ends the search.
import type { Clock } from "../clock.ts";
import type { Mailbox } from "../mail/address.ts";
import { fitness, notAfter, validFrom, type FitnessPolicy, type UnfitReason } from "./fitness.ts";
import { failed, type Lookup } from "./lookup.ts";
import type { KeyKind, RecipientKey } from "./recipient-key.ts";
import type { KeySource } from "./source.ts";

/** One candidate with its verdict; `reason` is undefined for a fit key. */
export type Candidate = {
  readonly fingerprint: string;
  readonly fit: boolean;
  readonly reason: UnfitReason | undefined;
  readonly notAfter: number | undefined;
};

/** What one source said, in the order asked; `skipped` sources stood below the answer. */
export type TrailEntry = {
  readonly kind: KeyKind;
  readonly source: string;
  readonly answer: "found" | "absent" | "failed" | "skipped";
  readonly ms: number;
  readonly cached: boolean;
  readonly candidates: readonly Candidate[];
  readonly fault?: Error;
};

/** `known` are all keys seen that name this mailbox, fit or not: by them mail that came encrypted is recognised. */
export type ChainAnswer<K extends RecipientKey> = {
  readonly answer: Lookup<{ readonly key: K; readonly source: string }>;
  readonly trail: readonly TrailEntry[];
  readonly known: readonly K[];
};

export type KeyChain<K extends RecipientKey> = {
  readonly kind: K["kind"];
  readonly sources: readonly KeySource<K>[];
  resolve(mailbox: Mailbox, signal: AbortSignal): Promise<ChainAnswer<K>>;
};

/** A chain over `sources`, highest precedence first. `lookupDeadlineMs` bounds each source; running out of it is a failure. */
export function createChain<K extends RecipientKey>(
  kind: K["kind"],
  sources: readonly KeySource<K>[],
  policy: FitnessPolicy,
  clock: Clock,
  lookupDeadlineMs: number,
): KeyChain<K> {
  const ask = async (source: KeySource<K>, mailbox: Mailbox, signal: AbortSignal): Promise<Lookup<readonly K[]>> => {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(lookupDeadlineMs)]);
    const late = new Promise<Lookup<readonly K[]>>((resolve) => {
      const end = () => resolve(failed(new Error(`${source.name} did not answer within ${lookupDeadlineMs} ms`)));
      if (deadline.aborted) end();
      else deadline.addEventListener("abort", end, { once: true });
    });
    try {
      return await Promise.race([source.find(mailbox, deadline), late]);
    } catch (cause) {
      return failed(cause);
    }
  };

  return {
    kind,
    sources,
    async resolve(mailbox, signal) {
      const trail: TrailEntry[] = [];
      const known: K[] = [];
      let answer: ChainAnswer<K>["answer"] | undefined;
      for (const source of sources) {
        if (answer !== undefined) {
          trail.push({ kind, source: source.name, answer: "skipped", ms: 0, cached: false, candidates: [] });
          continue;
        }
        const since = clock.now();
        const said = await ask(source, mailbox, signal);
        const entry = { kind, source: source.name, answer: said.kind, ms: clock.now() - since, cached: false };
        switch (said.kind) {
          case "failed":
            trail.push({ ...entry, candidates: [], fault: said.cause });
            answer = failed(new Error(`${source.name}: ${said.cause.message}`, { cause: said.cause }));
            break;
          case "absent":
            trail.push({ ...entry, candidates: [] });
            break;
          case "found": {
            const judged = judge(said.value, mailbox, clock.now(), policy);
            trail.push({ ...entry, candidates: judged.candidates });
            known.push(...judged.known);
            if (judged.best !== undefined) answer = { kind: "found", value: { key: judged.best, source: source.name } };
            break;
          }
        }
      }
      return { answer: answer ?? { kind: "absent" }, trail, known };
    },
  };
}

function judge<K extends RecipientKey>(keys: readonly K[], mailbox: Mailbox, now: number, policy: FitnessPolicy) {
  const candidates: Candidate[] = [];
  const known: K[] = [];
  let best: K | undefined;
  for (const key of keys) {
    const verdict = fitness(key, mailbox, now, policy);
    const reason = verdict.fit ? undefined : verdict.reason;
    candidates.push({ fingerprint: key.fingerprint, fit: verdict.fit, reason, notAfter: notAfter(key) });
    if (reason !== "wrong-mailbox") known.push(key);
    if (verdict.fit && (best === undefined || isNewer(key, best))) best = key;
  }
  return { candidates, known, best };
}

/** The newest wins; of two equally new ones the lower fingerprint, so that every node chooses alike. */
function isNewer(a: RecipientKey, b: RecipientKey): boolean {
  const difference = validFrom(a) - validFrom(b);
  return difference > 0 || (difference === 0 && a.fingerprint < b.fingerprint);
}
