// No file descriptor left: what needs one is refused for now, what does not goes on, and with descriptors all is as before.
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { expect, test } from "vitest";
import { JiraSession } from "../e2e/jira.ts";
import { faultStage, LARGE_BYTES } from "./fault-stage.ts";

test("REL-16: without a file descriptor a large mail is refused with 451, new sessions are closed, and all comes back", async () => {
  const stage = await faultStage();
  const { relay, upstream } = stage;
  upstream.behaviour.reply = ({ verb }) => (verb === "RCPT" ? "450 4.7.1 later" : undefined);
  const pid = String(relay.process.pid);
  const limit = (count: number) => execFileSync("prlimit", ["--pid", pid, `--nofile=${count}:`]);
  /** The least limit below which so many numbers are free: open files may have higher ones. */
  const limitLeaving = (free: number) => {
    const open = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
    let count = 0;
    for (let left = free; left > 0; count++) if (!open.has(count)) left--;
    return count;
  };

  const session = await JiraSession.open(relay.port);
  expect(await stage.send({ session })).toMatch(/^250 /);
  await relay.event(({ event }) => event === "delivery.deferred");
  limit(limitLeaving(3));
  const crowd: Socket[] = [];
  const closed: Promise<unknown>[] = [];
  for (let number = 0; number < 20; number++) {
    const socket = connect(relay.port, "127.0.0.1").on("error", () => undefined);
    socket.resume();
    crowd.push(socket);
    closed.push(once(socket, "close"));
  }
  await Promise.any(closed);
  await expect
    .poll(() => stage.send({ session, sizeBytes: LARGE_BYTES }))
    .toBe("451 4.3.0 the message cannot be stored now");
  const refused = relay.events.filter(({ event }) => event === "message.refused");
  expect(refused[0]).toMatchObject({
    fault: expect.stringMatching(
      /^no file can be opened: raise the limit of open files \(LimitNOFILE, ulimit -n\): EMFILE/,
    ) as string,
  });
  expect(await stage.send({ session })).toMatch(/^250 /);
  const fetched = await fetch(`http://127.0.0.1:${relay.webPort}/livez`).catch(() => undefined);
  expect(fetched).toBeUndefined();

  for (const socket of crowd) socket.destroy();
  limit(1024);
  upstream.behaviour.reply = () => undefined;
  expect(await stage.send({ session, sizeBytes: LARGE_BYTES })).toMatch(/^250 /);
  await session.quit();
  expect(await stage.send()).toMatch(/^250 /);
  await stage.expectAllArrived();
  await stage.expectNoCanary();
  await stage.expectGoodEnd();
});
