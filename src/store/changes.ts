// Changes: how one process tells the others on the same database that something they remember is out of date.
import type { Database } from "./database.ts";

/** What may have changed: the personal keys of one address, or what a source is remembered to have answered. */
export type News =
  | { readonly what: PersonalNews; readonly address: string }
  | { readonly what: "cache.expired"; readonly source: string };

type PersonalNews = "key.uploaded" | "key.removed" | "harvest.learned" | "harvest.ignored";

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
      const { address = null, source = null } = news as { address?: string; source?: string };
      await sql.insertInto("changes").values({ what: news.what, address, source, at: now() }).execute();
    },
    async since(id) {
      const rows = await sql.selectFrom("changes").selectAll().where("id", ">", id).orderBy("id").execute();
      return rows.flatMap(({ id, what, address, source }): Change[] => {
        if (what === "cache.expired") return source === null ? [] : [{ id, what, source }];
        return address === null ? [] : [{ id, what: what as PersonalNews, address }];
      });
    },
    async latest() {
      const row = await sql.selectFrom("changes").select("id").orderBy("id", "desc").limit(1).executeTakeFirst();
      return row?.id ?? 0;
    },
  };
}
