// One each turn: how many begin before the event loop goes on.
import { expect, test } from "vitest";
import { oneEachTurn } from "../../src/delivery/one-each-turn.ts";

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

test("the first begins at once, the others one in each turn and in order; then the next is first again", async () => {
  const begin = oneEachTurn();
  const begun: string[] = [];
  const ask = async (name: string) => {
    await begin();
    begun.push(name);
  };
  const all = ["a", "b", "c"].map(ask);
  await Promise.resolve();
  expect(begun).toEqual(["a"]);
  await nextTurn();
  expect(begun).toEqual(["a", "b"]);
  all.push(ask("d"));
  await nextTurn();
  expect(begun).toEqual(["a", "b", "c"]);
  await Promise.all(all);
  expect(begun).toEqual(["a", "b", "c", "d"]);
  await nextTurn();
  await nextTurn();
  void ask("e");
  await Promise.resolve();
  expect(begun.at(-1)).toBe("e");
});
