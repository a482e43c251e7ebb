// Changes: how one process tells the others on the same database that something they remember is out of date.
import type { Database } from "./database.ts";

/** What may have changed; `address` says for whom, when it is about one mailbox. */
export type ChangeKind = "key.uploaded" | "key.removed";

export type Change = { readonly id: number; readonly what: ChangeKind; readonly address: string | undefined };

export type Changes = {
  announce(what: ChangeKind, address?: string): Promise<void>;
  /** Everything announced after the change with this id, in order. */
  since(id: number): Promise<readonly Change[]>;
  /** Id of the newest change; 0 when there is none. */
  latest(): Promise<number>;
};

export function sqlChanges({ sql }: Database, now: () => number): Changes {
  return {
    async announce(what, address) {
      await sql
        .insertInto("changes")
        .values({ what, address: address ?? null, at: now() })
        .execute();
    },
    async since(id) {
      const rows = await sql.selectFrom("changes").selectAll().where("id", ">", id).orderBy("id").execute();
      return rows.map((row) => ({ id: row.id, what: row.what as ChangeKind, address: row.address ?? undefined }));
    },
    async latest() {
      const row = await sql.selectFrom("changes").select("id").orderBy("id", "desc").limit(1).executeTakeFirst();
      return row?.id ?? 0;
    },
  };
}
