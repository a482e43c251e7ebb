// Chain: asks the sources in order of precedence; the first fit key wins, an unfit one is passed by, a failure ends the search.
import type { Clock } from "../clock.ts";
import type { Mailbox } from "../mail/address.ts";
import { fitness, notAfter, validFrom, type FitnessPolicy, type UnfitReason } from "./fitness.ts";
import { failed, type Lookup } from "./lookup.ts";
import type { KeyKind, RecipientKey } from "./recipient-key.ts";
import { rejudged } from "./rejudged.ts";
import type { Answer, KeySource } from "./source.ts";

/** One candidate with its verdict; `reason` is undefined for a fit key. */
export type Candidate = {
  readonly fingerprint: string;
  readonly fit: boolean;
  readonly reason: UnfitReason | undefined;
  readonly notAfter: number | undefined;
  /** More than the reason says, in words. */
  readonly detail?: string;
  /** Where within its source it was, e.g. the LDAP attribute. */
  readonly place?: string;
};

/** What one source said, in the order asked; `skipped` sources stood below the answer or may not be asked (`why`). */
export type TrailEntry = {
  readonly kind: KeyKind;
  readonly source: string;
  readonly answer: "found" | "absent" | "failed" | "skipped";
  readonly ms: number;
  readonly cached: boolean;
  readonly candidates: readonly Candidate[];
  readonly setAside?: readonly string[];
  readonly fault?: Error;
  /** The source answered well; only what it has for this mailbox cannot be used. */
  readonly isOnlyHere?: boolean;
  readonly why?: string;
  /** The failure is that of one of many servers, and says nothing of the others. */
  readonly hasManyServers?: boolean;
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

/** The chain, but where it would say that these have no key, it is not known why not (by address key): nothing may leave in clear. */
export function neverAbsentFor<K extends RecipientKey>(
  chain: KeyChain<K>,
  undecided: ReadonlyMap<string, Error>,
): KeyChain<K> {
  if (undecided.size === 0) return chain;
  return {
    ...chain,
    async resolve(mailbox, signal) {
      const said = await chain.resolve(mailbox, signal);
      const cause = said.answer.kind === "absent" ? undecided.get(mailbox.key) : undefined;
      return cause === undefined ? said : { ...said, answer: failed(cause) };
    },
  };
}

type ChainParts = { readonly policy: FitnessPolicy; readonly clock: Clock; readonly lookupDeadlineMs: number };

/** A chain over `sources`, highest precedence first. `lookupDeadlineMs` bounds each source; running out of it is a failure. */
export function createChain<K extends RecipientKey>(
  kind: K["kind"],
  sources: readonly KeySource<K>[],
  policy: FitnessPolicy,
  clock: Clock,
  lookupDeadlineMs: number,
): KeyChain<K> {
  return {
    kind,
    sources,
    async resolve(mailbox, signal) {
      const trail: TrailEntry[] = [];
      const known: K[] = [];
      let answer: ChainAnswer<K>["answer"] | undefined;
      for (const source of sources) {
        const why = answer === undefined ? source.withholds?.(mailbox) : undefined;
        if (answer !== undefined || why !== undefined) {
          trail.push(skipped(kind, source.name, why));
          continue;
        }
        const since = clock.now();
        const { said, now } = await ask(source, mailbox, { policy, clock, lookupDeadlineMs }, signal);
        const judged = said.kind === "found" ? judge(said.value, mailbox, now, policy) : NOTHING;
        // a key of which it cannot be told whether it was revoked is neither used nor passed by
        const isUnknown = judged.best === undefined && judged.unknown !== undefined;
        const fault = said.kind === "failed" ? said.cause : isUnknown ? new Error(judged.unknown) : undefined;
        trail.push({
          kind,
          source: source.name,
          answer: fault === undefined ? said.kind : "failed",
          ms: clock.now() - since,
          cached: said.cached === true,
          candidates: judged.candidates,
          ...(said.setAside === undefined ? {} : { setAside: said.setAside }),
          ...(fault === undefined ? {} : { fault }),
          ...(said.kind === "failed" && said.isOnlyHere === true ? { isOnlyHere: true } : {}),
          ...(source.hasManyServers === true ? { hasManyServers: true } : {}),
        });
        known.push(...(judged.known as K[]));
        if (fault !== undefined) answer = failed(new SourceFailure(source.name, fault));
        else if (judged.best !== undefined)
          answer = { kind: "found", value: { key: judged.best, source: source.name } };
      }
      return { answer: answer ?? { kind: "absent" }, trail, known };
    },
  };
}

/** A look-up that failed. The message only names the source, for it is written once a mail; the cause says it all. */
export class SourceFailure extends Error {
  constructor(source: string, cause: Error) {
    super(`${source} failed`, { cause });
  }
}

function skipped(kind: KeyKind, source: string, why: string | undefined): TrailEntry {
  const entry = { kind, source, answer: "skipped", ms: 0, cached: false, candidates: [] } as const;
  return why === undefined ? entry : { ...entry, why };
}

// an abort without a reason makes an exception with a stack each time: more than the rest of a look-up in memory costs
const OVER = "over";

/** What the source said, with keys as they are at `now`. */
type Said<K extends RecipientKey> = { readonly said: Answer<K>; readonly now: number };

async function ask<K extends RecipientKey>(
  source: KeySource<K>,
  mailbox: Mailbox,
  { policy, clock, lookupDeadlineMs }: ChainParts,
  signal: AbortSignal,
): Promise<Said<K>> {
  const failure = (cause: unknown): Said<K> => ({ said: failed(cause), now: clock.now() });
  const tooLate = () => failure(new Error(`${source.name} did not answer within ${lookupDeadlineMs} ms`));
  if (signal.aborted) return tooLate();
  const over = new AbortController();
  const find = async (): Promise<Said<K>> => {
    const said = await source.find(mailbox, over.signal);
    if (said.kind !== "found") return { said, now: clock.now() };
    await policy.ready?.(over.signal);
    // one time for both: what ends between them would be judged by what held before
    const now = clock.now();
    const value = await rejudged(said.value, now);
    return { said: value === said.value ? said : { ...said, value }, now };
  };
  const { promise: late, resolve: end } = Promise.withResolvers<Said<K>>();
  const giveUp = () => end(tooLate());
  const cancel = clock.after(lookupDeadlineMs, giveUp);
  signal.addEventListener("abort", giveUp);
  try {
    return await Promise.race([find(), late]);
  } catch (cause) {
    return failure(cause);
  } finally {
    cancel();
    signal.removeEventListener("abort", giveUp);
    over.abort(OVER);
  }
}

type Judged<K> = {
  readonly candidates: readonly Candidate[];
  readonly known: readonly K[];
  readonly best: K | undefined;
  /** Why a key that would else be fit cannot be judged. */
  readonly unknown: string | undefined;
};

const NOTHING: Judged<never> = { candidates: [], known: [], best: undefined, unknown: undefined };

function judge<K extends RecipientKey>(
  keys: readonly K[],
  mailbox: Mailbox,
  now: number,
  policy: FitnessPolicy,
): Judged<K> {
  const candidates: Candidate[] = [];
  const known: K[] = [];
  let best: K | undefined;
  let unknown: string | undefined;
  for (const key of keys) {
    const verdict = fitness(key, mailbox, now, policy);
    const { reason, detail } = verdict.fit ? { reason: undefined, detail: undefined } : verdict;
    candidates.push({
      fingerprint: key.fingerprint,
      fit: verdict.fit,
      reason,
      notAfter: notAfter(key),
      ...(detail === undefined ? {} : { detail }),
      ...(key.place === undefined ? {} : { place: key.place.name }),
    });
    if (reason !== "wrong-mailbox") known.push(key);
    if (reason === "revocation-unknown") unknown ??= detail ?? reason;
    if (verdict.fit && (best === undefined || goesBefore(key, best))) best = key;
  }
  return { candidates, known, best, unknown };
}

/** The place it was found in decides; then the newest wins; of equally new ones the lower fingerprint, so that every node chooses alike. */
function goesBefore(a: RecipientKey, b: RecipientKey): boolean {
  const rank = (a.place?.rank ?? 0) - (b.place?.rank ?? 0);
  if (rank !== 0) return rank < 0;
  const age = validFrom(a) - validFrom(b);
  return age > 0 || (age === 0 && a.fingerprint < b.fingerprint);
}
