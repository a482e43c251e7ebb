// Slots: who gets a connection beside those that others have.
import { expect, test } from "vitest";
import { Slots } from "../../src/smtp/slots.ts";

/** Asks for one slot after the other; gives who has got one, in the order in which they did. */
async function taken(slots: Slots, ...asking: readonly (readonly string[])[]): Promise<string[]> {
  const got: string[] = [];
  for (const recipients of asking) void slots.take(recipients).then(() => got.push(recipients.join("+")));
  await Promise.resolve();
  return got;
}
const settled = () => new Promise((resolve) => setImmediate(resolve));

test("so many are in use at once; whoever waits goes in the order of coming", async () => {
  const slots = new Slots(2, 2);
  const got = await taken(slots, ["a"], ["b"], ["c"], ["d"]);
  expect(got).toEqual(["a", "b"]);
  slots.give(["b"]);
  await settled();
  expect(got).toEqual(["a", "b", "c"]);
  slots.give(["a"]);
  slots.give(["c"]);
  slots.give(["d"]);
  await settled();
  expect(await taken(slots, ["e"], ["f"])).toEqual(["e", "f"]);
});

test("one recipient has no more than its share, and mail for others passes it by; also mail that is for it among others", async () => {
  const slots = new Slots(3, 1);
  const got = await taken(slots, ["a"], ["a"], ["b", "a"], ["c"], []);
  expect(got).toEqual(["a", "c", ""]);
  slots.give(["c"]);
  await settled();
  expect(got).toEqual(["a", "c", ""]);
  slots.give(["a"]);
  await settled();
  expect(got).toEqual(["a", "c", "", "a"]);
  slots.give(["a"]);
  await settled();
  expect(got).toEqual(["a", "c", "", "a", "b+a"]);
});

test("what is given back for two recipients lets both go on whose share it was", async () => {
  const slots = new Slots(3, 1);
  const got = await taken(slots, ["a", "b"], ["a"], ["b"]);
  expect(got).toEqual(["a+b"]);
  slots.give(["a", "b"]);
  await settled();
  expect(got).toEqual(["a+b", "a", "b"]);
});
