// Spool rows: the spool's hot statements, prepared once on node:sqlite; Kysely's compiling would cost more than the rows.
import type { DatabaseSync } from "node:sqlite";
import type { Notice, RecipientOutcome, Route, SpooledEnvelope } from "../spool/spool.ts";
import type { MessageRow, RecipientRow } from "./tables.ts";

export type StoredMessage = MessageRow & { readonly seq: number };

export type NewMessage = {
  readonly id: string;
  readonly envelope: SpooledEnvelope;
  readonly acceptedAt: number;
  readonly size: number;
  /** The sealed body, or undefined when it is a file. */
  readonly sealed: Uint8Array | undefined;
};

const MAX_REPLY = 500;
export type SpoolRows = ReturnType<typeof spoolRows>;

/** All functions are to be called inside a transaction of the group commit, the reading ones anywhere. */
export function spoolRows(sqlite: DatabaseSync) {
  const insertMessage = sqlite.prepare(
    `INSERT INTO messages (id, route, class, reverse_path, smtp_utf8, is_8bit, accepted_at, size, in_file, due_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const insertBody = sqlite.prepare("INSERT INTO bodies (seq, sealed) VALUES (?, ?)");
  const insertRecipient = sqlite.prepare(
    `INSERT INTO recipients (seq, idx, address, address_key, notify, state, attempts, next_attempt_at, last_reply)
     VALUES (?, ?, ?, ?, ?, 'queued', 0, ?, '')`,
  );
  const claimReport = sqlite.prepare(
    `INSERT INTO reports (key, sent_at) VALUES (?1, ?2)
     ON CONFLICT (key) DO UPDATE SET sent_at = ?2 WHERE sent_at <= ?2 - 86400000 OR sent_at > ?2`,
  );
  const settleOne = sqlite.prepare(
    `UPDATE recipients SET state = ?3, attempts = attempts + ?4, next_attempt_at = ?5, last_reply = ?6, treatment = ?7,
       held_since = CASE WHEN ?3 = 'held' THEN coalesce(held_since, ?8) ELSE held_since END
     WHERE seq = ?1 AND idx = ?2 AND state IN ('queued', 'held')`,
  );
  const earliest = sqlite.prepare(
    "SELECT min(next_attempt_at) AS at, count(*) AS waiting FROM recipients WHERE seq = ? AND state IN ('queued', 'held')",
  );
  const setDue = sqlite.prepare("UPDATE messages SET due_at = ?2, finished_at = ?3 WHERE seq = ?1");
  const deleteBody = sqlite.prepare("DELETE FROM bodies WHERE seq = ?");
  const nextMessages = sqlite.prepare(
    "SELECT seq, due_at FROM messages WHERE route = ? AND due_at IS NOT NULL ORDER BY due_at, seq LIMIT ?",
  );
  const recipientsOf = sqlite.prepare("SELECT * FROM recipients WHERE seq = ? ORDER BY idx");
  const bodyOf = sqlite.prepare("SELECT sealed FROM bodies WHERE seq = ?");
  const hasBody = sqlite.prepare("SELECT 1 FROM bodies WHERE seq = ?");
  const bySeq = sqlite.prepare("SELECT * FROM messages WHERE seq = ?");
  const wakeAll = sqlite.prepare(
    "UPDATE recipients SET next_attempt_at = ?2 WHERE seq = ?1 AND state = 'held' AND next_attempt_at > ?2",
  );
  const wakeKey = sqlite.prepare(
    `UPDATE recipients SET next_attempt_at = ?2
     WHERE seq = ?1 AND state = 'held' AND next_attempt_at > ?2 AND address_key = ?3`,
  );
  const byId = sqlite.prepare("SELECT * FROM messages WHERE id = ?");

  return {
    /** Due when it was accepted; gives its number. */
    insert({ id, envelope, acceptedAt, size, sealed }: NewMessage): number {
      const { route, reversePath, recipients, smtpUtf8, is8bit } = envelope;
      const flags = [Number(smtpUtf8), Number(is8bit)] as const;
      const path = reversePath?.address ?? "";
      const inFile = sealed === undefined ? 1 : 0;
      const { lastInsertRowid: seq } = insertMessage.run(
        id,
        route,
        envelope.class,
        path,
        ...flags,
        acceptedAt,
        size,
        inFile,
        acceptedAt,
      );
      if (sealed !== undefined) insertBody.run(seq, sealed);
      recipients.forEach(({ mailbox, notify }, index) =>
        insertRecipient.run(seq, index, mailbox.address, mailbox.key, notify?.join(",") ?? null, acceptedAt),
      );
      return Number(seq);
    },
    /** Whether this notice may be stored now; remembers that it was. */
    claim(notice: Notice, now: number): boolean {
      return notice.onceADay === undefined || Number(claimReport.run(notice.onceADay, now).changes) > 0;
    },
    settle(seq: number, outcome: RecipientOutcome, now: number): void {
      const { index, state, nextAttemptAt, lastReply, treatment, countsAsAttempt } = outcome;
      const next = state === "queued" || state === "held" ? (nextAttemptAt ?? now) : null;
      settleOne.run(seq, index, state, Number(countsAsAttempt), next, shownReply(lastReply), treatment ?? null, now);
    },
    /** Brings the message in line with its recipients; true when all of them are final and the body went. */
    conclude(seq: number, now: number): boolean {
      const { at, waiting } = earliest.get(seq) as { at: number | null; waiting: number };
      setDue.run(seq, at, waiting === 0 ? now : null);
      if (waiting === 0) deleteBody.run(seq);
      return waiting === 0;
    },
    /** Makes held recipients of one message due now, all or those with this address key; returns how many. */
    wake: (seq: number, now: number, addressKey?: string): number =>
      Number((addressKey === undefined ? wakeAll.run(seq, now) : wakeKey.run(seq, now, addressKey)).changes),
    /** The first messages of a route in order of their due time, whether that has come or not. */
    next: (route: Route, limit: number) =>
      nextMessages.all(route, limit) as unknown as { seq: number; due_at: number }[],
    messageAt: (seq: number) => bySeq.get(seq) as StoredMessage | undefined,
    recipients: (seq: number) => recipientsOf.all(seq) as unknown as RecipientRow[],
    body: (seq: number) => (bodyOf.get(seq) as { sealed: Uint8Array } | undefined)?.sealed,
    hasBody: (seq: number) => hasBody.get(seq) !== undefined,
    message: (id: string) => byId.get(id) as StoredMessage | undefined,
  };
}

/** What a next hop said may hold anything, also what it was sent: one line, bounded. */
export function shownReply(reply: string): string {
  return reply.replace(/[\p{Cc}\u2028\u2029]+/gu, " ").slice(0, MAX_REPLY);
}
