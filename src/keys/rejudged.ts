// Rejudged: keys as they are to be judged now, whenever they were read: an OpenPGP certificate says what held at that time.
import { readPgpCertificate, type PgpCertificate } from "../pgp/certificate.ts";
import type { RecipientKey } from "./recipient-key.ts";

/** What has been read again, by the certificate that a file or a memory still holds. */
const readings = new WeakMap<PgpCertificate, Promise<PgpCertificate>>();

/**
 * The same keys, those of OpenPGP with what holds at `now` (ms): a subkey has ended since, a key has begun to be valid, the clock
 * was set back. When all are up to date it is the very array, at no cost. Rejects when a certificate cannot be read again.
 */
export function rejudged<K extends RecipientKey>(
  keys: readonly K[],
  now: number,
): readonly K[] | Promise<readonly K[]> {
  return keys.every((key) => isUpToDate(key, now)) ? keys : Promise.all(keys.map((key) => rejudgedKey(key, now)));
}

function isUpToDate(key: RecipientKey, now: number): boolean {
  return key.kind === "smime" || holds(key.certificate, now);
}

function holds({ judgedAt, changesAt }: PgpCertificate, now: number): boolean {
  return judgedAt <= now && now < changesAt;
}

async function rejudgedKey<K extends RecipientKey>(key: K, now: number): Promise<K> {
  if (key.kind === "smime" || holds(key.certificate, now)) return key;
  return { ...key, certificate: await readAgain(key.certificate, now) };
}

/** Many mails want the same key at the same time: it is read by one of them, and again only when it has changed once more. */
function readAgain(stale: PgpCertificate, now: number): Promise<PgpCertificate> {
  const before = readings.get(stale)?.catch(() => undefined);
  const reading =
    before?.then((known) =>
      known !== undefined && holds(known, now) ? known : readPgpCertificate(stale.bytes, now),
    ) ?? readPgpCertificate(stale.bytes, now);
  readings.set(stale, reading);
  return reading;
}
