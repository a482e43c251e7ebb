// HarvestedKeys in SQL: bounded in all, for each domain and for each address; what is over its time is never given.
import { createHash, hkdfSync, type KeyObject } from "node:crypto";
import type { Selectable } from "kysely";
import { mailbox, type Mailbox } from "../mail/address.ts";
import type { HarvestedKey, HarvestedKeys, HarvestState } from "../keys/harvested-keys.ts";
import type { KeyKind, RecipientKey } from "../keys/recipient-key.ts";
import type { Database } from "./database.ts";
import { keyBytes, keyExtras, readKey } from "./key-bytes.ts";
import type { Tables } from "./tables.ts";

/** Whoever floods us with keys of a domain fills that domain's share only. */
const MAX_ALL = 100_000;
const MAX_OF_DOMAIN = 5_000;
const MAX_OF_ADDRESS = 5;
/** So many addresses are read at once. */
const PIECE = 500;

type Row = Selectable<Tables["harvested_keys"]>;

export type SqlHarvestedKeys = HarvestedKeys & {
  /** Removes what is over its time. */
  prune(): Promise<void>;
};

/** The secret key is asked for when a key becomes pending or a link is made. */
export function sqlHarvestedKeys(
  { sql, sqlite }: Database,
  secretKey: () => KeyObject,
  now: () => number,
): SqlHarvestedKeys {
  const tokenFor = ({ key: address }: Mailbox, { kind, fingerprint }: RecipientKey) => {
    const purpose = `confirm ${address} ${kind} ${fingerprint}`;
    return Buffer.from(hkdfSync("sha256", secretKey(), "", purpose, 32)).toString("base64url");
  };
  const waiting = sqlite.prepare("SELECT 1 FROM harvested_keys WHERE address_key = ? AND state = 'deferred' LIMIT 1");
  const holding = sqlite.prepare(
    `SELECT 1 FROM personal_keys WHERE address_key = ?1 AND kind = 'pgp' AND fingerprint = ?2 AND origin = 'incoming'
     UNION ALL SELECT 1 FROM harvested_keys WHERE address_key = ?1 AND kind = 'pgp' AND fingerprint = ?2 LIMIT 1`,
  );
  const current = () => sql.selectFrom("harvested_keys").selectAll().where("expires_at", ">", now()).orderBy("id");
  const hasRows = async (most: number, column?: "domain" | "address_key", value = "") => {
    const all = sql.selectFrom("harvested_keys").select((row) => row.fn.countAll<number>().as("rows"));
    const some = column === undefined ? all : all.where(column, "=", value);
    // the first count needs an index only; expires_at stands behind the key in each row
    if (((await some.executeTakeFirst())?.rows ?? 0) < most) return false;
    return ((await some.where("expires_at", ">", now()).executeTakeFirst())?.rows ?? 0) >= most;
  };
  const isFull = async (domain: string, addressKey: string) =>
    (await hasRows(MAX_OF_ADDRESS, "address_key", addressKey)) ||
    (await hasRows(MAX_OF_DOMAIN, "domain", domain)) ||
    (await hasRows(MAX_ALL));

  return {
    async keep({ state, mailbox: owner, key, signedAt, seenAt, expiresAt, evidence }) {
      const { key: addressKey, address, domain } = owner;
      const { kind, fingerprint } = key;
      const known = await current()
        .where("address_key", "=", addressKey)
        .where("kind", "=", kind)
        .where("fingerprint", "=", fingerprint)
        .executeTakeFirst();
      if (known === undefined && (await isFull(domain, addressKey))) return "full";
      const fields = {
        ...{ state, bytes: keyBytes(key), extras: keyExtras(key), signed_at: signedAt, seen_at: seenAt },
        ...{
          expires_at: expiresAt,
          evidence,
          token_digest: state === "pending" ? digestOf(tokenFor(owner, key)) : null,
        },
      };
      await sql
        .insertInto("harvested_keys")
        .values({ address_key: addressKey, address, domain, kind, fingerprint, ...fields })
        .onConflict((conflict) =>
          conflict.columns(["address_key", "kind", "fingerprint"]).doUpdateSet((row) => ({
            ...fields,
            signed_at: row.fn<number>("max", ["harvested_keys.signed_at", "excluded.signed_at"]),
          })),
        )
        .execute();
      return "kept";
    },
    waits: ({ key }) => Promise.resolve(waiting.get(key) !== undefined),
    async *awaited() {
      let last = "";
      for (;;) {
        // by the unique index, which begins with the address
        const some = current().clearSelect().clearOrderBy().select(["address_key", "address"]);
        const deferred = some.where("state", "=", "deferred").where("address_key", ">", last);
        const rows = await deferred.groupBy("address_key").orderBy("address_key").limit(PIECE).execute();
        for (const { address } of rows) yield mailbox(address);
        const end = rows.at(-1);
        if (end === undefined) return;
        last = end.address_key;
      }
    },
    async list(state) {
      const query = state === undefined ? current() : current().where("state", "=", state);
      return parsed(await query.execute(), now());
    },
    async of(owner, kind) {
      const query = current().where("address_key", "=", owner.key);
      return parsed(await (kind === undefined ? query : query.where("kind", "=", kind)).execute(), now());
    },
    byId: async (id) => (await parsed(await current().where("id", "=", id).execute(), now()))[0],
    tokenFor,
    byToken: async (token) =>
      (await parsed(await current().where("token_digest", "=", digestOf(token)).execute(), now()))[0],
    async renew(id, key) {
      const fields = { bytes: keyBytes(key), extras: keyExtras(key) };
      await sql.updateTable("harvested_keys").set(fields).where("id", "=", id).execute();
    },
    holders: (fingerprint, people) =>
      Promise.resolve(people.filter(({ key }) => holding.get(key, fingerprint) !== undefined)),
    async remove(id) {
      const { numDeletedRows } = await sql.deleteFrom("harvested_keys").where("id", "=", id).executeTakeFirst();
      return numDeletedRows > 0;
    },
    async prune() {
      await sql.deleteFrom("harvested_keys").where("expires_at", "<=", now()).execute();
    },
  };
}

/** What is stored of a token: whoever reads the database cannot confirm with it. */
function digestOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/** A row that cannot be read is passed over: it is no key that could be used. */
async function parsed(rows: readonly Row[], now: number): Promise<HarvestedKey[]> {
  const keys: HarvestedKey[] = [];
  for (const row of rows) {
    const key = await readKey(row.kind as KeyKind, row.bytes, now, row.extras).catch(() => undefined);
    if (key === undefined) continue;
    keys.push({
      ...{ id: row.id, state: row.state as HarvestState, mailbox: mailbox(row.address), key },
      ...{ signedAt: row.signed_at, seenAt: row.seen_at, expiresAt: row.expires_at, evidence: row.evidence },
    });
  }
  return keys;
}
