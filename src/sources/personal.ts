// Personal keys as sources: what a user uploaded, what was learned from incoming mail.
import { asError } from "../as-error.ts";
import { absent, failed, found } from "../keys/lookup.ts";
import type { PersonalKeys } from "../keys/personal-keys.ts";
import type { KeyKind, KeyOrigin, PgpKey, RecipientKey } from "../keys/recipient-key.ts";
import type { Answer, KeySource } from "../keys/source.ts";
import type { Mailbox } from "../mail/address.ts";
import type { UserDirectory } from "../users/directory.ts";

/** Whose uploads are used: userUpload.users and .customers. Without a directory of people everybody counts as a user. */
export type UploadPolicy = {
  readonly users: boolean;
  readonly customers: boolean;
  readonly people: UserDirectory | undefined;
};

/** What was learned from incoming mail, as a source of one kind. */
export function learnedKeys<K extends RecipientKey>(keys: PersonalKeys, kind: KeyKind & K["kind"]): KeySource<K> {
  return personalSource<K>(keys, kind, "incoming", () => Promise.resolve(undefined));
}

/** Keys out of Autocrypt fields, which no signature vouches for: the last of all sources. */
export function autocryptKeys(keys: PersonalKeys): KeySource<PgpKey> {
  return personalSource<PgpKey>(keys, "pgp", "autocrypt", () => Promise.resolve(undefined));
}

/** Uploads of active users (and customers, where they may), as a source of one kind. Somebody whom Jira does not know counts as a user. */
export function uploadedKeys<K extends RecipientKey>(
  keys: PersonalKeys,
  kind: KeyKind & K["kind"],
  { users, customers, people }: UploadPolicy,
): KeySource<K> {
  return personalSource<K>(keys, kind, "upload", async (mailbox, signal) => {
    const answer = await people?.find(mailbox, signal);
    if (answer?.kind === "failed") throw new Error("whether this user is active is not known", { cause: answer.cause });
    if (answer?.kind !== "found") return users ? undefined : `${kind}.userUpload.users is off`;
    if (!answer.value.isActive) return "the user is inactive in Jira";
    if (answer.value.kind === "customer") return customers ? undefined : `${kind}.userUpload.customers is off`;
    return users ? undefined : `${kind}.userUpload.users is off`;
  });
}

/** `objection` is asked only when there is a key, and says why it is not used. */
function personalSource<K extends RecipientKey>(
  keys: PersonalKeys,
  kind: KeyKind & K["kind"],
  origin: KeyOrigin,
  objection: (mailbox: Mailbox, signal: AbortSignal) => Promise<string | undefined>,
): KeySource<K> {
  return {
    name: origin,
    isKeptHere: true,
    async find(mailbox, signal): Promise<Answer<K>> {
      try {
        const own = await keys.find(mailbox, kind, origin);
        if (own.length === 0) return absent;
        const why = await objection(mailbox, signal);
        if (why === undefined) return found(own.map((one) => one.key as K));
        return { ...absent, setAside: own.map(({ key }) => `${key.fingerprint}: ${why}`) };
      } catch (cause) {
        return failed(cause);
      }
    },
    async probe() {
      try {
        const count = (await keys.list()).filter((one) => one.key.kind === kind && one.origin === origin).length;
        return { ok: true, detail: count === 1 ? "1 key" : `${count} keys` };
      } catch (cause) {
        return { ok: false, detail: asError(cause).message };
      }
    },
  };
}
