// Precedence: both chains as two arrays, highest first. The whole rule is on this screen.
import type { PersonalKeys } from "../keys/personal-keys.ts";
import type { PgpKey, SmimeKey } from "../keys/recipient-key.ts";
import type { KeySource } from "../keys/source.ts";
import { autocryptKeys, learnedKeys, uploadedKeys, type UploadPolicy } from "./personal.ts";

/** What is configured; a source that is not is undefined, which is not an error. */
export type SourceParts = {
  readonly personalKeys: PersonalKeys;
  readonly smime: {
    readonly uploads: UploadPolicy;
    readonly incoming: boolean;
    readonly keyStore: KeySource<SmimeKey> | undefined;
    readonly userDirectories: readonly KeySource<SmimeKey>[];
    readonly ldap: KeySource<SmimeKey> | undefined;
  };
  readonly pgp: {
    readonly uploads: UploadPolicy;
    readonly incoming: boolean;
    readonly keyStore: KeySource<PgpKey> | undefined;
    readonly keyServer: KeySource<PgpKey> | undefined;
    readonly wkd: KeySource<PgpKey> | undefined;
    readonly autocrypt: boolean;
  };
};

/** S/MIME: upload > incoming > keystore > directory:* in their order > ldap. */
export function smimeSources({ personalKeys, smime }: SourceParts): KeySource<SmimeKey>[] {
  return [
    mayUpload(smime.uploads) ? uploadedKeys<SmimeKey>(personalKeys, "smime", smime.uploads) : undefined,
    smime.incoming ? learnedKeys<SmimeKey>(personalKeys, "smime") : undefined,
    smime.keyStore,
    ...smime.userDirectories,
    smime.ldap,
  ].filter((source) => source !== undefined);
}

/** PGP: upload > incoming > keystore > keyserver > wkd, and autocrypt where that is switched on. */
export function pgpSources({ personalKeys, pgp }: SourceParts): KeySource<PgpKey>[] {
  return [
    mayUpload(pgp.uploads) ? uploadedKeys<PgpKey>(personalKeys, "pgp", pgp.uploads) : undefined,
    pgp.incoming ? learnedKeys<PgpKey>(personalKeys, "pgp") : undefined,
    pgp.keyStore,
    pgp.keyServer,
    pgp.wkd,
    pgp.autocrypt ? autocryptKeys(personalKeys) : undefined,
  ].filter((source) => source !== undefined);
}

/** Nobody's uploads are used: then the source is not asked at all. */
function mayUpload({ users, customers }: UploadPolicy): boolean {
  return users || customers;
}
