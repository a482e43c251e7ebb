// The clock of the machine set forward and back by days while the relay runs (libfaketime): nothing is given up, doubled or left lying.
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { JiraSession } from "../e2e/jira.ts";
import { libfaketime } from "../peers.ts";
import { ALICE, faultStage, QUINN, type FaultStage } from "./fault-stage.ts";

type ClockStage = FaultStage & {
  /** Sets the clock of the relay off by so much, as `+2d`. */
  set(offset: string): void;
};

async function clockStage(yaml: string): Promise<ClockStage> {
  let file = "";
  const set = (offset: string) => {
    writeFileSync(`${file}.new`, `${offset}\n`);
    renameSync(`${file}.new`, file);
  };
  const env: Record<string, string> = {
    LD_PRELOAD: libfaketime() ?? "",
    FAKETIME_NO_CACHE: "1",
    // a machine whose clock is set goes on measuring its waits evenly
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  };
  const stage = await faultStage({
    yaml,
    launch: {
      env,
      prepare(folder) {
        file = join(folder, "clock");
        env["FAKETIME_TIMESTAMP_FILE"] = file;
        set("+0");
      },
    },
  });
  return { ...stage, set };
}

const yearMonthDay = (offsetDays: number) => new Date(Date.now() + offsetDays * 86_400_000).toISOString().slice(0, 10);

test("set 2 days forward and back, nothing that waits is given up, sent twice, or left for 2 days", async () => {
  const stage = await clockStage("retry: { first: 1s, max: 2s, giveUp: 1d }");
  const { relay, upstream } = stage;
  const session = await JiraSession.open(relay.port);
  let isHung = false;
  const slow = Promise.withResolvers<undefined>();
  upstream.behaviour.reply = ({ verb, line }) => {
    if (verb === "RCPT" && line.includes("quinn")) return "450 4.7.1 later";
    if (verb !== "DOT" || isHung) return undefined;
    isHung = true;
    return slow.promise;
  };
  // one on its way, one refused again and again, beyond the age at which it would be given up
  expect(await stage.send({ session })).toMatch(/^250 /);
  await expect.poll(() => isHung, { timeout: 10_000 }).toBe(true);
  expect(await stage.send({ to: [QUINN] })).toMatch(/^250 /);
  const attempts = () =>
    relay.events.filter(({ event, recipient }) => event === "delivery.deferred" && recipient === QUINN);
  await expect.poll(() => attempts().length).toBeGreaterThanOrEqual(1);
  stage.set("+2d");
  await expect.poll(() => attempts().length, { timeout: 10_000 }).toBeGreaterThanOrEqual(3);
  expect(relay.events.at(-1)?.["time"]).toContain(yearMonthDay(2));
  // the session of before is not too late
  expect(await stage.send({ session })).toMatch(/^250 /);
  expect(relay.events.filter(({ event }) => event === "delivery.failed")).toEqual([]);
  await stage.expectNoCanary();

  const before = attempts().length;
  stage.set("-2d");
  // what was due in 4 days is tried now
  await expect.poll(() => attempts().length, { timeout: 10_000 }).toBeGreaterThanOrEqual(before + 2);
  expect(await stage.send({ session })).toMatch(/^250 /);
  await session.quit();
  stage.set("+0");
  upstream.behaviour.reply = () => undefined;
  slow.resolve(undefined);
  await stage.expectAllArrived();
  expect(upstream.transactions.filter(({ rcptTo }) => rcptTo.includes(ALICE))).toHaveLength(3);
  await stage.expectGoodEnd();
});

test("an upstream that is down while the clock is set back by 2 days is tried again within its pause", async () => {
  const stage = await clockStage("");
  const { relay, upstream } = stage;
  upstream.behaviour.reply = ({ verb }) => (verb === "CONNECT" ? "421 4.3.2 too busy" : undefined);
  expect(await stage.send()).toMatch(/^250 /);
  await relay.event(({ event }) => event === "upstream.down");
  stage.set("-2d");
  upstream.behaviour.reply = () => undefined;
  await stage.expectAllArrived();
  await stage.expectGoodEnd();
});

test("REL-14: what is refused ten times is tried at growing distances up to retry.max, and a restart brings no attempt forward", async () => {
  const stage = await clockStage("retry: { first: 1m, factor: 2, max: 1h, giveUp: 5d }");
  const { relay, upstream } = stage;
  upstream.behaviour.reply = ({ verb }) => (verb === "RCPT" ? "450 4.7.1 later" : undefined);
  expect(await stage.send()).toMatch(/^250 /);
  const deferred = () => relay.events.filter(({ event }) => event === "delivery.deferred");
  let offsetS = 0;
  const delaysS: number[] = [];
  for (let attempt = 1; attempt <= 10; attempt++) {
    await expect.poll(() => deferred().length, { timeout: 10_000 }).toBe(attempt);
    const { time, nextAttemptAt } = deferred().at(-1)!;
    delaysS.push((Date.parse(String(nextAttemptAt)) - Date.parse(String(time))) / 1_000);
    // the clock comes to the next attempt by small steps: each jump pulls nothing in
    if (attempt === 5) {
      expect(await relay.stop()).toBe(0);
      await relay.start();
      expect(deferred()).toHaveLength(5);
    }
    offsetS += delaysS.at(-1)! - 2;
    stage.set(`+${Math.ceil(offsetS + 4)}`);
    offsetS += 4;
  }
  delaysS.forEach((delayS, index) => {
    const full = Math.min(60 * 2 ** index, 3_600);
    expect(delayS).toBeLessThanOrEqual(full + 1);
    expect(delayS).toBeGreaterThan(full * 0.9 - 2);
  });
  upstream.behaviour.reply = () => undefined;
  stage.set(`+${Math.ceil(offsetS + 3_700)}`);
  await stage.expectGoodEnd();
});
