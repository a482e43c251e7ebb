// The wiring around each key source: what is kept open over a reload, where its answers are remembered, what it discloses.
import { createHash } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { Settings } from "../config/schema.ts";
import { cachedSource, type CachedSource, type FitnessTest } from "../keys/cached-source.ts";
import { fitness, type FitnessPolicy } from "../keys/fitness.ts";
import type { CacheShelf, KeyCache } from "../keys/key-cache.ts";
import type { RecipientKey } from "../keys/recipient-key.ts";
import type { KeySource } from "../keys/source.ts";
import type { Log } from "../log.ts";
import type { Mailbox } from "../mail/address.ts";
import type { Metrics } from "../metrics.ts";
import { Secret } from "../secret.ts";

export type SourceParts = {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly cache: KeyCache;
};

export type OpenPart = { readonly part: unknown; readonly close: () => Promise<void> };

/** What is open, by its name and the settings that it was built from. */
export type OpenParts = ReadonlyMap<string, OpenPart>;

export type Asked = {
  readonly name: string;
  /** Everything that its answers depend on. */
  readonly from: unknown;
  /** Where its settings stand, which its texts name: it may move while they stay, and its answers too. */
  readonly settingName?: string;
  /** Which server an address leads to, when the source asks several. */
  readonly serverOf?: (mailbox: Mailbox) => string;
};

export type SourceShelf = {
  /** The part with this name and settings that is open already, else a new one. */
  readonly reuse: <T>(name: string, from: unknown, make: () => { part: T; close: () => Promise<void> }) => T;
  /** A network source with its memory. */
  network<K extends RecipientKey>(
    kind: K["kind"],
    asked: Asked,
    make: (disclosed: () => void) => { source: KeySource<K>; close: () => Promise<void> },
  ): CachedSource<K>;
  readonly open: OpenParts;
  readonly shelves: readonly CacheShelf[];
};

/**
 * What is open `before` with the very same settings is used on: connections, memories and the last good set of a key store outlive
 * a reload that does not concern them. `policy` says which keys serve, for they are remembered longer; it is asked when one was found.
 */
export function sourceShelf(
  { ttl: ttlMs, absentTtl: absentTtlMs }: Settings["cache"],
  { log, metrics, clock, cache }: SourceParts,
  before: OpenParts | undefined,
  policy: () => FitnessPolicy,
): SourceShelf {
  const open = new Map<string, OpenPart>();
  const shelves: CacheShelf[] = [];
  const times = { ttlMs, absentTtlMs };
  const isFit: FitnessTest = (key, mailbox, now) => fitness(key, mailbox, now, policy()).fit;
  const reuse = <T>(name: string, from: unknown, make: () => { part: T; close: () => Promise<void> }): T => {
    const key = `${name} ${digest(from, true)}`;
    const kept = before?.get(key) ?? make();
    open.set(key, kept);
    return kept.part as T;
  };
  return {
    open,
    shelves,
    reuse,
    network(kind, { name, from, settingName = "", serverOf = () => "" }, make) {
      const shelf = { source: name, kind, settings: digest({ from, times }, false) };
      shelves.push(shelf);
      const cached = reuse(`${kind} ${name}`, { from, times, settingName }, () => {
        const { source, close } = make(() => metrics.addressesDisclosed.labels(name).inc());
        const cacheFailed = (fault: Error) => log.event("service.fault", { source: name, fault });
        return { part: cachedSource(source, { cache, shelf, times, clock, isFit, cacheFailed, serverOf }), close };
      });
      // what is used on from before a reload was built under the policy of then
      return cached.under(isFit);
    },
  };
}

/** Closes what is open in `old` and not used in `next`. */
export async function closeParts(old: OpenParts, next?: OpenParts): Promise<void> {
  for (const [key, part] of old) if (next?.get(key) !== part) await part.close();
}

/**
 * SHA-256 of settings. Without secrets it may be stored; with them, in memory only, another password is another setting. The
 * environment may hold a proxy's password, so it counts as a secret.
 */
function digest(settings: unknown, withSecrets: boolean): string {
  const text = JSON.stringify(settings, function (this: Record<string, unknown>, key: string, value: unknown) {
    if (key === "environment" && !withSecrets) return undefined;
    const original = this[key];
    return withSecrets && original instanceof Secret ? { secret: original.reveal() } : value;
  });
  return createHash("sha256").update(text).digest("hex");
}
