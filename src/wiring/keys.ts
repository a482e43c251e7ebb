// The wiring of everything that decides about a recipient: sources, chains, ciphers, treatment settings.
import { systemClock, type Clock } from "./clock.ts";
import type { Settings } from "./config/schema.ts";
import { pgpMimeCipher } from "./encrypt/pgp-mime.ts";
import { smimeCipher } from "./encrypt/smime.ts";
import { createChain } from "./keys/chain.ts";
import type { PersonalKeys } from "./keys/personal-keys.ts";
import type { PgpKey, SmimeKey } from "./keys/recipient-key.ts";
import { silentLog, type Log } from "./log.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import type { Chains, TreatmentSettings } from "./outbound/decide.ts";
import type { PrepareParts } from "./outbound/prepare.ts";
import { prepareLog } from "./outbound/prepare-log.ts";
import { keyStoreFile, type KeyStoreFile } from "./sources/key-store-file.ts";
import { keyStoreLog } from "./sources/key-store-log.ts";
import { certificateReader, keyringReader } from "./sources/key-store-readers.ts";
import { pgpSources, smimeSources } from "./sources/precedence.ts";
import { openStore } from "./store/open.ts";

/** Each source gets so long; mail waits when it runs out. */
const LOOKUP_DEADLINE_MS = 8_000;

export type KeyParts = {
  readonly chains: Chains;
  readonly treatment: TreatmentSettings;
  readonly prepare: PrepareParts;
  readonly keyStores: {
    readonly smime: KeyStoreFile<SmimeKey> | undefined;
    readonly pgp: KeyStoreFile<PgpKey> | undefined;
  };
};

/** Builds it for one configuration. */
export function keyParts(
  settings: Settings,
  personalKeys: PersonalKeys,
  log: Log,
  metrics: Metrics,
  clock: Clock,
): KeyParts {
  const now = () => clock.now();
  const observe = keyStoreLog(log, metrics);
  const { smime, pgp, encryption } = settings;
  const keyStores = {
    smime:
      smime.keyStore === null
        ? undefined
        : keyStoreFile<SmimeKey>(
            smime.keyStore.file,
            "smime",
            "smime.keyStore.file",
            certificateReader(smime.keyStore.password?.reveal()),
            observe,
            now,
          ),
    pgp:
      pgp.keyStore === null
        ? undefined
        : keyStoreFile<PgpKey>(pgp.keyStore.file, "pgp", "pgp.keyStore.file", keyringReader, observe, now),
  };
  const sources = {
    personalKeys,
    smime: { mayUpload: smime.userUpload.users, incoming: smime.incoming, keyStore: keyStores.smime },
    pgp: { mayUpload: pgp.userUpload.users, incoming: pgp.incoming, keyStore: keyStores.pgp },
  };
  const fitness = { minRsaBits: smime.trust.minRsaBits };
  const chains: Chains = {
    smime: createChain("smime", smimeSources(sources), fitness, clock, LOOKUP_DEADLINE_MS),
    pgp: createChain("pgp", pgpSources(sources), fitness, clock, LOOKUP_DEADLINE_MS),
  };
  const treatment = treatmentSettings(encryption);
  return {
    chains,
    treatment,
    keyStores,
    prepare: {
      chains,
      settings: treatment,
      fitness,
      senderKeys: keyStores,
      ciphers: { smime: smimeCipher(cmsOptions(settings)), pgp: pgpMimeCipher() },
      observe: prepareLog(log, metrics),
      now,
    },
  };
}

/** For commands: the same parts over the store of the configuration, without log and metrics. */
export async function openKeys(settings: Settings): Promise<KeyParts & { close(): Promise<void> }> {
  const store = await openStore(settings, systemClock);
  const parts = keyParts(settings, store.personalKeys, silentLog, createMetrics(""), systemClock);
  return { ...parts, close: () => store.close() };
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

function cmsOptions({ smime }: Settings) {
  // "auto" needs what clients announce in signed mail; until that is learned the configuration refuses it
  const { contentEncryption, keyTransport } = smime;
  return {
    contentEncryption: contentEncryption === "auto" ? "aes256-cbc" : contentEncryption,
    keyTransport: keyTransport === "auto" ? "rsa-pkcs1" : keyTransport,
  } as const;
}
