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

describe("since when, after another start", () => {
  const left = (ageMs: number) => {
    const clock = manualClock();
    const before = steadyClock(clock);
    clock.advance(50 * 60_000);
    const note = before.note();
    clock.advance(ageMs);
    return { clock, note };
  };

  test("is as before when the process was away for a moment, so that one that dies again and again gives up in the end", () => {
    const { clock, note } = left(30_000);
    const since = clock.now() - 50 * 60_000 - 30_000;
    const second = steadyClock(clock, note);
    expect(second.since()).toBe(since);
    clock.advance(50 * 60_000);
    expect(steadyClock(clock, second.note()).since()).toBe(since);
  });

  test.each([
    ["it was away for long", (note: string) => note, 5 * 60_000 + 1],
    ["the clock was set back meanwhile", (note: string) => note, -1],
    ["nothing is known", () => undefined, 0],
    ["what is known makes no sense", () => "soon later", 0],
    ["a note is cut off", (note: string) => note.slice(0, note.indexOf(" ")), 0],
  ])("is the start when %s", (_, noted, ageMs) => {
    const { clock, note } = left(ageMs);
    expect(steadyClock(clock, noted(note)).since()).toBe(clock.now());
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
