// Group commit: what joins one transaction. What a transaction promises is tested in faults.test.ts and spool.test.ts.
import type { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { groupCommit } from "../../src/store/group-commit.ts";

/** How many steps each transaction had, when `count` of them come, one in each turn of the event loop. */
async function groupsOf(count: number): Promise<number[]> {
  const groups: number[] = [];
  let steps = 0;
  const exec = (text: string) => {
    if (text === "BEGIN IMMEDIATE") steps = 0;
    if (text === "COMMIT") groups.push(steps);
  };
  const sqlite = { exec, isTransaction: false } as unknown as DatabaseSync;
  const commits = groupCommit({
    database: { sqlite, checkpoint: () => undefined },
    failed: new AbortController().signal,
    sleep: () => Promise.resolve(),
  });
  await new Promise<void>((resolve) => {
    const come = (number: number) => {
      // before it comes itself: what waits for the next turn then finds the next one there
      if (number < count) setImmediate(() => come(number + 1));
      const done = commits.run(() => steps++);
      if (number === count) void done.then(() => resolve());
    };
    come(1);
  });
  return groups;
}

test("a transaction waits while each turn brings more, four turns at most", async () => {
  expect(await groupsOf(1)).toEqual([1]);
  expect(await groupsOf(4)).toEqual([4]);
  const many = await groupsOf(20);
  // the first, and one of each turn
  expect(Math.max(...many)).toBe(5);
  expect(many.reduce((sum, group) => sum + group)).toBe(20);
});
