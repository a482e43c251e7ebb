// Personal keys in SQL: public keys only, as they came, parsed again whenever they are read.
import { setImmediate } from "node:timers/promises";
import { notAfter } from "../keys/fitness.ts";
import type { PersonalKey, PersonalKeys } from "../keys/personal-keys.ts";
import type { KeyKind, KeyOrigin } from "../keys/recipient-key.ts";
import type { Database } from "./database.ts";
import { keyBytes, keyExtras, readKey } from "./key-bytes.ts";
import type { Tables } from "./tables.ts";

type Row = Tables["personal_keys"];

/** What is counted of a key: who brought it, and until when it may be used as far as it says so (ms). */
export type KeyEnd = { readonly kind: KeyKind; readonly origin: KeyOrigin; readonly notAfter: number | undefined };

export type SqlPersonalKeys = PersonalKeys & {
  /** Of every key that can be read. Each is parsed once, and again only when it was changed: this is asked at every scrape. */
  ends(): Promise<readonly KeyEnd[]>;
};

/** So many keys are parsed before other work has its turn. */
const PARSED_AT_ONCE = 5;

/** `now` judges OpenPGP keys anew at each reading. A row that cannot be parsed is passed over. */
export function sqlPersonalKeys({ sql, sqlite }: Database, now: () => number): SqlPersonalKeys {
  // asked for each recipient of each mail, several times: compiling the query would cost more than running it
  const own = sqlite.prepare("SELECT * FROM personal_keys WHERE address_key = ? AND kind = ? AND origin = ?");
  const learnOne = sqlite.prepare(
    `INSERT INTO personal_keys (address_key, kind, fingerprint, address, origin, bytes, added_at, signed_at, extras)
     VALUES (?1, ?2, ?3, ?4, ?9, ?5, ?6, ?7, ?8)
     ON CONFLICT DO UPDATE SET origin = ?9, bytes = ?5, signed_at = max(coalesce(signed_at, 0), ?7), extras = ?8
       WHERE origin = ?9 OR (origin = 'autocrypt' AND ?9 = 'incoming')`,
  );
  const forgetOthers = sqlite.prepare(
    "DELETE FROM personal_keys WHERE address_key = ? AND kind = ? AND origin = ? AND fingerprint <> ?",
  );
  const parsed = async (rows: readonly Row[]): Promise<PersonalKey[]> => {
    const keys: PersonalKey[] = [];
    for (const row of rows) {
      const key = await readKey(row.kind as KeyKind, row.bytes, now(), row.extras).catch(() => undefined);
      if (key !== undefined)
        keys.push({
          ...{ address: row.address, key, origin: row.origin as KeyOrigin, addedAt: row.added_at },
          ...(row.signed_at === null ? {} : { signedAt: row.signed_at }),
        });
    }
    return keys;
  };
  const ends = keyEnds(sqlite, now);
  return {
    ends,
    async find(mailbox, kind, origin) {
      const rows = own.all(mailbox.key, kind, origin) as unknown as Row[];
      const keys = await parsed(rows);
      // unreadable is not absent: another source must not step in
      if (rows.length > 0 && keys.length === 0)
        throw new Error(
          `the stored ${kind} key of a recipient cannot be read; queue show names the recipient, keys remove and keys add mend it`,
        );
      return keys;
    },
    list: async () => parsed(await sql.selectFrom("personal_keys").selectAll().orderBy("address_key").execute()),
    async add(mailbox, key, origin, at) {
      const fields = { address: mailbox.address, origin, bytes: keyBytes(key), added_at: at, extras: keyExtras(key) };
      await sql
        .insertInto("personal_keys")
        .values({ address_key: mailbox.key, kind: key.kind, fingerprint: key.fingerprint, signed_at: null, ...fields })
        .onConflict((conflict) => conflict.columns(["address_key", "kind", "fingerprint"]).doUpdateSet(fields))
        .execute();
    },
    // eslint-disable-next-line @typescript-eslint/require-await -- one transaction that never waits
    async learn(mailbox, key, { origin, signedAt, now: at }) {
      const { kind, fingerprint } = key;
      sqlite.exec("BEGIN IMMEDIATE");
      try {
        const { changes } = learnOne.run(
          ...[mailbox.key, kind, fingerprint, mailbox.address, keyBytes(key), at, signedAt, keyExtras(key), origin],
        );
        if (changes > 0) forgetOthers.run(mailbox.key, kind, origin, fingerprint);
        sqlite.exec("COMMIT");
        return changes > 0;
      } catch (cause) {
        if (sqlite.isTransaction) sqlite.exec("ROLLBACK");
        throw cause;
      }
    },
    async remove(mailbox, fingerprint) {
      let query = sql.deleteFrom("personal_keys").where("address_key", "=", mailbox.key);
      if (fingerprint !== undefined) query = query.where("fingerprint", "=", fingerprint);
      return parsed(await query.returningAll().execute());
    },
  };
}

/** Remembers the end of each row, by what changes whenever its key does. */
function keyEnds(sqlite: Database["sqlite"], now: () => number): SqlPersonalKeys["ends"] {
  const marks = sqlite.prepare(
    `SELECT address_key, kind, fingerprint, origin, added_at || ' ' || coalesce(signed_at, '') || ' ' || length(bytes) AS mark
     FROM personal_keys`,
  );
  const bytesOf = sqlite.prepare(
    "SELECT bytes FROM personal_keys WHERE address_key = ? AND kind = ? AND fingerprint = ?",
  );
  type Mark = Pick<Row, "address_key" | "kind" | "fingerprint" | "origin"> & { readonly mark: string };
  let known = new Map<string, KeyEnd | undefined>();
  const endOf = async ({ address_key, kind, fingerprint, origin }: Mark): Promise<KeyEnd | undefined> => {
    const row = bytesOf.get(address_key, kind, fingerprint) as Pick<Row, "bytes"> | undefined;
    const key = row && (await readKey(kind as KeyKind, row.bytes, now()).catch(() => undefined));
    return key && { kind: key.kind, origin: origin as KeyOrigin, notAfter: notAfter(key) };
  };
  return async () => {
    const next = new Map<string, KeyEnd | undefined>();
    let parsed = 0;
    for (const row of marks.all() as unknown as Mark[]) {
      const id = Object.values(row).join(" ");
      if (!known.has(id) && ++parsed % PARSED_AT_ONCE === 0) await setImmediate();
      next.set(id, known.has(id) ? known.get(id) : await endOf(row));
    }
    known = next;
    return [...next.values()].filter((end) => end !== undefined);
  };
}
