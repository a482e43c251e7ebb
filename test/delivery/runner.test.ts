// The runner: who is worked on beside whom, and at its end what was only waiting for its turn is given back untouched.
import { expect, test, vi } from "vitest";
import { createRunner, type Runner } from "../../src/delivery/runner.ts";
import type { Suspects } from "../../src/delivery/suspects.ts";
import { mailbox } from "../../src/mail/address.ts";
import type { Leased, Spool } from "../../src/spool/spool.ts";
import { manualClock, type ManualClock } from "../manual-clock.ts";
import { LEASED, workParts } from "./work-parts.ts";

const to = (id: string, name: string): Leased => {
  const recipient = mailbox(`${name}@example.com`);
  return {
    ...LEASED,
    id,
    allRecipients: [recipient],
    due: LEASED.due.map((one) => ({ ...one, mailbox: recipient })),
  };
};

const NO_SUSPECTS: Suspects = { begin: () => "usual", done: () => undefined };

type Stage = {
  readonly runner: Runner;
  /** Whom the upstream was given mail for, and which leases were given back, in order. */
  readonly begun: string[];
  readonly released: string[];
  readonly renewed: string[];
  readonly clock: ManualClock;
};

/** A runner over leases in memory, of which mail for bob is sent when `bobMaySend` says. */
function stage(
  leases: Leased[],
  suspects: Suspects,
  maxEach: number,
  bobMaySend: Promise<unknown>,
  settle: Spool["settle"] = () => Promise.resolve({ stored: [], leaseLost: false }),
): Stage {
  const released: string[] = [];
  const renewed: string[] = [];
  const clock = manualClock();
  const spool = {
    lease: () => Promise.resolve(leases.shift() ?? null),
    release: ({ id }: Leased) => Promise.resolve(void released.push(id)),
    renew: ({ id }: Leased) => Promise.resolve(renewed.push(id) > 0),
    settle,
    pullIn: () => Promise.resolve(),
    nextDueAt: () => Promise.resolve(undefined),
  } as unknown as Spool;
  const begun: string[] = [];
  const all = workParts(settle, [], begun);
  const depart: typeof all.departures.depart = async (mail) => {
    const sent = all.departures.depart(mail);
    if (mail.envelope.recipients.some((one) => one.mailbox.local === "bob")) await bobMaySend;
    return sent;
  };
  const observe = { upstreamDown: () => undefined, upstreamUp: () => undefined, spoolFailed: () => undefined };
  const settings = { maxInFlight: 4, maxEach: { quick: maxEach, slow: maxEach }, route: "outbound", suspects } as const;
  const parts = {
    ...all,
    spool,
    departures: { ...all.departures, depart },
    sleep: (delayMs: number, signal: AbortSignal) => clock.sleep(delayMs, signal),
  };
  return { runner: createRunner(parts, clock, settings, observe), begun, released, renewed, clock };
}

test("a suspect that waits for those before it is not begun when the runner stops, nor counted", async () => {
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
  const { runner, begun, released } = stage([to("first", "bob"), to("suspect", "bob")], suspects, 4, sending.promise);
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

test("mail for others passes by what waits for its turn, and the turns that did not come are given back at the stop", async () => {
  const sending = Promise.withResolvers<undefined>();
  const leases = [...["1", "2", "3", "4"].map((id) => to(id, "bob")), to("5", "alice")];
  const { runner, begun, released } = stage(leases, NO_SUSPECTS, 2, sending.promise);
  const running = runner.run();
  await vi.waitFor(() => expect(begun).toHaveLength(3));
  expect(begun).toEqual(["bob@example.com", "bob@example.com", "alice@example.com"]);
  const stopped = runner.stop(1_000);
  sending.resolve(undefined);
  expect(await stopped).toBe(0);
  await running;
  expect(released).toEqual(["3", "4"]);
});

test("the lease of what takes long is renewed as long as it is in work", async () => {
  const sending = Promise.withResolvers<undefined>();
  const { runner, begun, renewed, clock } = stage([to("1", "bob")], NO_SUSPECTS, 2, sending.promise);
  const running = runner.run();
  await vi.waitFor(() => expect(begun).toHaveLength(1));
  const every = 5 * 60_000;
  for (let times = 1; times <= 3; times++) {
    await clock.whenSleeping(every);
    clock.advance(every);
    await vi.waitFor(() => expect(renewed).toHaveLength(times));
  }
  sending.resolve(undefined);
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  clock.advance(every);
  await clock.whenSleeping(every);
  expect(await runner.stop(1_000)).toBe(0);
  await running;
  expect(renewed).toEqual(["1", "1", "1"]);
});

test("work that cannot be written down is given up when the time of the stop is over", async () => {
  const full = Promise.withResolvers<undefined>();
  const { runner, clock } = stage([to("first", "bob")], NO_SUSPECTS, 4, Promise.resolve(), () => {
    full.resolve(undefined);
    return Promise.reject(new Error("the disk of dataDir is full"));
  });
  const running = runner.run();
  await full.promise;
  const stopped = runner.stop(100);
  clock.advance(100);
  // still there when the time was over, and gone at once after it
  expect(await stopped).toBe(1);
  await new Promise((resolve) => setImmediate(resolve));
  const stoppedAgain = runner.stop(0);
  clock.advance(0);
  expect(await stoppedAgain).toBe(0);
  await running;
});
