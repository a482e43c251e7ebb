import { expect, test } from "vitest";
import { countSuspects } from "../../src/delivery/suspects.ts";
import type { Leased } from "../../src/spool/spool.ts";

const mail = (id: string, wasHereAtStart: boolean) => ({ id, wasHereAtStart }) as Leased;

function counting() {
  const counts = new Map<string, { tries: number; at: number }>();
  const clock = { now: 5_000 };
  const tries = {
    of: (id: string) => counts.get(id),
    begin: (id: string, at: number) => counts.set(id, { tries: (counts.get(id)?.tries ?? 0) + 1, at }).get(id)!.tries,
    done: (id: string) => void counts.delete(id),
  };
  return { counts, clock, suspects: countSuspects(tries, () => clock.now) };
}

test("mail that was here before the start is usual once, alone twice, and then rests longer and longer until it comes to an end", () => {
  const { clock, suspects } = counting();
  const old = mail("old", true);
  const begin = () => suspects.begin(old);
  expect([begin(), begin(), begin(), begin(), begin()]).toEqual(["usual", "alone", "alone", "untouched", "untouched"]);
  const rests = [1, 2, 4, 8, 16, 32, 60, 60].map((minutes) => minutes * 60_000);
  for (const restMs of rests) {
    clock.now += restMs - 1;
    expect(begin()).toBe("untouched");
    clock.now += 1;
    expect([begin(), begin()]).toEqual(["alone", "untouched"]);
  }
  // set back by a day
  clock.now -= 86_400_000;
  expect(begin()).toBe("alone");
  suspects.done(old);
  expect(begin()).toBe("usual");
});

test("mail of this life is not counted: that would cost a write for each", () => {
  const { counts, suspects } = counting();
  const fresh = mail("fresh", false);
  expect(Array.from({ length: 5 }, () => suspects.begin(fresh))).toEqual(Array.from({ length: 5 }, () => "usual"));
  suspects.done(fresh);
  expect(counts.size).toBe(0);
});

test("a count that cannot be kept does not keep mail back", () => {
  const locked = () => {
    throw new Error("database is locked");
  };
  const suspects = countSuspects({ of: locked, begin: locked, done: locked }, () => 0);
  expect(suspects.begin(mail("old", true))).toBe("usual");
  expect(() => suspects.done(mail("old", true))).not.toThrow();
});
