// A disk that does not keep what it was given: fsync before every 250, and an end of the process when fsync fails.
import { once } from "node:events";
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { JiraSession } from "../e2e/jira.ts";
import { faultStage, LARGE_BYTES, type FaultStage } from "./fault-stage.ts";
import { failing, startUnder, strace } from "./strace.ts";

const SAYS =
  /the disk of .*data did not keep what was written to it \(fsync failed\): look after the disk, then start again; see dataDir/;

/** With an upstream that takes nothing yet. */
async function waitingStage(): Promise<FaultStage> {
  const stage = await faultStage();
  stage.upstream.behaviour.reply = ({ verb }) => (verb === "MAIL" ? "451 4.3.0 later" : undefined);
  return stage;
}

test("REL-01: every 250 is written after fsync of the body file, of its folders, and of the database's log", async () => {
  const stage = await waitingStage();
  const session = await JiraSession.open(stage.relay.port);
  const trace = await strace(stage.relay, ["-e", "trace=fsync,fdatasync,write,writev,sendto,pwrite64"]);
  for (const sizeBytes of [0, LARGE_BYTES, 0]) expect(await stage.send({ session, sizeBytes })).toMatch(/^250 /);
  const calls = await trace.detach();
  await session.quit();

  const indexes = (pattern: RegExp) => calls.flatMap((call, index) => (pattern.test(call) ? [index] : []));
  const promises = indexes(/^(?:write|writev|sendto)\(\d+<(?:TCP|socket).*"250 2\.0\.0/);
  expect(promises).toHaveLength(3);
  const commands = indexes(/^(?:write|writev|sendto)\(\d+<(?:TCP|socket).*"354 /);
  promises.forEach((promise, number) => {
    const between = calls.slice(commands[number], promise);
    const lastOf = (pattern: RegExp) => between.findLastIndex((call) => pattern.test(call));
    const logSynced = lastOf(/^f(?:data)?sync\(.*sealpost\.db-wal>\) += 0/);
    expect(logSynced, "the log is synced").toBeGreaterThan(-1);
    expect(logSynced, "after it was written").toBeGreaterThan(lastOf(/^pwrite64\(.*sealpost\.db-wal>/));
    if (number !== 1) return;
    const steps = [
      /^write\(.*bodies\/..\/\w+>/,
      /^f\w+\(.*bodies\/..\/\w+>\) += 0/,
      /^f\w+\(.*bodies\/..>\) += 0/,
      /^f\w+\(.*bodies>\) += 0/,
    ];
    const places = [...steps.map(lastOf), logSynced];
    expect(places).not.toContain(-1);
    expect(places).toEqual([...places].sort((a, b) => a - b));
  });
  stage.upstream.behaviour.reply = () => undefined;
  await stage.expectGoodEnd();
});

describe("an fsync that fails", () => {
  const cases: readonly [string, number][] = [
    ["of the database", 0],
    ["of a body file", LARGE_BYTES],
  ];
  test.each(cases)(
    "%s, only once, ends the process without a 250, and the next start loses nothing",
    async (_, sizeBytes) => {
      const stage = await waitingStage();
      const { relay, upstream } = stage;
      expect(await stage.send()).toMatch(/^250 /);
      expect(await stage.send({ sizeBytes: LARGE_BYTES })).toMatch(/^250 /);
      const session = await JiraSession.open(relay.port);
      const exited = once(relay.process, "exit");
      // once: the next one would succeed, and would prove nothing
      const injected = await strace(relay, failing("fsync,fdatasync", "EIO", "1"));
      await expect(stage.send({ session, sizeBytes })).rejects.toThrow("the relay closed the connection");
      expect(await exited).toEqual([1, null]);
      await injected.detach();
      expect(stage.faults().filter((fault) => fault.includes("fsync"))).toEqual([expect.stringMatching(SAYS)]);
      await stage.expectNoCanary();

      upstream.behaviour.reply = () => undefined;
      await relay.start();
      expect(await stage.send({ sizeBytes })).toMatch(/^250 /);
      await stage.expectGoodEnd();
    },
  );

  test("of the database's pages, when its log has grown long, ends the process too, and the next start loses nothing", async () => {
    const stage = await waitingStage();
    const { relay, upstream } = stage;
    const database = realpathSync(join(relay.folder, "data", "sealpost.db"));
    const exited = once(relay.process, "exit");
    const session = await JiraSession.open(relay.port);
    const injected = await strace(relay, ["-P", database, ...failing("fsync,fdatasync", "EIO", "1")]);
    let accepted = 0;
    // 8 MiB of log are worth a checkpoint
    await expect(
      (async () => {
        for (; accepted < 100; accepted++) expect(await stage.send({ session, sizeBytes: 200_000 })).toMatch(/^250 /);
      })(),
    ).rejects.toThrow("the relay closed the connection");
    expect(accepted).toBeGreaterThan(10);
    expect(await exited).toEqual([1, null]);
    await injected.detach();
    expect(stage.faults().filter((fault) => fault.includes("fsync"))).toEqual([expect.stringMatching(SAYS)]);

    upstream.behaviour.reply = () => undefined;
    await relay.start();
    await stage.expectGoodEnd({ isSample: true });
  });

  test("for ever makes the next start refuse with the same sentence, and nothing is sent meanwhile", async () => {
    const stage = await waitingStage();
    const { relay, upstream } = stage;
    expect(await stage.send()).toMatch(/^250 /);
    await relay.kill();
    upstream.behaviour.reply = () => undefined;
    const { code, stderr } = await startUnder(relay, failing("fsync,fdatasync", "EIO", "1+"));
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(SAYS) as string });
    expect(upstream.transactions).toEqual([]);
    await stage.expectNoCanary();
    await relay.start();
    await stage.expectGoodEnd();
  });
});

test("REL-18: pages that cannot be written now and then refuse their mail with 452, and no torn mail is ever sent", async () => {
  const stage = await faultStage();
  const injected = await strace(stage.relay, failing("pwrite64", "ENOSPC", "5+47"));
  const replies: string[] = [];
  for (let number = 0; number < 25; number++)
    replies.push(await stage.send({ sizeBytes: number % 5 === 0 ? LARGE_BYTES : 0 }));
  await injected.detach();
  expect(new Set(replies.map((reply) => reply.slice(0, 9)))).toEqual(new Set(["250 2.0.0", "452 4.3.1"]));
  await stage.expectNoCanary();
  expect(await stage.send()).toMatch(/^250 /);

  const broken = await strace(stage.relay, failing("pwrite64", "EIO", "1+"));
  expect(await stage.send()).toBe("451 4.3.0 the message cannot be stored now");
  await broken.detach();
  expect(stage.relay.events.findLast(({ event }) => event === "message.refused")).toMatchObject({
    fault: "the disk of dataDir cannot be read or written: disk I/O error",
  });
  expect(await stage.send()).toMatch(/^250 /);
  await stage.expectGoodEnd();
});
