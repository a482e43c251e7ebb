import { expect, test } from "vitest";
import { countSuspects } from "../../src/delivery/suspects.ts";
import type { Leased } from "../../src/spool/spool.ts";

const STARTED_AT = 1_000;
const mail = (id: string, acceptedAt: number) => ({ id, acceptedAt }) as Leased;

function counting() {
  const counts = new Map<string, number>();
  const tries = {
    begin: (id: string) => counts.set(id, (counts.get(id) ?? 0) + 1).get(id)!,
    done: (id: string) => void counts.delete(id),
  };
  return { counts, suspects: countSuspects(tries, STARTED_AT, () => 0) };
}

test("mail that was here before the start is usual once, alone twice, and then not touched, until it comes to an end", () => {
  const { suspects } = counting();
  const old = mail("old", STARTED_AT - 1);
  expect(Array.from({ length: 5 }, () => suspects.begin(old))).toEqual([
    ...["usual", "alone", "alone", "untouched", "untouched"],
  ]);
  suspects.done(old);
  expect(suspects.begin(old)).toBe("usual");
});

test("mail of this life is not counted: that would cost a write for each", () => {
  const { counts, suspects } = counting();
  const fresh = mail("fresh", STARTED_AT);
  expect(Array.from({ length: 5 }, () => suspects.begin(fresh))).toEqual(Array.from({ length: 5 }, () => "usual"));
  suspects.done(fresh);
  expect(counts.size).toBe(0);
});

test("a count that cannot be kept does not keep mail back", () => {
  const locked = () => {
    throw new Error("database is locked");
  };
  const suspects = countSuspects({ begin: locked, done: locked }, STARTED_AT, () => 0);
  expect(suspects.begin(mail("old", 0))).toBe("usual");
  expect(() => suspects.done(mail("old", 0))).not.toThrow();
});
