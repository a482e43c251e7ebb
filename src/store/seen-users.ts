// SeenUsers in SQL: one row for each address that Jira has written to.
import { LRUCache } from "lru-cache";
import type { SeenUsers } from "../users/seen.ts";
import type { Database } from "./database.ts";

/** So many addresses are known without asking the database. */
const REMEMBERED = 50_000;

export function sqlSeenUsers({ sqlite }: Database): SeenUsers {
  const insert = sqlite.prepare("INSERT INTO seen_users (address_key, seen_at) VALUES (?, ?) ON CONFLICT DO NOTHING");
  const select = sqlite.prepare("SELECT 1 FROM seen_users WHERE address_key = ?");
  const remembered = new LRUCache<string, true>({ max: REMEMBERED });
  /** Undefined when another process is writing: the mail does not wait for that, and the next one to this address tries again. */
  const inserted = (key: string, now: number): boolean | undefined => {
    try {
      return insert.run(key, now).changes > 0;
    } catch {
      return undefined;
    }
  };
  return {
    saw: (mailboxes, now) =>
      Promise.resolve(
        mailboxes.filter(({ key }) => {
          if (remembered.has(key)) return false;
          const isNew = inserted(key, now);
          if (isNew !== undefined) remembered.set(key, true);
          return isNew === true;
        }),
      ),
    wasSeen: ({ key }) => Promise.resolve(remembered.has(key) || select.get(key) !== undefined),
  };
}
