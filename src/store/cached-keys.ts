// KeyCache in SQL: one row for each address and source, shared by all processes on the database.
import { sql as raw } from "kysely";
import type { CacheShelf, KeptAnswer, KeyCache } from "../keys/key-cache.ts";
import type { KeyKind, Place, RecipientKey } from "../keys/recipient-key.ts";
import { parseCertificate } from "../smime/certificate.ts";
import type { Database } from "./database.ts";
import { keyBytes, readKey } from "./key-bytes.ts";
import { inBatches } from "./prune.ts";

/** So many rows are kept; past that the ones that end first go. */
const MAX_ROWS = 200_000;

export type SqlKeyCache = KeyCache & {
  /** Removes what is out of date, and what is too much. */
  prune(now: number): Promise<void>;
};

/** The count of expiries, always; the rest is null when no answer is kept. */
type ReadRow = { readonly epoch: number } & { readonly [K in "asked_at" | "until"]: number | null } & {
  readonly keys: Uint8Array | null;
};

export function sqlKeyCache({ sql, sqlite }: Database, maxRows = MAX_ROWS): SqlKeyCache {
  // nothing that was asked for before an expiry, whoever makes it in between
  const writeOne = sqlite.prepare(
    `INSERT INTO cached_keys (source, kind, settings, address_key, epoch, asked_at, until, keys)
     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
     WHERE ?5 = coalesce((SELECT epoch FROM cache_epochs WHERE source = ?1), 0)
     ON CONFLICT DO UPDATE SET epoch = ?5, asked_at = ?6, until = ?7, keys = ?8`,
  );
  // on the way of every mail to somebody whom this process does not remember
  const readOne = sqlite.prepare(
    `SELECT now.epoch, row.asked_at, row.until, row.keys
     FROM (SELECT coalesce((SELECT epoch FROM cache_epochs WHERE source = ?1), 0) AS epoch) AS now
     LEFT JOIN cached_keys AS row ON row.source = ?1 AND row.kind = ?2 AND row.settings = ?3 AND row.address_key = ?4
       AND row.epoch = now.epoch`,
  );
  const deleteFirst = async (rows: number, until: number) => {
    const first = raw`SELECT rowid FROM cached_keys WHERE until <= ${until} ORDER BY until LIMIT ${rows}`;
    const { numAffectedRows } = await raw`DELETE FROM cached_keys WHERE rowid IN (${first})`.execute(sql);
    return Number(numAffectedRows);
  };
  return {
    async read<K extends RecipientKey>({ source, kind, settings }: CacheShelf, addressKey: string, now: number) {
      const { epoch, asked_at, until, keys } = readOne.get(source, kind, settings, addressKey) as ReadRow;
      // a clock that was set back makes no answer live longer
      if (asked_at === null || until === null || now < asked_at || now >= until) return { epoch, kept: undefined };
      const answer = await answerIn<K>(kind, keys, now).catch(() => undefined);
      return { epoch, kept: answer && { answer, until } };
    },
    // eslint-disable-next-line @typescript-eslint/require-await -- one statement, that rejects rather than wait
    async write({ source, kind, settings }, addressKey, answer, { askedAt, until, epoch }) {
      const keys = bytesOf(answer);
      const row = [source, kind, settings, addressKey, epoch, askedAt, until, keys] as const;
      writeOne.run(...row);
    },
    async expire(sources) {
      for (const source of sources) {
        await sql
          .insertInto("cache_epochs")
          .values({ source, epoch: 1 })
          .onConflict((conflict) =>
            conflict.column("source").doUpdateSet((row) => ({ epoch: row("cache_epochs.epoch", "+", 1) })),
          )
          .execute();
        await sql.deleteFrom("cached_keys").where("source", "=", source).execute();
      }
    },
    async keepOnly(shelves) {
      let query = sql.deleteFrom("cached_keys");
      for (const { source, kind, settings } of shelves)
        query = query.where((row) =>
          row.not(row.and([row("source", "=", source), row("kind", "=", kind), row("settings", "=", settings)])),
        );
      await query.execute();
    },
    async prune(now) {
      await inBatches((rows) => deleteFirst(rows, now));
      const count = sql.selectFrom("cached_keys").select((row) => row.fn.countAll<number>().as("rows"));
      const excess = ((await count.executeTakeFirst())?.rows ?? 0) - maxRows;
      if (excess > 0) await inBatches((rows) => deleteFirst(rows, Number.MAX_SAFE_INTEGER), excess);
    },
  };
}

type StoredKey = { readonly bytes: string; readonly place?: Place; readonly companions?: readonly number[] };

type StoredAnswer = {
  /** None: absent. */
  readonly keys: readonly StoredKey[];
  readonly companions: readonly string[];
  readonly setAside?: readonly string[];
};

/** `null`: absent, and nothing to be said of it. Keys of one address often share their companions: each is written once. */
function bytesOf({ setAside, ...answer }: KeptAnswer<RecipientKey>): Uint8Array | null {
  if (answer.kind === "absent" && setAside === undefined) return null;
  const keys = answer.kind === "absent" ? [] : answer.value;
  const companions: string[] = [];
  const numberOf = (der: Uint8Array) => {
    const text = Buffer.from(der).toString("base64");
    const known = companions.indexOf(text);
    return known >= 0 ? known : companions.push(text) - 1;
  };
  const stored = keys.map((key): StoredKey => {
    const bytes = Buffer.from(keyBytes(key)).toString("base64");
    const others = key.kind === "smime" ? (key.companions ?? []) : [];
    return {
      bytes,
      ...(key.place === undefined ? {} : { place: key.place }),
      ...(others.length === 0 ? {} : { companions: others.map(({ der }) => numberOf(der)) }),
    };
  });
  const whole: StoredAnswer = { keys: stored, companions, ...(setAside === undefined ? {} : { setAside }) };
  return Buffer.from(JSON.stringify(whole));
}

/** Rejects when the row cannot be read: then the source is asked. */
async function answerIn<K extends RecipientKey>(
  kind: KeyKind,
  bytes: Uint8Array | null,
  now: number,
): Promise<KeptAnswer<K>> {
  if (bytes === null) return { kind: "absent" };
  const stored = JSON.parse(Buffer.from(bytes).toString()) as StoredAnswer;
  const { setAside } = stored;
  // without a note an absence is no row of this kind
  if (stored.keys.length === 0 && setAside === undefined) throw new Error("neither keys nor notes");
  const noted = setAside === undefined ? {} : { setAside };
  if (stored.keys.length === 0) return { kind: "absent", ...noted };
  const others = stored.companions.map((text) => parseCertificate(Buffer.from(text, "base64")));
  const keys = stored.keys.map(async ({ bytes: text, place, companions = [] }) => {
    const key = await readKey(kind, Buffer.from(text, "base64"), now);
    return {
      ...key,
      ...(place === undefined ? {} : { place }),
      ...(companions.length === 0 ? {} : { companions: companions.flatMap((number) => others[number] ?? []) }),
    } as K;
  });
  return { kind: "found", value: await Promise.all(keys), ...noted };
}
