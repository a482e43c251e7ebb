// Changes: how one process tells the others on the same database that something they remember is out of date.
import type { KeyKind } from "../keys/recipient-key.ts";
import type { Database } from "./database.ts";

/** What may have changed: the personal keys of one address, or what a source is remembered to have answered. */
export type News =
  | { readonly what: "key.uploaded" | "key.removed"; readonly address: string }
  | {
      readonly what: "harvest.learned" | "harvest.ignored";
      readonly address: string;
      readonly kind: KeyKind;
      readonly fingerprint: string;
      readonly reason: string;
    }
  | { readonly what: "cache.expired"; readonly source: string };

export type Change = News & { readonly id: number };

export type Changes = {
  announce(news: News): Promise<void>;
  /** Everything announced after the change with this id, in order. */
  since(id: number): Promise<readonly Change[]>;
  /** Id of the newest change; 0 when there is none. */
  latest(): Promise<number>;
};

export function sqlChanges({ sql }: Database, now: () => number): Changes {
  return {
    async announce(news) {
      await sql
        .insertInto("changes")
        .values({ ...news, at: now() })
        .execute();
    },
    async since(id) {
      const rows = await sql.selectFrom("changes").selectAll().where("id", ">", id).orderBy("id").execute();
      // a row is as `announce` wrote it
      return rows as unknown as readonly Change[];
    },
    async latest() {
      const row = await sql.selectFrom("changes").select("id").orderBy("id", "desc").limit(1).executeTakeFirst();
      return row?.id ?? 0;
    },
  };
}
