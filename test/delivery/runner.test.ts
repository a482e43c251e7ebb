// The runner at its end: what was only waiting for its turn is given back untouched.
import { expect, test } from "vitest";
import { createRunner } from "../../src/delivery/runner.ts";
import type { Suspects } from "../../src/delivery/suspects.ts";
import type { Leased, Spool } from "../../src/spool/spool.ts";
import { manualClock } from "../manual-clock.ts";
import { LEASED, workParts } from "./work-parts.ts";

test("a suspect that waits for those before it is not begun when the runner stops, nor counted", async () => {
  const waiting: Leased[] = ["first", "suspect"].map((id) => ({ ...LEASED, id }));
  const released: string[] = [];
  const settle: Spool["settle"] = () => Promise.resolve({ stored: [], leaseLost: false });
  const spool = {
    lease: () => Promise.resolve(waiting.shift() ?? null),
    release: ({ id }: Leased) => Promise.resolve(void released.push(id)),
    settle,
    pullIn: () => Promise.resolve(),
    nextDueAt: () => Promise.resolve(undefined),
  } as unknown as Spool;
  const begun: string[] = [];
  const ended: string[] = [];
  const asked = Promise.withResolvers<undefined>();
  const suspects: Suspects = {
    begin({ id }) {
      if (id === "first") return "usual";
      asked.resolve(undefined);
      return "alone";
    },
    done: ({ id }) => void ended.push(id),
  };
  const sending = Promise.withResolvers<undefined>();
  const all = workParts(settle, [], begun);
  const parts = {
    ...all,
    spool,
    sender: {
      ...all.sender,
      send: (mail: Parameters<typeof all.sender.send>[0]) => sending.promise.then(() => all.sender.send(mail)),
    },
  };
  const observe = { upstreamDown: () => undefined, upstreamUp: () => undefined, spoolFailed: () => undefined };
  const clock = manualClock();
  const runner = createRunner(parts, clock, { maxInFlight: 4, maxEach: 4, route: "outbound", suspects }, observe);
  const running = runner.run();
  await asked.promise;
  const stopped = runner.stop(1_000);
  await new Promise((resolve) => setImmediate(resolve));
  sending.resolve(undefined);
  expect(await stopped).toBe(0);
  await running;
  expect({ begun, released, ended: ended.toSorted() }).toEqual({
    begun: ["bob@example.com"],
    released: ["suspect"],
    ended: ["first", "suspect"],
  });
});
