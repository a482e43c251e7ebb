// Roster: who is there.
import { expect, test } from "vitest";
import { Roster } from "../src/roster.ts";

test("knows who is there, in any order of leaving", () => {
  const roster = new Roster<string>();
  for (const name of ["a", "b", "c", "d"]) roster.add(name);
  roster.delete("b");
  roster.delete("not there");
  expect([...roster].sort()).toEqual(["a", "c", "d"]);
  for (const name of ["d", "a", "c"]) roster.delete(name);
  expect([roster.size, ...roster]).toEqual([0]);
  roster.delete("a");
  expect(roster.size).toBe(0);
});

test("who comes or goes while it is walked makes no difference", () => {
  const roster = new Roster<number>();
  for (const number of [1, 2, 3]) roster.add(number);
  const seen = [...roster].length;
  let walked = 0;
  for (const number of roster) {
    roster.delete(number);
    roster.add(number + 10);
    walked++;
  }
  expect(walked).toBe(seen);
  expect([...roster].sort((a, b) => a - b)).toEqual([11, 12, 13]);
});
