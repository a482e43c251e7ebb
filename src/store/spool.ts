// SQLite spool: messages and recipients in rows, group commit, leases in memory; docs/SPOOL.md has the states as a table.
//
// Rules:
//   A message is in the spool when its row is: body first, then the row, then 250. A body without a row is an orphan.
//   `due_at` of a message is the earliest next attempt of its waiting recipients, and null when all are final.
//   One process serves a SQLite data folder (serve-lock), so leases live in its memory: a crash ends them all at once.
//   Other processes (queue retry, queue drop) change rows at any time: settling never changes a state that is final.
//   Outcomes and the notices they cause are one transaction. A body goes after its message was concluded, never before.
import { randomBytes, type KeyObject } from "node:crypto";
import { mailbox } from "../mail/address.ts";
import { newMessageId } from "../spool/message-id.ts";
import { DamagedMessage, opened, sealedSize, sealWhole, type SealedSource } from "../spool/seal.ts";
import type {
  Lease,
  Leased,
  LeasedRecipient,
  MessageClass,
  Notice,
  RecipientOutcome,
  Route,
  Spool,
} from "../spool/spool.ts";
import type { Bodies } from "./bodies.ts";
import type { Database } from "./database.ts";
import { groupCommit } from "./group-commit.ts";
import { receive, type Step } from "./spool-receive.ts";
import { spoolRows, type StoredMessage } from "./spool-rows.ts";
import { spoolView } from "./spool-view.ts";

export type SqliteSpoolParts = {
  readonly database: Database;
  readonly bodies: Bodies;
  /** Throws when the key cannot be had: commands that never open a body do without it. */
  readonly secretKey: () => KeyObject;
  readonly now: () => number;
  readonly onStep?: (step: Step) => void;
};

type Held = { readonly token: string; readonly seq: number; until: number };

export function sqliteSpool({ database, bodies, secretKey, now, onStep = () => undefined }: SqliteSpoolParts): Spool {
  const { sqlite } = database;
  const rows = spoolRows(sqlite);
  const commits = groupCommit(sqlite, () => undefined);
  const leases = new Map<string, Held>();
  const view = spoolView(sqlite, commits, now);

  const isCurrent = ({ id, token }: Lease) => leases.get(id)?.token === token;

  const writeOutcomes = (stored: StoredMessage, outcomes: readonly RecipientOutcome[], notices: readonly Notice[]) => {
    for (const outcome of outcomes) rows.settle(stored.seq, outcome, now());
    let noticesStored = 0;
    for (const notice of notices) {
      if (!rows.claim(notice, now())) continue;
      noticesStored++;
      storeNotice(notice);
    }
    onStep("outcomes written");
    return { noticesStored, isFinal: rows.conclude(stored.seq, now()) };
  };

  const storeNotice = (notice: Notice) => {
    const id = newMessageId(now());
    rows.insert({
      id,
      envelope: {
        route: "outbound",
        class: notice.class,
        reversePath: notice.reversePath,
        recipients: [{ mailbox: notice.recipient }],
        smtpUtf8: false,
        is8bit: false,
      },
      acceptedAt: now(),
      size: notice.message.length,
      sealed: sealWhole(secretKey(), id, notice.message),
    });
  };

  return {
    ...view,
    receive: () => receive(newMessageId(now()), { secretKey: secretKey(), bodies, rows, commits, now, onStep }),
    // eslint-disable-next-line @typescript-eslint/require-await -- other engines wait here
    async lease(at, leaseForMs) {
      for (const [id, held] of leases) if (held.until <= at) leases.delete(id);
      // leased messages stay where they are in the index: at most so many stand before the next free one
      const stored = rows.due(at, leases.size + 1).find((one) => !leases.has(one.id));
      if (stored === undefined) return null;
      const held = { token: randomBytes(8).toString("hex"), seq: stored.seq, until: at + leaseForMs };
      leases.set(stored.id, held);
      return leased(stored, held, at);
    },
    renew: (lease, until) => {
      const held = isCurrent(lease) ? leases.get(lease.id) : undefined;
      if (held !== undefined) held.until = until;
      return Promise.resolve(held !== undefined);
    },
    async settle(lease, outcomes, notices) {
      const leaseLost = !isCurrent(lease);
      const stored = rows.message(lease.id);
      if (stored === undefined) return { noticesStored: 0, leaseLost: true };
      const delivered = outcomes.filter((outcome) => outcome.state === "delivered");
      const { noticesStored, isFinal } = await commits.run(() =>
        writeOutcomes(stored, leaseLost ? delivered : outcomes, leaseLost ? [] : notices),
      );
      onStep("settled");
      if (isCurrent(lease)) leases.delete(lease.id);
      if (isFinal && stored.in_file === 1) await bodies.remove(lease.id);
      onStep("body removed");
      return { noticesStored, leaseLost };
    },
    release: (lease) => {
      if (isCurrent(lease)) leases.delete(lease.id);
      return Promise.resolve();
    },
    nextDueAt: () => {
      const leasedSeqs = new Set([...leases.values()].map((held) => held.seq));
      return Promise.resolve(rows.next(leases.size + 1).find((one) => !leasedSeqs.has(one.seq))?.due_at);
    },
    async close() {
      await commits.idle();
    },
  };

  function leased(stored: StoredMessage, held: Held, at: number): Leased {
    const recipients = rows.recipients(stored.seq);
    const due = recipients.filter((one) => one.next_attempt_at !== null && one.next_attempt_at <= at);
    return {
      id: stored.id,
      token: held.token,
      envelope: {
        route: stored.route as Route,
        class: stored.class as MessageClass,
        reversePath: stored.reverse_path === "" ? undefined : mailbox(stored.reverse_path),
        smtpUtf8: stored.smtp_utf8 === 1,
        is8bit: stored.is_8bit === 1,
      },
      allRecipients: recipients.map((one) => mailbox(one.address)),
      due: due.map((one) => ({
        index: one.idx,
        mailbox: mailbox(one.address),
        notify: one.notify === null ? undefined : (one.notify.split(",") as NonNullable<LeasedRecipient["notify"]>),
        attempts: one.attempts,
        state: one.state as "queued" | "held",
        heldSince: one.held_since ?? undefined,
      })),
      acceptedAt: stored.accepted_at,
      leaseUntil: held.until,
      content: contentOf(stored),
    };
  }

  /** Reading it throws DamagedMessage; the lease itself is given all the same, so that the damage is seen and told. */
  function contentOf(stored: StoredMessage): Leased["content"] {
    const { id, seq, size } = stored;
    const source = stored.in_file === 1 ? bodies.source(id, sealedSize(size)) : rowSource(id, seq, sealedSize(size));
    return opened(secretKey(), id, source);
  }

  function rowSource(id: string, seq: number, size: number): SealedSource {
    return {
      size,
      open: () => {
        const sealed = rows.body(seq);
        if (sealed?.length !== size) return Promise.reject(new DamagedMessage(id, "is missing or cut off"));
        return Promise.resolve({
          read: (offset, length) => Promise.resolve(sealed.subarray(offset, offset + length)),
          close: () => Promise.resolve(),
        });
      },
    };
  }
}
