// Tries: how often work on a message was begun that never came to its end, so that a message that kills the process does so a few times only.
import type { Database } from "./database.ts";

export type Tries = {
  /** How often it was begun, and when for the last time. */
  of(id: string): { readonly tries: number; readonly at: number } | undefined;
  /** Counts one more beginning; gives how many there are now. */
  begin(id: string, now: number): number;
  /** It came to its end, or is to be tried anew. */
  done(id: string): void;
  /** All are to be tried anew. */
  forget(): void;
};

export function sqlTries({ sqlite }: Database): Tries {
  const begin = sqlite.prepare(
    `INSERT INTO tries (id, tries, at) VALUES (?1, 1, ?2)
     ON CONFLICT DO UPDATE SET tries = tries + 1, at = ?2 RETURNING tries`,
  );
  const of = sqlite.prepare("SELECT tries, at FROM tries WHERE id = ?");
  const done = sqlite.prepare("DELETE FROM tries WHERE id = ?");
  const forget = sqlite.prepare("DELETE FROM tries");
  return {
    of: (id) => of.get(id) as { tries: number; at: number } | undefined,
    begin: (id, now) => (begin.get(id, now) as { tries: number }).tries,
    done: (id) => void done.run(id),
    forget: () => void forget.run(),
  };
}
