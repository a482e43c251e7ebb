// Spool view: what operators see of the spool and may change: list, show, retry, drop, and the counts.
import type { DatabaseSync } from "node:sqlite";
import type { QueueEntry, RecipientState, Spool } from "../spool/spool.ts";
import type { GroupCommit } from "./group-commit.ts";
import type { StoredMessage } from "./spool-rows.ts";
import type { RecipientRow } from "./tables.ts";

type View = Pick<Spool, "list" | "show" | "retry" | "drop" | "wakeHeld" | "counts">;

const WAITING = "state IN ('queued', 'held')";

export function spoolView(sqlite: DatabaseSync, commits: GroupCommit, now: () => number): View {
  const newest = sqlite.prepare("SELECT * FROM messages ORDER BY seq DESC LIMIT ?");
  const byId = sqlite.prepare("SELECT * FROM messages WHERE id = ?");
  const recipientsOf = sqlite.prepare("SELECT * FROM recipients WHERE seq = ? ORDER BY idx");
  const retryOne = sqlite.prepare(`UPDATE recipients SET next_attempt_at = ? WHERE seq = ? AND ${WAITING}`);
  const waitingSeqs = sqlite.prepare("SELECT seq FROM messages WHERE due_at IS NOT NULL");
  const heldSeqs = sqlite.prepare("SELECT DISTINCT seq FROM recipients WHERE state = 'held'");
  const heldOf = sqlite.prepare("SELECT seq FROM recipients WHERE state = 'held' AND address_key = ?");
  const wake = sqlite.prepare(
    "UPDATE recipients SET next_attempt_at = ?1 WHERE seq = ?2 AND state = 'held' AND next_attempt_at > ?1",
  );
  const wakeOne = sqlite.prepare(
    "UPDATE recipients SET next_attempt_at = ?1 WHERE seq = ?2 AND state = 'held' AND address_key = ?3",
  );
  const setDue = sqlite.prepare("UPDATE messages SET due_at = min(due_at, ?1) WHERE seq = ?2 AND due_at IS NOT NULL");
  const dropOne = sqlite.prepare(
    `UPDATE recipients SET state = 'failed', next_attempt_at = NULL, last_reply = 'dropped by the operator' WHERE seq = ? AND ${WAITING}`,
  );
  const finish = sqlite.prepare("UPDATE messages SET due_at = NULL, finished_at = ?2 WHERE seq = ?1");
  const deleteBody = sqlite.prepare("DELETE FROM bodies WHERE seq = ?");
  const countHeld = sqlite.prepare("SELECT count(*) AS n FROM recipients WHERE state = 'held'");
  const countQueued = sqlite.prepare("SELECT count(*) AS n FROM recipients WHERE state = 'queued'");
  const oldest = sqlite.prepare("SELECT min(accepted_at) AS at FROM messages WHERE due_at IS NOT NULL");

  const seqOf = (id: string) => (byId.get(id) as StoredMessage | undefined)?.seq;
  const seqsOf = (found: unknown) => (found as { seq: number }[]).map(({ seq }) => seq);
  const entry = (stored: StoredMessage): QueueEntry => ({
    id: stored.id,
    route: stored.route as QueueEntry["route"],
    class: stored.class as QueueEntry["class"],
    reversePath: stored.reverse_path,
    acceptedAt: stored.accepted_at,
    size: stored.size,
    recipients: (recipientsOf.all(stored.seq) as unknown as RecipientRow[]).map((one) => ({
      address: one.address,
      state: one.state as RecipientState,
      attempts: one.attempts,
      nextAttemptAt: one.next_attempt_at ?? undefined,
      lastReply: one.last_reply,
      treatment: one.treatment ?? undefined,
    })),
  });
  const changed = (result: { changes: number | bigint }) => Number(result.changes);

  return {
    list: (limit) => Promise.resolve((newest.all(limit) as unknown as StoredMessage[]).map(entry)),
    show: (id) => {
      const stored = byId.get(id) as StoredMessage | undefined;
      return Promise.resolve(stored === undefined ? null : entry(stored));
    },
    retry: (now, id) =>
      commits.run(() => {
        const one = id === undefined ? undefined : seqOf(id);
        const seqs = id === undefined ? seqsOf(waitingSeqs.all()) : one === undefined ? [] : [one];
        let count = 0;
        for (const seq of seqs) {
          count += changed(retryOne.run(now, seq));
          setDue.run(now, seq);
        }
        return count;
      }),
    drop: (id) =>
      commits.run(() => {
        const seq = seqOf(id);
        if (seq === undefined) return 0;
        const count = changed(dropOne.run(seq));
        // the body may be in use by a lease: it goes with it, or with the next start when it is a file
        finish.run(seq, now());
        deleteBody.run(seq);
        return count;
      }),
    wakeHeld: (now, addressKeys) =>
      commits.run(() => {
        let count = 0;
        const woken = (seq: number, changes: number) => {
          count += changes;
          setDue.run(now, seq);
        };
        if (addressKeys === undefined)
          for (const seq of seqsOf(heldSeqs.all())) woken(seq, changed(wake.run(now, seq)));
        else
          for (const key of addressKeys)
            for (const seq of seqsOf(heldOf.all(key))) woken(seq, changed(wakeOne.run(now, seq, key)));
        return count;
      }),
    counts: () => {
      const { n: held } = countHeld.get() as { n: number };
      const { n: queued } = countQueued.get() as { n: number };
      const { at } = oldest.get() as { at: number | null };
      return Promise.resolve({ states: { queued, held }, oldestAcceptedAt: at ?? undefined });
    },
  };
}
