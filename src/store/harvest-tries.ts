// Harvest tries: how often harvesting a message was begun, so that a message that kills the process does so a few times only.
import type { Database } from "./database.ts";

export type HarvestTries = {
  /** Counts one more beginning; gives how many there are now. */
  begin(id: string, now: number): number;
  /** It came to its end. */
  done(id: string): void;
};

export function sqlHarvestTries({ sqlite }: Database): HarvestTries {
  const begin = sqlite.prepare(
    `INSERT INTO harvest_tries (id, tries, at) VALUES (?1, 1, ?2)
     ON CONFLICT DO UPDATE SET tries = tries + 1, at = ?2 RETURNING tries`,
  );
  const done = sqlite.prepare("DELETE FROM harvest_tries WHERE id = ?");
  return {
    begin: (id, now) => (begin.get(id, now) as { tries: number }).tries,
    done: (id) => void done.run(id),
  };
}
