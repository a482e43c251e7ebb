// Giving up for its age: never in the first hour after a start or after the clock was set, whatever the clock says.
import { describe, expect, test } from "vitest";
import { endOf, steadyClock } from "../../src/delivery/steady.ts";
import { manualClock } from "../manual-clock.ts";

const HOUR = 3_600_000;

describe("since when the clock has gone on evenly", () => {
  test("is the start, then each jump forward or back, and no small correction", () => {
    const clock = manualClock();
    const start = clock.now();
    const steady = steadyClock(clock);
    clock.advance(50 * HOUR);
    clock.set(5_000);
    expect(steady.since()).toBe(start);
    for (const jump of [48 * HOUR, -96 * HOUR]) {
      clock.set(jump);
      const at = clock.now();
      expect(steady.since()).toBe(at);
      clock.advance(HOUR);
      expect(steady.since()).toBe(at);
    }
  });
});

test.each([
  ["long running", -Infinity, 120 * HOUR],
  ["a start an hour before its end", 119.5 * HOUR, 120.5 * HOUR],
  ["a jump beyond its end", 200 * HOUR, 201 * HOUR],
])("what may last 5 d, after %s, is over at the right time", (_, steadySince, end) => {
  expect(endOf(0, 120 * HOUR, steadySince)).toBe(end);
});

test("what may last less than an hour gets no more than its own time anew", () => {
  expect(endOf(0, 5_000, 100_000)).toBe(105_000);
});
