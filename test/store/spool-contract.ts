// The contract of Spool, to be run on every engine.
import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { mailbox } from "../../src/mail/address.ts";
import type { Leased, RecipientOutcome, Spool } from "../../src/spool/spool.ts";
import { manualClock, type ManualClock } from "../manual-clock.ts";
import {
  accept,
  contentOf,
  envelopeTo,
  LARGE_BYTES,
  mustLease,
  outcome,
  read,
  report,
  SMALL_BYTES,
} from "./fixture-mail.ts";

/** `open` gives an empty spool that tells the time by `clock`; `close` leaves nothing behind. */
export type Engine = { open(clock: ManualClock): Promise<{ spool: Spool; close: () => Promise<void> }> };

const MINUTE = 60_000;
const DAY = 86_400_000;

export function spoolContract(name: string, engine: Engine): void {
  let clock: ManualClock;
  let spool: Spool;
  let close: () => Promise<void>;
  beforeEach(async () => {
    clock = manualClock();
    ({ spool, close } = await engine.open(clock));
  });
  afterEach(() => close());

  const lease = () => mustLease(spool, clock.now());
  const settleAll = (leased: Leased, fields: Partial<RecipientOutcome> = {}) =>
    spool.settle(
      leased,
      leased.due.map((one) => outcome(one, fields)),
      [],
    );
  const later = (delayMs: number) => ({ state: "queued" as const, nextAttemptAt: clock.now() + delayMs });
  const held = (delayMs: number) => ({ state: "held" as const, nextAttemptAt: clock.now() + delayMs });

  describe(`${name}: a message that was committed`, () => {
    test.each([0, 1, SMALL_BYTES, 65_536, 200_000, LARGE_BYTES, 3_000_000])(
      "of %i octets is leased with the same octets, and can be read twice",
      async (sizeBytes) => {
        const id = await accept(spool, contentOf("m", sizeBytes));
        const leased = await lease();
        expect(leased.id).toBe(id);
        expect(leased.content.size).toBe(sizeBytes);
        expect((await read(leased)).equals(contentOf("m", sizeBytes))).toBe(true);
        expect((await read(leased)).equals(contentOf("m", sizeBytes))).toBe(true);
      },
    );

    test("keeps its envelope exactly", async () => {
      const recipients = [
        { mailbox: mailbox("Alice+Tag@Example.COM"), notify: ["SUCCESS", "DELAY"] as const },
        { mailbox: mailbox("jürgen@bücher.example"), notify: ["NEVER"] as const },
        { mailbox: mailbox("bob@example.com") },
      ];
      const envelope = { route: "inbound", class: "dsn", smtpUtf8: true, is8bit: true, recipients } as const;
      await accept(spool, Buffer.from("x"), { ...envelope, reversePath: mailbox("J.Ira@example.com") });
      await accept(spool, Buffer.from("x"), { ...envelope, reversePath: undefined, smtpUtf8: false });
      const leased = await mustLease(spool, clock.now(), MINUTE, "inbound");
      expect(leased.envelope).toEqual({
        route: "inbound",
        class: "dsn",
        smtpUtf8: true,
        is8bit: true,
        reversePath: mailbox("J.Ira@example.com"),
      });
      expect(leased.allRecipients).toEqual(recipients.map((one) => one.mailbox));
      expect(leased.due.map((one) => one.notify)).toEqual([["SUCCESS", "DELAY"], ["NEVER"], undefined]);
      expect(leased.due.map(({ index, attempts, state, heldSince }) => [index, attempts, state, heldSince])).toEqual([
        [0, 0, "queued", undefined],
        [1, 0, "queued", undefined],
        [2, 0, "queued", undefined],
      ]);
      expect(leased.acceptedAt).toBe(clock.now());
      expect((await mustLease(spool, clock.now(), MINUTE, "inbound")).envelope).toMatchObject({
        reversePath: undefined,
        smtpUtf8: false,
      });
    });

    test("is one of many that came together, each whole and there once", async () => {
      const marks = Array.from({ length: 60 }, (_, number) => `m${number}`);
      const size = (mark: string) => (mark.endsWith("7") ? LARGE_BYTES : 500 + Number(mark.slice(1)));
      const ids = await Promise.all(marks.map((mark) => accept(spool, contentOf(mark, size(mark)))));
      expect(new Set(ids).size).toBe(60);
      const found = new Set<string>();
      for (let leased; (leased = await spool.lease(clock.now(), MINUTE, "outbound")) !== null;)
        found.add(
          createHash("sha256")
            .update(await read(leased))
            .digest("hex"),
        );
      expect(found).toEqual(
        new Set(
          marks.map((mark) =>
            createHash("sha256")
              .update(contentOf(mark, size(mark)))
              .digest("hex"),
          ),
        ),
      );
    });
  });

  describe(`${name}: a message that was not committed`, () => {
    test.each([SMALL_BYTES, LARGE_BYTES])("of %i octets is not there, and takes nothing after abort", async (size) => {
      const receiving = spool.receive();
      await receiving.write(contentOf("m", size));
      expect(await spool.lease(clock.now(), MINUTE, "outbound")).toBeNull();
      await receiving.abort();
      await receiving.abort();
      await expect(receiving.write(Buffer.from("more"))).rejects.toThrow("given up");
      await expect(receiving.commit(envelopeTo("alice@example.com"))).rejects.toThrow("given up");
      expect(await spool.list(10)).toEqual([]);
    });
  });

  describe(`${name}: leasing`, () => {
    test("gives each message to one worker until the lease ends, then to the next", async () => {
      await accept(spool, contentOf("m", 10));
      const first = await mustLease(spool, clock.now(), MINUTE);
      expect(first.leaseUntil).toBe(clock.now() + MINUTE);
      expect(await spool.nextDueAt("outbound")).toBe(clock.now() + MINUTE);
      clock.advance(MINUTE - 1);
      expect(await spool.lease(clock.now(), MINUTE, "outbound")).toBeNull();
      clock.advance(1);
      const second = await mustLease(spool, clock.now(), MINUTE);
      expect(second.id).toBe(first.id);
      expect(second.token).not.toBe(first.token);
    });

    test("takes the oldest due first, and nothing before its time", async () => {
      const a = await accept(spool, contentOf("a", 10));
      clock.advance(1);
      const b = await accept(spool, contentOf("b", 10));
      expect((await lease()).id).toBe(a);
      const leasedB = await lease();
      expect(leasedB.id).toBe(b);
      await settleAll(leasedB, later(MINUTE));
      expect(await spool.lease(clock.now() + MINUTE - 1, 1, "outbound")).toBeNull();
      expect(await spool.nextDueAt("outbound")).toBe(clock.now() + MINUTE);
      clock.advance(MINUTE);
      expect((await mustLease(spool, clock.now())).id).toBe(a);
      expect((await mustLease(spool, clock.now())).id).toBe(b);
    });

    test("of many that are due none is passed by or given twice, whatever happens to those that come next", async () => {
      const ids: string[] = [];
      for (let number = 0; number < 40; number++) {
        ids.push(await accept(spool, contentOf(`m${number}`, 10)));
        clock.advance(1);
      }
      const first = await lease();
      const second = await lease();
      expect([first.id, second.id]).toEqual(ids.slice(0, 2));
      await spool.release(first);
      await spool.drop(ids[2] ?? "");
      expect((await lease()).id).toBe(ids[0]);
      for (const id of ids.slice(3)) expect((await lease()).id).toBe(id);
      expect(await spool.lease(clock.now(), MINUTE, "outbound")).toBeNull();
      const end = await spool.nextDueAt("outbound");
      await accept(spool, contentOf("late", 10));
      expect(await spool.nextDueAt("outbound")).toBe(clock.now());
      expect(end).toBeGreaterThan(clock.now());
    });

    test("a lease that runs out makes its message the next one, before others that are due", async () => {
      const a = await accept(spool, contentOf("a", 10));
      clock.advance(1);
      const b = await accept(spool, contentOf("b", 10));
      clock.advance(1);
      const c = await accept(spool, contentOf("c", 10));
      expect((await mustLease(spool, clock.now(), MINUTE)).id).toBe(a);
      expect((await mustLease(spool, clock.now(), DAY)).id).toBe(b);
      clock.advance(MINUTE);
      expect((await lease()).id).toBe(a);
      expect((await lease()).id).toBe(c);
    });

    test("renew keeps a lease, and says so when it was lost", async () => {
      await accept(spool, contentOf("m", 10));
      const leased = await lease();
      expect(await spool.renew(leased, DAY)).toBe(true);
      clock.advance(DAY - 1);
      expect(await spool.lease(clock.now(), MINUTE, "outbound")).toBeNull();
      clock.advance(1);
      expect(await spool.lease(clock.now(), MINUTE, "outbound")).not.toBeNull();
      expect(await spool.renew(leased, DAY)).toBe(false);
    });

    test("a clock that is set forward ends no lease; set back, what is due later than any schedule says is pulled in", async () => {
      await accept(spool, contentOf("m", 10), envelopeTo("a@x.example", "b@x.example"));
      const leased = await lease();
      clock.set(2 * DAY);
      expect(await spool.lease(clock.now(), MINUTE, "outbound")).toBeNull();
      await settleAll(leased, later(MINUTE));
      clock.set(-2 * DAY);
      expect(await spool.lease(clock.now() + MINUTE, MINUTE, "outbound")).toBeNull();
      expect(await spool.pullIn(clock.now(), clock.now() + 3 * DAY, "outbound")).toBe(0);
      expect(await spool.pullIn(clock.now(), clock.now() + DAY, "inbound")).toBe(0);
      expect(await spool.pullIn(clock.now(), clock.now() + DAY, "outbound")).toBe(2);
      expect((await mustLease(spool, clock.now())).due).toHaveLength(2);
    });

    test("release gives a message back unchanged and at once; a lost lease releases nothing", async () => {
      await accept(spool, contentOf("m", 10));
      const first = await lease();
      await spool.release(first);
      const second = await lease();
      expect(second.due).toEqual(first.due);
      await spool.release(first);
      expect(await spool.lease(clock.now(), MINUTE, "outbound")).toBeNull();
    });
  });

  describe(`${name}: settling`, () => {
    test("each recipient goes its own way; the message is due when the earliest waiting one is", async () => {
      const id = await accept(
        spool,
        contentOf("m", SMALL_BYTES),
        envelopeTo("a@x.example", "b@x.example", "c@x.example"),
      );
      const { due, ...leased } = await lease();
      await spool.settle(
        leased,
        [
          outcome(due[0]!, { lastReply: "250 ok" }),
          outcome(due[1]!, { ...later(10 * MINUTE), lastReply: "451 later" }),
          outcome(due[2]!, { ...held(5 * MINUTE), lastReply: "no key", treatment: undefined, countsAsAttempt: false }),
        ],
        [],
      );
      expect(await spool.nextDueAt("outbound")).toBe(clock.now() + 5 * MINUTE);
      expect((await spool.counts()).states).toEqual({ queued: 1, held: 1 });
      expect((await spool.show(id))!.recipients).toEqual([
        {
          address: "a@x.example",
          state: "delivered",
          attempts: 1,
          nextAttemptAt: undefined,
          lastReply: "250 ok",
          treatment: "smime",
        },
        {
          address: "b@x.example",
          state: "queued",
          attempts: 1,
          nextAttemptAt: clock.now() + 10 * MINUTE,
          lastReply: "451 later",
          treatment: "smime",
        },
        {
          address: "c@x.example",
          state: "held",
          attempts: 0,
          nextAttemptAt: clock.now() + 5 * MINUTE,
          lastReply: "no key",
          treatment: undefined,
        },
      ]);

      const heldAt = clock.now();
      clock.advance(5 * MINUTE);
      const again = await lease();
      expect(again.due.map((one) => [one.index, one.state, one.heldSince])).toEqual([[2, "held", heldAt]]);
      expect(again.allRecipients).toHaveLength(3);
      expect((await read(again)).equals(contentOf("m", SMALL_BYTES))).toBe(true);
      await settleAll(again, held(5 * MINUTE));
      clock.advance(5 * MINUTE);
      const both = await lease();
      expect(both.due.map((one) => [one.index, one.attempts, one.heldSince])).toEqual([
        [1, 1, undefined],
        [2, 1, heldAt],
      ]);
    });

    test.each([SMALL_BYTES, LARGE_BYTES])(
      "when all are final the body of %i octets is gone, the rows can be seen",
      async (size) => {
        const id = await accept(spool, contentOf("m", size), envelopeTo("a@x.example", "b@x.example"));
        const leased = await lease();
        const [a, b] = leased.due;
        await spool.settle(leased, [outcome(a!), outcome(b!, { state: "failed", lastReply: "550 no" })], []);
        await expect(read(leased)).rejects.toThrow(/is missing/);
        expect(await spool.lease(clock.now() + DAY, MINUTE, "outbound")).toBeNull();
        expect(await spool.nextDueAt("outbound")).toBeUndefined();
        expect(await spool.counts()).toEqual({ states: { queued: 0, held: 0 }, oldestAcceptedAt: undefined });
        const entry = (await spool.show(id))!;
        expect(entry).toMatchObject({ id, route: "outbound", class: "mail", reversePath: "jira@example.com", size });
        expect(entry.recipients.map((one) => one.state)).toEqual(["delivered", "failed"]);
      },
    );

    test("what is kept as delivered is not due again when the lease is lost, and settling it once more changes nothing", async () => {
      const id = await accept(spool, contentOf("m", SMALL_BYTES), envelopeTo("a@x.example", "b@x.example"));
      const lost = await mustLease(spool, clock.now(), MINUTE);
      await spool.keepDelivered(lost, [outcome(lost.due[0]!, { lastReply: "250 first" })]);
      expect(await spool.lease(clock.now(), MINUTE, "outbound")).toBeNull();
      clock.advance(MINUTE);
      const again = await lease();
      expect(again.due.map((one) => one.index)).toEqual([1]);
      expect((await read(again)).equals(contentOf("m", SMALL_BYTES))).toBe(true);
      await spool.settle(again, [outcome(lost.due[0]!), outcome(lost.due[1]!, { lastReply: "250 second" })], []);
      const replies = (await spool.show(id))!.recipients.map((one) => [one.state, one.attempts, one.lastReply]);
      expect(replies).toEqual([
        ["delivered", 1, "250 first"],
        ["delivered", 1, "250 second"],
      ]);
      await expect(read(again)).rejects.toThrow(/is missing/);
    });

    test("a lost lease writes only what it delivered, and the newer lease cannot undo that", async () => {
      await accept(spool, contentOf("m", 10), envelopeTo("a@x.example", "b@x.example"));
      const lost = await mustLease(spool, clock.now(), MINUTE);
      clock.advance(MINUTE);
      const current = await lease();
      expect(
        await spool.settle(
          lost,
          [outcome(lost.due[0]!), outcome(lost.due[1]!, { state: "failed", lastReply: "from the lost lease" })],
          [report("a@x.example")],
        ),
      ).toEqual({ stored: [], leaseLost: true });
      expect((await spool.show(lost.id))!.recipients.map((one) => one.state)).toEqual(["delivered", "queued"]);
      expect(await spool.lease(clock.now(), MINUTE, "outbound")).toBeNull();
      expect((await settleAll(current, later(MINUTE))).leaseLost).toBe(false);
      expect((await spool.show(lost.id))!.recipients.map(({ state, lastReply }) => [state, lastReply])).toEqual([
        ["delivered", "250 2.0.0 taken"],
        ["queued", "250 2.0.0 taken"],
      ]);
    });

    test("a lease that ran out but was not taken by another still counts in full", async () => {
      await accept(spool, contentOf("m", 10));
      const leased = await mustLease(spool, clock.now(), MINUTE);
      clock.advance(DAY);
      expect((await settleAll(leased, { state: "failed" })).leaseLost).toBe(false);
      expect((await spool.show(leased.id))!.recipients[0]!.state).toBe("failed");
    });

    test("a settled lease is over: settling again changes nothing", async () => {
      await accept(spool, contentOf("m", 10));
      const leased = await lease();
      await settleAll(leased, later(MINUTE));
      expect((await settleAll(leased, { state: "failed" })).leaseLost).toBe(true);
      expect((await spool.show(leased.id))!.recipients[0]!.state).toBe("queued");
    });

    test("a reply is kept on one line of at most 500 characters without control characters", async () => {
      await accept(spool, contentOf("m", 10));
      const leased = await lease();
      await settleAll(leased, { state: "failed", lastReply: `550-a\r\n550 \u0000b\u001b[31m\u2028${"c".repeat(900)}` });
      const { lastReply } = (await spool.show(leased.id))!.recipients[0]!;
      expect(lastReply).toMatch(/^550-a 550  ?b \[31m c+$/);
      expect(lastReply).toHaveLength(500);
    });
  });

  describe(`${name}: notices`, () => {
    test("are stored with the outcomes as messages of their own, to be sent in clear from the null reverse-path", async () => {
      await accept(spool, contentOf("m", 10));
      const leased = await lease();
      const notice = report("carol@example.com");
      const settled = await spool.settle(leased, [outcome(leased.due[0]!, { state: "failed" })], [notice]);
      expect(settled).toEqual({ stored: [expect.anything()], leaseLost: false });
      const stored = await lease();
      expect(stored.envelope).toMatchObject({ class: "report", reversePath: undefined });
      expect(stored.allRecipients).toEqual([mailbox("carol@example.com")]);
      expect((await read(stored)).equals(notice.message)).toBe(true);
    });

    test("with a key of onceADay are stored once within 24 hours, for each key", async () => {
      const settleWith = async (...keys: string[]) => {
        await accept(spool, contentOf("m", 10));
        let leased = await lease();
        while (leased.envelope.class !== "mail") {
          await settleAll(leased);
          leased = await lease();
        }
        const outcomes = [outcome(leased.due[0]!)];
        const notices = keys.map((key) => report("a@x.example", key));
        return (await spool.settle(leased, outcomes, notices)).stored.length;
      };
      expect(await settleWith("k1", "k1", "k2")).toBe(2);
      clock.advance(DAY - 1);
      expect(await settleWith("k1", "k3")).toBe(1);
      clock.advance(1);
      expect(await settleWith("k1", "k3")).toBe(1);
    });
  });

  describe(`${name}: a key that comes`, () => {
    const holdOne = async (...addresses: string[]) => {
      await accept(spool, contentOf("m", 10), envelopeTo(...addresses));
      await settleAll(await lease(), held(DAY));
    };

    test("wakes the held recipients with its address and no others", async () => {
      await holdOne("Alice@x.example", "bob@x.example");
      await holdOne("carol@x.example");
      expect(await spool.wakeHeld(clock.now(), ["alice@x.example", "nobody@x.example"])).toBe(1);
      expect((await lease()).due.map((one) => one.mailbox.address)).toEqual(["Alice@x.example"]);
      expect(await spool.lease(clock.now(), MINUTE, "outbound")).toBeNull();
      expect(await spool.wakeHeld(clock.now())).toBe(2);
    });

    test("while its message is in work makes what is held then due again at once, and only once", async () => {
      await accept(spool, contentOf("m", 10), envelopeTo("alice@x.example", "bob@x.example"));
      const leased = await lease();
      expect(await spool.wakeHeld(clock.now(), ["alice@x.example"])).toBe(0);
      await settleAll(leased, held(DAY));
      const again = await lease();
      expect(again.due.map((one) => one.mailbox.address)).toEqual(["alice@x.example"]);
      await spool.wakeHeld(clock.now());
      await settleAll(again, held(DAY));
      const third = await lease();
      expect(third.due).toHaveLength(2);
      await settleAll(third, held(DAY));
      expect(await spool.nextDueAt("outbound")).toBe(clock.now() + DAY);
    });
  });

  describe(`${name}: the operator`, () => {
    test("sees the newest first, up to a limit", async () => {
      const ids: string[] = [];
      for (const mark of ["a", "b", "c"]) {
        ids.unshift(await accept(spool, contentOf(mark, 10)));
        clock.advance(1);
      }
      expect((await spool.list(2)).map((one) => one.id)).toEqual(ids.slice(0, 2));
      expect(await spool.show("nothing")).toBeNull();
      expect(await spool.counts()).toEqual({ states: { queued: 3, held: 0 }, oldestAcceptedAt: clock.now() - 3 });
    });

    test("makes one message due, or all, but takes none from its worker", async () => {
      const first = await accept(spool, contentOf("a", 10));
      await settleAll(await lease(), later(DAY));
      await accept(spool, contentOf("b", 10));
      await settleAll(await lease(), held(DAY));
      expect(await spool.retry(clock.now(), "nothing")).toBe(0);
      expect(await spool.retry(clock.now(), first)).toBe(1);
      const leased = await lease();
      expect(leased.id).toBe(first);
      expect(await spool.retry(clock.now())).toBe(2);
      expect((await lease()).due[0]!.state).toBe("held");
      expect(await spool.lease(clock.now(), MINUTE, "outbound")).toBeNull();
    });

    test.each([SMALL_BYTES, LARGE_BYTES])(
      "drops a message of %i octets: every waiting recipient fails, the body goes",
      async (size) => {
        const id = await accept(spool, contentOf("m", size), envelopeTo("a@x.example", "b@x.example"));
        const leased = await lease();
        await spool.settle(leased, [outcome(leased.due[0]!), outcome(leased.due[1]!, later(DAY))], []);
        expect(await spool.drop(id)).toBe(1);
        expect(await spool.drop(id)).toBe(0);
        expect(await spool.drop("nothing")).toBe(0);
        expect((await spool.show(id))!.recipients.map(({ state, lastReply }) => [state, lastReply])).toEqual([
          ["delivered", "250 2.0.0 taken"],
          ["failed", "dropped by the operator"],
        ]);
        await expect(read(leased)).rejects.toThrow(/is missing/);
        expect(await spool.retry(clock.now())).toBe(0);
        expect(await spool.lease(clock.now() + 2 * DAY, MINUTE, "outbound")).toBeNull();
      },
    );

    test("drops a message in work: what the worker says later changes nothing", async () => {
      const id = await accept(spool, contentOf("m", 10));
      const leased = await lease();
      expect(await spool.drop(id)).toBe(1);
      await settleAll(leased, later(MINUTE));
      expect((await spool.show(id))!.recipients[0]).toMatchObject({
        state: "failed",
        lastReply: "dropped by the operator",
      });
      expect(await spool.nextDueAt("outbound")).toBeUndefined();
    });
  });
}
