// KeyCache: what servers answered, kept for every process on one database. Only found and absent are ever kept.
import type { Lookup } from "./lookup.ts";
import type { KeyKind, RecipientKey } from "./recipient-key.ts";

/** An answer that may be believed for a while. */
export type KeptAnswer<K> = Exclude<Lookup<readonly K[]>, { kind: "failed" }> & {
  readonly setAside?: readonly string[];
};

/** Whose answers: `settings` is a digest of the source's settings, so that answers got with others are never seen. */
export type CacheShelf = { readonly source: string; readonly kind: KeyKind; readonly settings: string };

export type CacheReading<K> = {
  /** Counts how often the source was expired; to be handed back with what is written. */
  readonly epoch: number;
  readonly kept: { readonly answer: KeptAnswer<K>; readonly until: number } | undefined;
};

export type KeyCache = {
  /** What is kept for this address, if it is younger than its time and the last expiry. */
  read<K extends RecipientKey>(shelf: CacheShelf, addressKey: string, now: number): Promise<CacheReading<K>>;
  /** Keeps an answer that was asked for at `askedAt` (ms) in `epoch`; one from before an expiry is not kept. */
  write<K extends RecipientKey>(
    shelf: CacheShelf,
    addressKey: string,
    answer: KeptAnswer<K>,
    time: { readonly askedAt: number; readonly until: number; readonly epoch: number },
  ): Promise<void>;
  /** Forgets every answer of these sources. */
  expire(sources: readonly string[]): Promise<void>;
  /** Forgets what these sources answered under other settings than theirs. */
  keepOnly(shelves: readonly CacheShelf[]): Promise<void>;
};
