// Changes: how one process tells the others on the same database that something they remember is out of date.
import type { Database } from "./database.ts";

export type Change = { readonly id: number; readonly what: string; readonly addressKey: string | undefined };

export type Changes = {
  announce(what: "keys", addressKey?: string): Promise<void>;
  /** Everything announced after the change with this id, in order. */
  since(id: number): Promise<readonly Change[]>;
  /** Id of the newest change; 0 when there is none. */
  latest(): Promise<number>;
};

export function sqlChanges({ sql }: Database, now: () => number): Changes {
  return {
    async announce(what, addressKey) {
      await sql
        .insertInto("changes")
        .values({ what, address_key: addressKey ?? null, at: now() })
        .execute();
    },
    async since(id) {
      const rows = await sql.selectFrom("changes").selectAll().where("id", ">", id).orderBy("id").execute();
      return rows.map((row) => ({ id: row.id, what: row.what, addressKey: row.address_key ?? undefined }));
    },
    async latest() {
      const row = await sql.selectFrom("changes").select("id").orderBy("id", "desc").limit(1).executeTakeFirst();
      return row?.id ?? 0;
    },
  };
}
