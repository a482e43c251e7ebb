// Due messages: how often the index is asked, and that nothing which becomes due is overlooked.
import { expect, test } from "vitest";
import { dueMessages } from "../../src/store/due-messages.ts";
import { Leases } from "../../src/store/leases.ts";
import type { StoredMessage } from "../../src/store/spool-rows.ts";

/** An index of nothing but memory, by number and due time; tells how often it was asked. */
function index() {
  const due = new Map<number, number>();
  const state = { asked: 0, changes: 0, now: 0 };
  const leases = new Leases();
  const stored = (seq: number) => ({ id: `m${seq}`, seq, route: "outbound", due_at: due.get(seq) ?? null });
  const rows = {
    get changes() {
      return state.changes;
    },
    next(route: string, limit: number) {
      state.asked++;
      const all = [...due]
        .map(([seq, at]) => ({ seq, due_at: at }))
        .sort((a, b) => a.due_at - b.due_at || a.seq - b.seq);
      return route === "outbound" ? all.slice(0, limit) : [];
    },
    messageAt: (seq: number) => stored(seq) as unknown as StoredMessage,
  };
  const messages = dueMessages({ rows, leases, monotonic: () => state.now });
  return {
    ...{ due, state, messages },
    arrives: (seq: number, at: number) => {
      due.set(seq, at);
      state.changes++;
    },
    /** Leases what is first, and settles it. */
    work: (at: number): number | undefined => {
      const first = messages.first("outbound", at);
      if (first === undefined) return undefined;
      const held = leases.take(first, state.now + 1_000);
      due.delete(first.seq);
      leases.end(held);
      return first.seq;
    },
  };
}

test("a message that comes alone costs one look, and none says that nothing else is due", () => {
  const { state, messages, arrives, work } = index();
  for (let seq = 1; seq <= 10; seq++) {
    arrives(seq, 5);
    expect([work(10), work(10), work(10)]).toEqual([seq, undefined, undefined]);
    expect(messages.nextAt("outbound")).toBeUndefined();
  }
  expect(state.asked).toBe(10);
});

test("many that wait cost a look for each sixteen", () => {
  const { state, arrives, work } = index();
  for (let seq = 1; seq <= 160; seq++) arrives(seq, 5);
  for (let seq = 1; seq <= 160; seq++) expect(work(10)).toBe(seq);
  expect(work(10)).toBeUndefined();
  expect(state.asked).toBeLessThanOrEqual(11);
});

test("what is due later is seen without a look, and is not forgotten while others come", () => {
  const { state, messages, arrives, work } = index();
  arrives(1, 1_000);
  expect(work(10)).toBeUndefined();
  expect(messages.nextAt("outbound")).toBe(1_000);
  for (let seq = 2; seq <= 5; seq++) {
    arrives(seq, 20);
    expect(work(20)).toBe(seq);
  }
  expect(state.asked).toBe(5);
  expect(messages.nextAt("outbound")).toBe(1_000);
  expect(work(999)).toBeUndefined();
  expect(state.asked).toBe(5);
  expect(work(1_000)).toBe(1);
});

test("what another process has made due is seen half a second later at the latest, and at once when it is said", () => {
  const { due, state, messages, work } = index();
  expect(work(10)).toBeUndefined();
  due.set(1, 5);
  expect([work(10), state.asked]).toEqual([undefined, 1]);
  state.now = 499;
  expect([work(10), state.asked]).toEqual([undefined, 1]);
  state.now = 500;
  expect([work(10), state.asked]).toEqual([1, 2]);
  due.set(2, 5);
  messages.lookAnew();
  expect(work(10)).toBe(2);
});

test("of more than were seen none is taken to be due later", () => {
  const { arrives, work, messages } = index();
  for (let seq = 1; seq <= 16; seq++) arrives(seq, 5);
  arrives(17, 6);
  for (let seq = 1; seq <= 16; seq++) expect(work(10)).toBe(seq);
  expect(messages.nextAt("outbound")).toBe(6);
  expect(work(10)).toBe(17);
});
