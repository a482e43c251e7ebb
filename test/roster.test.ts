// Roster: who is there; and that nothing of those who left is kept.
import { spawnSync } from "node:child_process";
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

/**
 * Sixteen are there at any time, each with octets. New objects are cleared after each twenty, once in between, so that what is there then
 * comes into the old space. Gives how many of the 1,900 that left are kept.
 */
function keptBy(kind: "Roster" | "Set"): number {
  const script = `
    import { Roster } from ${JSON.stringify(new URL("../src/roster.ts", import.meta.url).href)};
    const under = new ${kind}();
    const seen = [];
    const there = [];
    for (let number = 0; number < 2000; number++) {
      const mail = { octets: new ArrayBuffer(1000) };
      seen.push(new WeakRef(mail.octets));
      under.add(mail);
      there.push(mail);
      if (there.length > 16) under.delete(there.shift());
      if (number % 20 === 0 || number === 500) gc({ type: "minor" });
      if (number === 500) gc({ type: "minor" });
      await new Promise((resolve) => setImmediate(resolve));
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
    gc({ type: "minor" });
    await new Promise((resolve) => setTimeout(resolve, 10));
    console.log(seen.slice(0, 1900).filter((octets) => octets.deref() !== undefined).length);`;
  const args = ["--expose-gc", "--input-type=module", "-e", script];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  if (stdout === "") throw new Error(stderr);
  return Number(stdout);
}

test("what left is not kept until the whole heap is marked, as a Set would", () => {
  expect(keptBy("Set")).toBeGreaterThan(1_000);
  expect(keptBy("Roster")).toBeLessThan(100);
});
