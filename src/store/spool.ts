// SQLite spool: messages and recipients in rows, group commit, leases in memory; docs/SPOOL.md has the states as a table.
//
// Rules:
//   A message is in the spool when its row is: body first, then the row, then 250. A body without a row is an orphan.
//   `due_at` of a message is the earliest next attempt of its waiting recipients, and null when all are final.
//   One process serves a SQLite data folder (serve-lock), so leases live in its memory: a crash ends them all at once.
//   Other processes (queue retry, queue drop) change rows at any time: settling never changes a state that is final.
//   A key that comes while a message is in work makes what is held at its end due again at once (`woken`).
//   Outcomes and the notices they cause are one transaction. A body goes after its message was concluded, never before.
import type { KeyObject } from "node:crypto";
import { mailbox } from "../mail/address.ts";
import { sizedPieces } from "../mail/chunks.ts";
import { Roster } from "../roster.ts";
import { newMessageId } from "../spool/message-id.ts";
import { DamagedMessage, opened, sealedSize, sealWhole, type SealedSource } from "../spool/seal.ts";
import { openedFile } from "../spool/sealed-file.ts";
import {
  SpoolFull,
  type Leased,
  type LeasedRecipient,
  type MessageClass,
  type Notice,
  type Receiving,
  type RecipientOutcome,
  type Route,
  type Spool,
} from "../spool/spool.ts";
import type { Bodies } from "./bodies.ts";
import type { Database } from "./database.ts";
import { diskRoom } from "./disk-room.ts";
import { dueMessages } from "./due-messages.ts";
import { FreshContents } from "./fresh-contents.ts";
import { groupCommit } from "./group-commit.ts";
import { Leases, type HeldLease } from "./leases.ts";
import { receive, type Step } from "./spool-receive.ts";
import { spoolRows, type StoredMessage } from "./spool-rows.ts";
import { spoolView } from "./spool-view.ts";
import { isOfSqlite, storageError } from "./storage-error.ts";

export type SqliteSpoolParts = {
  readonly database: Database;
  readonly dataDir: string;
  /** New messages are refused when less is free: settling and deleting need room too. */
  readonly reserveBytes: number;
  readonly bodies: Bodies;
  /** Throws when the key cannot be had: commands that never open a body do without it. */
  readonly secretKey: () => KeyObject;
  readonly now: () => number;
  readonly monotonic: () => number;
  /** Fires when an fsync has failed: nothing is accepted or settled any more. */
  readonly failed: AbortSignal;
  readonly sleep: (delayMs: number) => Promise<void>;
  readonly wasHereAtStart: (seq: number) => boolean;
  readonly onStep?: (step: Step) => void;
};

export function sqliteSpool(parts: SqliteSpoolParts): Spool {
  const { bodies, secretKey, now, monotonic, onStep = () => undefined } = parts;
  const { sqlite } = parts.database;
  const rows = spoolRows(sqlite);
  const commits = groupCommit(parts);
  const leases = new Leases();
  const due = dueMessages({ rows, leases, monotonic });
  const fresh = new FreshContents(monotonic);
  const hasRoom = diskRoom(parts.dataDir, parts.reserveBytes, monotonic);
  // held here until they end: Node ends the process when an open FileHandle is collected
  const arriving = new Roster<Receiving>();
  const view = spoolView({ sqlite, rows, bodies, commits, now });

  const writeOutcomes = (
    { seq }: HeldLease["stored"],
    held: HeldLease | undefined,
    outcomes: readonly RecipientOutcome[],
    notices: readonly Notice[],
  ) => {
    for (const outcome of outcomes) rows.settle(seq, outcome, now());
    const storedNotices: Notice[] = [];
    for (const notice of notices) {
      if (!rows.claim(notice, now())) continue;
      storedNotices.push(notice);
      storeNotice(notice);
    }
    if (held?.isWoken === true) rows.wake(seq, now());
    for (const key of held?.woken ?? []) rows.wake(seq, now(), key);
    onStep("outcomes written");
    return { storedNotices, isFinal: rows.conclude(seq, now()) };
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
    receive() {
      if (!hasRoom()) throw new SpoolFull("the disk of dataDir is nearly full");
      const id = newMessageId(now());
      const receiving = receive(id, {
        secretKey: secretKey(),
        bodies,
        rows,
        commits,
        now,
        onStep,
        onStored: (route, message, clear) => {
          due.arrived(route, message);
          if (clear !== undefined) fresh.keep(id, clear);
        },
        onEnd: () => arriving.delete(receiving),
      });
      arriving.add(receiving);
      return receiving;
    },
    // eslint-disable-next-line @typescript-eslint/require-await -- other engines wait here
    async lease(at, leaseForMs, route) {
      if (leases.endExpired(monotonic())) due.lookAnew();
      const stored = due.first(route, at);
      if (stored === undefined) return null;
      const held = leases.take(stored, monotonic() + leaseForMs);
      try {
        return leased(stored, held, at, at + leaseForMs);
      } catch (cause) {
        // its lease goes on and keeps it out of the way of the others
        if (isOfSqlite(cause)) throw storageError(cause);
        throw new DamagedMessage(stored.id, "has rows that make no sense", { cause });
      }
    },
    renew: (lease, leaseForMs) => {
      const held = leases.current(lease);
      if (held !== undefined) held.until = monotonic() + leaseForMs;
      return Promise.resolve(held !== undefined);
    },
    async settle(lease, outcomes, notices) {
      const stored = leases.current(lease)?.stored ?? rows.message(lease.id);
      if (stored === undefined) return { stored: [], leaseLost: true };
      const delivered = outcomes.filter((outcome) => outcome.state === "delivered");
      const { held, storedNotices, isFinal } = await commits.runSoon(() => {
        // asked here and not above: a lease may run out while it waits for the group
        const held = leases.current(lease);
        const lost = held === undefined;
        return { held, ...writeOutcomes(stored, held, lost ? delivered : outcomes, lost ? [] : notices) };
      });
      onStep("settled");
      if (!isFinal || storedNotices.length > 0) due.mayComeSooner();
      if (held !== undefined) leases.end(held);
      // what cannot be removed now is an orphan, that the next start removes
      if (isFinal && stored.in_file === 1) await bodies.remove(lease.id).catch(() => undefined);
      onStep("body removed");
      return { stored: storedNotices, leaseLost: held === undefined };
    },
    async keepDelivered(lease, delivered) {
      const stored = rows.message(lease.id);
      if (stored === undefined) return;
      await commits.run(() => {
        for (const outcome of delivered) rows.settle(stored.seq, outcome, now());
      });
    },
    release: (lease) => {
      const held = leases.current(lease);
      if (held !== undefined) leases.end(held);
      due.lookAnew();
      return Promise.resolve();
    },
    nextDueAt: (route) => {
      const leaseEnd = leases.nextEnd();
      const ends = leaseEnd === undefined ? undefined : now() + leaseEnd - monotonic();
      const times = [due.nextAt(route), ends].filter((time) => time !== undefined);
      return Promise.resolve(times.length === 0 ? undefined : Math.min(...times));
    },
    async wakeHeld(at, addressKeys) {
      leases.wake(addressKeys);
      const count = await view.wakeHeld(at, addressKeys);
      due.lookAnew();
      return count;
    },
    async pullIn(at, latest, route) {
      const count = await view.pullIn(at, latest, route);
      if (count > 0) due.lookAnew();
      return count;
    },
    async retry(at, id) {
      const count = await view.retry(at, id);
      due.lookAnew();
      return count;
    },
    async close() {
      await Promise.all([...arriving].map((receiving) => receiving.abort()));
      await commits.idle();
    },
  };

  function leased(stored: StoredMessage, held: HeldLease, at: number, leaseUntil: number): Leased {
    const recipients = rows.recipients(stored.seq).map((one) => ({ ...one, mailbox: mailbox(one.address) }));
    const dueNow = recipients.filter((one) => one.next_attempt_at !== null && one.next_attempt_at <= at);
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
      allRecipients: recipients.map((one) => one.mailbox),
      due: dueNow.map((one) => ({
        index: one.idx,
        mailbox: one.mailbox,
        notify: one.notify === null ? undefined : (one.notify.split(",") as NonNullable<LeasedRecipient["notify"]>),
        attempts: one.attempts,
        state: one.state as "queued" | "held",
        heldSince: one.held_since ?? undefined,
      })),
      acceptedAt: stored.accepted_at,
      wasHereAtStart: parts.wasHereAtStart(stored.seq),
      leaseUntil,
      content: contentOf(stored),
    };
  }

  /** Reading it throws DamagedMessage; the lease itself is given all the same, so that the damage is seen and told. */
  function contentOf(stored: StoredMessage): Leased["content"] {
    const { id, seq, size } = stored;
    const clear = fresh.take(id);
    if (clear !== undefined) return sizedPieces(size, () => whileStored(id, seq, clear));
    return stored.in_file === 1
      ? openedFile({ path: bodies.pathOf(id), id, size: sealedSize(size), secretKey: secretKey() })
      : opened(secretKey(), id, rowSource(id, seq, sealedSize(size)));
  }

  /** Whoever dropped or settled it meanwhile took its body away. */
  function whileStored(id: string, seq: number, clear: Uint8Array): Uint8Array[] {
    if (!rows.hasBody(seq)) throw new DamagedMessage(id, "is missing");
    return [clear];
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
