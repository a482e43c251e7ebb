// Turns: who may be worked on beside what is in work for the same recipient, and in which order.
import { expect, test } from "vitest";
import { createTurns } from "../../src/delivery/turns.ts";
import { mailbox } from "../../src/mail/address.ts";
import type { Leased } from "../../src/spool/spool.ts";

const to = (id: string, ...names: readonly string[]) =>
  ({ id, due: names.map((name) => ({ mailbox: mailbox(`${name}@example.com`) })) }) as unknown as Leased;

test("of one recipient's mail so many are in work at once, the others follow in their order; mail for others goes on", () => {
  const turns = createTurns(2, () => 0);
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

test("what has waited for long is given back, and a thousand that wait are enough", () => {
  let now = 0;
  const turns = createTurns(1, () => now);
  turns.begun(to("0", "a"));
  for (let number = 1; number <= 1000; number++) {
    expect(turns.isFull).toBe(false);
    now = number;
    turns.mayBegin(to(String(number), "a"));
  }
  expect(turns.isFull).toBe(true);
  now = 2_000;
  expect(turns.overdue(1_998).map(({ id }) => id)).toEqual(["1", "2"]);
  expect(turns.isFull).toBe(false);
  expect(turns.overdue(0)).toHaveLength(998);
});
