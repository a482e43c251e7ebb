// Meta: single values of this data folder.
import type { Database } from "./database.ts";

export async function metaIn({ sql }: Database, name: string): Promise<string | undefined> {
  const query = sql.selectFrom("meta").select("value").where("name", "=", name);
  return (await query.executeTakeFirst())?.value;
}

export async function setMeta({ sql }: Database, name: string, value: string): Promise<void> {
  await sql
    .insertInto("meta")
    .values({ name, value })
    .onConflict((conflict) => conflict.column("name").doUpdateSet({ value }))
    .execute();
}
