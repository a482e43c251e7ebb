// Prune: what nobody needs any more goes, a little at a time: mail does not wait for it.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Database } from "./database.ts";

const DAY_MS = 86_400_000;
/** Finished messages can be seen by `queue list` so long. */
const KEEP_FINISHED_MS = 7 * DAY_MS;
const KEEP_REPORTS_MS = 2 * DAY_MS;
/** About 5 ms. */
const ROWS_AT_ONCE = 1000;

/** Forgets finished messages and old notes. */
export async function pruneMail({ sql }: Database, now: number): Promise<void> {
  await inBatches(async (rows) => {
    const finished = sql
      .selectFrom("messages")
      .select("seq")
      .where("finished_at", "<", now - KEEP_FINISHED_MS)
      .limit(rows);
    return Number((await sql.deleteFrom("messages").where("seq", "in", finished).executeTakeFirst()).numDeletedRows);
  });
  await sql
    .deleteFrom("reports")
    .where("sent_at", "<", now - KEEP_REPORTS_MS)
    .execute();
  await sql
    .deleteFrom("changes")
    .where("at", "<", now - DAY_MS)
    .execute();
  await sql
    .deleteFrom("tries")
    .where("at", "<", now - KEEP_FINISHED_MS)
    .execute();
}

/** Deletes up to `total` rows by a deletion of limited size, that gives how many it found. */
export async function inBatches(deleteSome: (rows: number) => Promise<number>, total = Infinity): Promise<void> {
  for (let left = total; left > 0;) {
    const deleted = await deleteSome(Math.min(left, ROWS_AT_ONCE));
    if (deleted === 0) return;
    left -= deleted;
    await nextTurn();
  }
}
