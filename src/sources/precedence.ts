// Precedence: both chains as two arrays, highest first. The whole rule is on this screen.
import type { PersonalKeys } from "../keys/personal-keys.ts";
import type { PgpKey, SmimeKey } from "../keys/recipient-key.ts";
import type { KeySource } from "../keys/source.ts";
import { personalSource } from "./personal.ts";

/** Which sources are switched on; a store that is not configured is undefined, which is not an error. */
export type SourceParts = {
  readonly personalKeys: PersonalKeys;
  readonly smime: {
    readonly mayUpload: boolean;
    readonly incoming: boolean;
    readonly keyStore: KeySource<SmimeKey> | undefined;
  };
  readonly pgp: {
    readonly mayUpload: boolean;
    readonly incoming: boolean;
    readonly keyStore: KeySource<PgpKey> | undefined;
  };
};

/** S/MIME: upload > incoming > keystore. */
export function smimeSources({ personalKeys, smime }: SourceParts): KeySource<SmimeKey>[] {
  return [
    ...when(smime.mayUpload, () => personalSource<SmimeKey>(personalKeys, "smime", "upload")),
    ...when(smime.incoming, () => personalSource<SmimeKey>(personalKeys, "smime", "incoming")),
    ...(smime.keyStore === undefined ? [] : [smime.keyStore]),
  ];
}

/** PGP: upload > incoming > keystore. */
export function pgpSources({ personalKeys, pgp }: SourceParts): KeySource<PgpKey>[] {
  return [
    ...when(pgp.mayUpload, () => personalSource<PgpKey>(personalKeys, "pgp", "upload")),
    ...when(pgp.incoming, () => personalSource<PgpKey>(personalKeys, "pgp", "incoming")),
    ...(pgp.keyStore === undefined ? [] : [pgp.keyStore]),
  ];
}

function when<T>(isOn: boolean, make: () => T): T[] {
  return isOn ? [make()] : [];
}
