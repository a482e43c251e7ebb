// The wiring of everything that decides about a recipient: sources, chains, ciphers, treatment settings.
import { buildPeople, buildTrust, type TrustSet } from "./trust.ts";
import { buildSources, type SourceSet } from "./sources.ts";
import { closeParts, sourceShelf, type OpenParts, type SourceParts } from "./source-shelf.ts";
import { systemClock } from "../clock.ts";
import type { Settings } from "../config/schema.ts";
import type { Ciphers } from "../encrypt/cipher.ts";
import { createCiphers } from "../encrypt/ciphers.ts";
import { createChain } from "../keys/chain.ts";
import type { CacheShelf } from "../keys/key-cache.ts";
import type { PersonalKeys } from "../keys/personal-keys.ts";
import { silentLog } from "../log.ts";
import { createMetrics } from "../metrics.ts";
import type { Chains, TreatmentSettings } from "../outbound/decide.ts";
import type { PrepareParts } from "../outbound/prepare.ts";
import { prepareLog } from "../outbound/prepare-log.ts";
import { createSourceHealth, type SourceHealth } from "../outbound/source-health.ts";
import { pgpSources, smimeSources } from "../sources/precedence.ts";
import { openStore, type Store } from "../store/open.ts";
import type { UserDirectory } from "../users/directory.ts";

/** Each source gets so long; mail waits when it runs out. */
const LOOKUP_DEADLINE_MS = 8_000;

export type KeyParts = {
  readonly chains: Chains;
  readonly treatment: TreatmentSettings;
  readonly prepare: PrepareParts;
  readonly ciphers: Ciphers;
  readonly sources: SourceSet;
  readonly trust: TrustSet;
  /** Jira's REST interface, when it is configured. */
  readonly people: UserDirectory | undefined;
  /** Where the answers of the network sources are kept. */
  readonly shelves: readonly CacheShelf[];
  readonly open: OpenParts;
};

export type KeyWiring = SourceParts & { readonly personalKeys: PersonalKeys; readonly health: SourceHealth };

/** Builds it for one configuration; what `before` has open and is the same in both is used on. */
export function keyParts(settings: Settings, wiring: KeyWiring, before?: OpenParts): KeyParts {
  const { personalKeys, log, metrics, clock, health } = wiring;
  const { smime, pgp } = settings;
  const autocrypt = settings.inbound?.autocrypt === true;
  const shelf = sourceShelf(settings.cache, wiring, before, () => trust.fitness);
  const trust = buildTrust(settings, shelf, wiring);
  const { fitness } = trust;
  const sources = buildSources(settings, fitness, shelf, wiring);
  const people = buildPeople(settings, shelf, wiring);
  const configured = {
    personalKeys,
    smime: { ...sources.smime, uploads: { ...smime.userUpload, people }, incoming: smime.incoming },
    pgp: { ...sources.pgp, uploads: { ...pgp.userUpload, people }, incoming: pgp.incoming, autocrypt },
  };
  const chains: Chains = {
    smime: createChain("smime", smimeSources(configured), fitness, clock, LOOKUP_DEADLINE_MS),
    // certification paths and their revocation lists are S/MIME's
    pgp: createChain("pgp", pgpSources(configured), { minRsaBits: fitness.minRsaBits }, clock, LOOKUP_DEADLINE_MS),
  };
  const treatment = treatmentSettings(settings.encryption);
  return {
    chains,
    treatment,
    sources,
    trust,
    people,
    shelves: shelf.shelves,
    open: shelf.open,
    ciphers: createCiphers(smime),
    prepare: {
      chains,
      settings: treatment,
      fitness,
      senderKeys: { smime: sources.smime.keyStore, pgp: sources.pgp.keyStore },
      observe: prepareLog(log, metrics, health),
      now: () => clock.now(),
    },
  };
}

export type OpenKeys = KeyParts & {
  readonly store: Store;
  /** The same parts over other personal keys; they use what is open here. */
  over(personalKeys: PersonalKeys): KeyParts;
  close(): Promise<void>;
};

/** For commands: the same parts over the store of the configuration, without log and metrics. */
export async function openKeys(settings: Settings): Promise<OpenKeys> {
  const clock = systemClock;
  const store = await openStore(settings, clock);
  const [log, metrics] = [silentLog, createMetrics("")];
  const health = createSourceHealth(log, metrics);
  const { personalKeys, cache } = store;
  const wiring = { log, metrics, clock, health, personalKeys, cache };
  const parts = keyParts(settings, wiring);
  return {
    ...parts,
    store,
    over: (others) => keyParts(settings, { ...wiring, personalKeys: others }, parts.open),
    async close() {
      await closeParts(parts.open);
      await store.close();
    },
  };
}

function treatmentSettings(encryption: Settings["encryption"]): TreatmentSettings {
  const { type, fallback, hold, subject, recoveryMail, plusAddress, toSender, rules } = encryption;
  return {
    base: { type, fallback, holdMs: hold, subject, recoveryMail },
    rules: rules.map(({ hold: holdMs, ...rule }) => ({ ...rule, holdMs })),
    plusAddress,
    toSender,
  };
}
