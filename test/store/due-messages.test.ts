// Due messages: how often the index is asked, and that nothing which becomes due is overlooked.
import { expect, test } from "vitest";
import { dueMessages } from "../../src/store/due-messages.ts";
import { Leases } from "../../src/store/leases.ts";
import type { StoredMessage } from "../../src/store/spool-rows.ts";

/** An index of nothing but memory, by number and due time; tells how often it was asked. */
function index() {
  const due = new Map<number, number>();
  const state = { asked: 0, now: 0 };
  const leases = new Leases();
  const stored = (seq: number) => ({ id: `m${seq}`, seq, route: "outbound", due_at: due.get(seq) ?? null });
  const rows = {
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
  const lease = (at: number) => {
    const first = messages.first("outbound", at);
    return first === undefined ? undefined : leases.take(first, state.now + 1_000);
  };
  return {
    ...{ due, state, messages, lease },
    /** It is in the index before that is told. */
    arrives: (seq: number, at: number) => {
      due.set(seq, at);
      messages.arrived("outbound", { seq, due_at: at });
    },
    /** Leases what is first, and settles it. */
    work: (at: number): number | undefined => {
      const held = lease(at);
      if (held === undefined) return undefined;
      due.delete(held.stored.seq);
      leases.end(held);
      return held.stored.seq;
    },
  };
}

test("messages that come in cost no look, and none says that nothing else is due", () => {
  const { state, messages, arrives, work } = index();
  expect(work(10)).toBeUndefined();
  for (let seq = 1; seq <= 10; seq++) {
    arrives(seq, 5);
    expect([work(10), work(10), work(10)]).toEqual([seq, undefined, undefined]);
    expect(messages.nextAt("outbound")).toBeUndefined();
  }
  expect(state.asked).toBe(1);
});

test("many that wait cost a look for each sixteen", () => {
  const { due, state, work } = index();
  for (let seq = 1; seq <= 160; seq++) due.set(seq, 5);
  for (let seq = 1; seq <= 160; seq++) expect(work(10)).toBe(seq);
  expect(work(10)).toBeUndefined();
  expect(state.asked).toBeLessThanOrEqual(11);
});

test("of many that come in, as many as are known leave without a look, and the rest is not overlooked", () => {
  const { state, messages, arrives, work } = index();
  expect(work(10)).toBeUndefined();
  for (let seq = 1; seq <= 100; seq++) arrives(seq, 5);
  expect(messages.nextAt("outbound")).toBe(5);
  for (let seq = 1; seq <= 64; seq++) expect(work(10)).toBe(seq);
  expect([messages.nextAt("outbound"), state.asked]).toEqual([5, 1]);
  for (let seq = 65; seq <= 100; seq++) expect(work(10)).toBe(seq);
  expect(work(10)).toBeUndefined();
});

test("what comes in goes behind those that wait already, also those not seen ahead", () => {
  const { due, arrives, work } = index();
  for (let seq = 1; seq <= 20; seq++) due.set(seq, 5);
  expect(work(10)).toBe(1);
  arrives(21, 8);
  for (let seq = 2; seq <= 21; seq++) expect(work(10)).toBe(seq);
});

test("a message that a look has shown before its arrival was told is leased once", () => {
  const { due, messages, lease } = index();
  due.set(1, 5);
  const first = lease(10);
  messages.arrived("outbound", { seq: 1, due_at: 5 });
  expect([first?.stored.seq, lease(10)]).toEqual([1, undefined]);
});

test("what is due later is seen without a look, and is not forgotten while others come", () => {
  const { state, messages, due, arrives, work } = index();
  due.set(1, 1_000);
  expect(work(10)).toBeUndefined();
  expect(messages.nextAt("outbound")).toBe(1_000);
  for (let seq = 2; seq <= 5; seq++) {
    arrives(seq, 20);
    expect(work(20)).toBe(seq);
  }
  expect(messages.nextAt("outbound")).toBe(1_000);
  expect(work(999)).toBeUndefined();
  expect(state.asked).toBe(1);
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
  due.set(3, 5);
  expect(work(10)).toBeUndefined();
  messages.mayComeSooner();
  expect(work(10)).toBe(3);
});

test("what another process has made due is seen so soon also while others come without end", () => {
  const { due, state, arrives, work } = index();
  expect(work(10)).toBeUndefined();
  arrives(2, 5);
  due.set(1, 4);
  let leased: number | undefined;
  for (let seq = 3; leased !== 1; seq++) {
    state.now += 10;
    expect(state.now).toBeLessThan(600);
    arrives(seq, 5);
    leased = work(10);
  }
});

test("of more than were seen none is taken to be due later", () => {
  const { due, work, messages } = index();
  for (let seq = 1; seq <= 16; seq++) due.set(seq, 5);
  due.set(17, 6);
  for (let seq = 1; seq <= 16; seq++) expect(work(10)).toBe(seq);
  expect(messages.nextAt("outbound")).toBe(6);
  expect(work(10)).toBe(17);
});
