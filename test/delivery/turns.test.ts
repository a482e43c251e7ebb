// Turns: who may be worked on beside what is in work for the same recipient, and in which order.
import { expect, test } from "vitest";
import { createTurns } from "../../src/delivery/turns.ts";
import { mailbox } from "../../src/mail/address.ts";
import type { Leased } from "../../src/spool/spool.ts";

const to = (id: string, ...names: readonly string[]) =>
  ({ id, due: names.map((name) => ({ mailbox: mailbox(`${name}@example.com`) })) }) as unknown as Leased;

test("of one recipient's mail so many are in work at once, the others follow in their order; mail for others goes on", () => {
  const turns = createTurns({ quick: 2, slow: 2 }, () => 0);
  const [first, second, third, both, fourth] = [
    to("1", "a"),
    to("2", "a"),
    to("3", "a"),
    to("4", "b", "a"),
    to("5", "a"),
  ];
  for (const leased of [first, second]) {
    expect(turns.mayBegin(leased)).toBe(true);
    turns.begun(leased);
  }
  for (const leased of [third, both, fourth]) expect(turns.mayBegin(leased)).toBe(false);
  expect(turns.next()).toBeUndefined();
  expect(turns.mayBegin(to("6", "b"))).toBe(true);
  turns.ended(second);
  expect(turns.next()).toBe(third);
  expect(turns.mayBegin(third)).toBe(true);
  turns.begun(third);
  expect(turns.next()).toBeUndefined();
  turns.ended(first);
  turns.ended(third);
  expect(turns.next()).toBe(both);
  turns.begun(both);
  expect(turns.next()).toBe(fourth);
  expect(turns.next()).toBeUndefined();
});

test("few wait for a recipient whose mail is quick, a thousand for one whose mail takes long", () => {
  let now = 0;
  const turns = createTurns({ quick: 1, slow: 1 }, () => now);
  const first = to("0", "a");
  turns.begun(first);
  for (let number = 1; number <= 16; number++) {
    expect(turns.isFull).toBe(false);
    turns.mayBegin(to(String(number), "a"));
  }
  expect(turns.isFull).toBe(true);
  now = 250;
  for (let number = 17; number <= 1000; number++) {
    expect(turns.isFull).toBe(false);
    turns.mayBegin(to(String(number), "a"));
  }
  expect(turns.isFull).toBe(true);
  // who was slow is taken to be so for ten minutes, from the end of that mail on
  turns.ended(first);
  const next = turns.next()!;
  turns.begun(next);
  expect(next.id).toBe("1");
  expect(turns.isFull).toBe(false);
  turns.ended(next);
  for (const [passedMs, isFull] of [
    [10 * 60_000 - 1, false],
    [2, true],
  ] as const) {
    now += passedMs;
    const quick = turns.next()!;
    turns.begun(quick);
    expect(turns.isFull).toBe(isFull);
    turns.ended(quick);
  }
});

test("what has waited for long is given back", () => {
  let now = 0;
  const turns = createTurns({ quick: 1, slow: 1 }, () => now);
  turns.begun(to("0", "a"));
  for (now = 1; now <= 3; now++) turns.mayBegin(to(String(now), "a"));
  now = 2_000;
  expect(turns.overdue(1_998).map(({ id }) => id)).toEqual(["1", "2"]);
  expect(turns.overdue(0).map(({ id }) => id)).toEqual(["3"]);
  expect(turns.overdue(0)).toEqual([]);
});

test("whose mail is quick may have more in work; who is found to be slow gets no more before there are fewer", () => {
  let now = 0;
  const turns = createTurns({ quick: 3, slow: 1 }, () => now);
  const [first, second, third, fourth] = [to("1", "a"), to("2", "a"), to("3", "a"), to("4", "a")];
  for (const leased of [first, second]) {
    expect(turns.mayBegin(leased)).toBe(true);
    turns.begun(leased);
  }
  now = 250;
  expect(turns.mayBegin(third)).toBe(false);
  expect(turns.mayBegin(to("5", "b"))).toBe(true);
  turns.ended(first);
  expect(turns.next()).toBeUndefined();
  turns.ended(second);
  expect(turns.next()).toBe(third);
  turns.begun(third);
  expect(turns.mayBegin(fourth)).toBe(false);
});
