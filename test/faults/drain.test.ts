// The end of the process when nobody else comes to an end: an upstream that hangs, a client in the middle of a message.
import { performance } from "node:perf_hooks";
import { expect, test } from "vitest";
import { JiraSession } from "../e2e/jira.ts";
import { HANG } from "../upstream.ts";
import { ALICE, faultStage, QUINN } from "./fault-stage.ts";

test("SIGTERM ends with 0 within 30 s whoever hangs, and what was acknowledged arrives after the next start", async () => {
  const stage = await faultStage();
  const { relay, upstream } = stage;
  let isHung = false;
  upstream.behaviour.reply = ({ verb }) => {
    if (verb !== "DOT") return undefined;
    isHung = true;
    return HANG;
  };
  expect(await stage.send()).toMatch(/^250 /);
  expect(await stage.send({ to: [QUINN] })).toMatch(/^250 /);
  const session = await JiraSession.open(relay.port);
  for (const line of ["MAIL FROM:<jira@example.com>", `RCPT TO:<${ALICE}>`, "DATA"]) await session.command(line);
  session.socket.write("Subject: half\r\n\r\nof it");
  await expect.poll(() => isHung, { timeout: 10_000 }).toBe(true);
  const since = performance.now();
  expect(await relay.stop()).toBe(0);
  expect(performance.now() - since).toBeLessThan(30_000);
  expect(stage.faults()).toEqual([
    expect.stringMatching(/^\d messages were still under way; they are sent after the next start$/),
  ]);
  await stage.expectNoCanary();
  upstream.behaviour.reply = () => undefined;
  await relay.start();
  await stage.expectGoodEnd();
});
