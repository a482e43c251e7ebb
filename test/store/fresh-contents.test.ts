// Fresh contents: each is given once, and no more are kept than there is room for.
import { expect, test } from "vitest";
import { FreshContents } from "../../src/store/fresh-contents.ts";

function contents() {
  let now = 0;
  const fresh = new FreshContents(() => now);
  const keep = (from: number, to: number) => {
    for (let number = from; number <= to; number++) fresh.keep(`m${number}`, Buffer.from(`content ${number}`));
  };
  const taken = (number: number) => fresh.take(`m${number}`)?.toString();
  return { keep, taken, passes: (ms: number) => (now += ms) };
}

test("what was kept is given once", () => {
  const { keep, taken } = contents();
  keep(1, 3);
  expect([2, 2, 1, 3, 4].map(taken)).toEqual(["content 2", undefined, "content 1", "content 3", undefined]);
});

test("where all places are taken the newest has none, until one is given or the oldest has waited a second", () => {
  const { keep, taken, passes } = contents();
  keep(1, 33);
  expect(taken(33)).toBeUndefined();
  expect(taken(5)).toBe("content 5");
  passes(999);
  keep(34, 35);
  expect([taken(35), taken(1)]).toEqual([undefined, "content 1"]);
  keep(36, 36);
  passes(1);
  keep(37, 37);
  expect([taken(2), taken(3), taken(37)]).toEqual([undefined, "content 3", "content 37"]);
});
