// Spool view: what operators see of the spool and may change: list, show, retry, drop, and the counts.
import type { DatabaseSync } from "node:sqlite";
import type { QueueEntry, RecipientState, Spool } from "../spool/spool.ts";
import type { Bodies } from "./bodies.ts";
import type { GroupCommit } from "./group-commit.ts";
import type { SpoolRows, StoredMessage } from "./spool-rows.ts";

type View = Pick<Spool, "list" | "show" | "retry" | "drop" | "pullIn" | "wakeHeld" | "counts">;

const WAITING = "state IN ('queued', 'held')";

/** How many messages one transaction changes at most: other processes write between two of them. */
const BATCH = 1_000;

export type ViewParts = {
  readonly sqlite: DatabaseSync;
  readonly rows: SpoolRows;
  readonly bodies: Bodies;
  readonly commits: GroupCommit;
  readonly now: () => number;
};

export function spoolView({ sqlite, rows, bodies, commits, now }: ViewParts): View {
  const waiting = sqlite.prepare("SELECT * FROM messages WHERE due_at IS NOT NULL ORDER BY seq DESC LIMIT ?");
  const finished = sqlite.prepare("SELECT * FROM messages WHERE due_at IS NULL ORDER BY seq DESC LIMIT ?");
  const retryOne = sqlite.prepare(`UPDATE recipients SET next_attempt_at = ? WHERE seq = ? AND ${WAITING}`);
  const waitingSeqs = sqlite.prepare("SELECT seq FROM messages WHERE due_at IS NOT NULL");
  const heldSeqs = sqlite.prepare("SELECT DISTINCT seq FROM recipients WHERE state = 'held'");
  const heldOf = sqlite.prepare("SELECT seq FROM recipients WHERE state = 'held' AND address_key = ?");
  const farOff = sqlite.prepare("SELECT seq FROM messages WHERE route = ? AND due_at > ?");
  const pullOne = sqlite.prepare(
    `UPDATE recipients SET next_attempt_at = ? WHERE seq = ? AND next_attempt_at > ? AND ${WAITING}`,
  );
  const setDue = sqlite.prepare("UPDATE messages SET due_at = min(due_at, ?1) WHERE seq = ?2 AND due_at IS NOT NULL");
  const dropOne = sqlite.prepare(
    `UPDATE recipients SET state = 'failed', next_attempt_at = NULL, last_reply = 'dropped by the operator' WHERE seq = ? AND ${WAITING}`,
  );
  const countHeld = sqlite.prepare("SELECT count(*) AS n FROM recipients WHERE state = 'held'");
  const countQueued = sqlite.prepare("SELECT count(*) AS n FROM recipients WHERE state = 'queued'");
  const oldest = sqlite.prepare(
    "SELECT accepted_at AS at FROM messages WHERE due_at IS NOT NULL ORDER BY accepted_at LIMIT 1",
  );

  const seqsOf = (found: unknown) => (found as { seq: number }[]).map(({ seq }) => seq);
  const entry = (stored: StoredMessage): QueueEntry => ({
    id: stored.id,
    route: stored.route as QueueEntry["route"],
    class: stored.class as QueueEntry["class"],
    reversePath: stored.reverse_path,
    acceptedAt: stored.accepted_at,
    size: stored.size,
    recipients: rows.recipients(stored.seq).map((one) => ({
      address: one.address,
      state: one.state as RecipientState,
      attempts: one.attempts,
      nextAttemptAt: one.next_attempt_at ?? undefined,
      lastReply: one.last_reply,
      treatment: one.treatment ?? undefined,
    })),
  });
  /** Changes recipients of these messages, each giving how many, and makes the messages due. */
  const changeAll = async (seqs: readonly number[], at: number, change: (seq: number) => number): Promise<number> => {
    let count = 0;
    for (let from = 0; from < seqs.length; from += BATCH) {
      count += await commits.run(() => {
        let changed = 0;
        for (const seq of seqs.slice(from, from + BATCH)) {
          const here = change(seq);
          if (here > 0) setDue.run(at, seq);
          changed += here;
        }
        return changed;
      });
    }
    return count;
  };

  return {
    list: (limit) => {
      // what waits comes first: however much was delivered, it is never cut off
      const first = waiting.all(limit) as unknown as StoredMessage[];
      const rest = finished.all(limit - first.length) as unknown as StoredMessage[];
      return Promise.resolve([...first, ...rest].map(entry));
    },
    show: (id) => {
      const stored = rows.message(id);
      return Promise.resolve(stored === undefined ? null : entry(stored));
    },
    retry(at, id) {
      const one = id === undefined ? undefined : rows.message(id)?.seq;
      const seqs = id === undefined ? seqsOf(waitingSeqs.all()) : one === undefined ? [] : [one];
      return changeAll(seqs, at, (seq) => Number(retryOne.run(at, seq).changes));
    },
    async drop(id) {
      const stored = rows.message(id);
      if (stored === undefined) return 0;
      const count = await commits.run(() => {
        const dropped = Number(dropOne.run(stored.seq).changes);
        if (dropped > 0) rows.conclude(stored.seq, now());
        return dropped;
      });
      // whoever works on it now finds its body missing, and nothing left to settle
      if (count > 0 && stored.in_file === 1) await bodies.remove(id);
      return count;
    },
    pullIn: (at, latest, route) =>
      changeAll(seqsOf(farOff.all(route, latest)), at, (seq) => Number(pullOne.run(at, seq, latest).changes)),
    async wakeHeld(at, addressKeys) {
      if (addressKeys === undefined) return changeAll(seqsOf(heldSeqs.all()), at, (seq) => rows.wake(seq, at));
      let count = 0;
      for (const key of addressKeys)
        count += await changeAll(seqsOf(heldOf.all(key)), at, (seq) => rows.wake(seq, at, key));
      return count;
    },
    counts: () => {
      const { n: held } = countHeld.get() as { n: number };
      const { n: queued } = countQueued.get() as { n: number };
      const { at } = (oldest.get() ?? {}) as { at?: number };
      return Promise.resolve({ states: { queued, held }, oldestAcceptedAt: at });
    },
  };
}
