// A data folder on a disk that is full: new mail is refused with 452, everything acknowledged goes out, and room brings mail back.
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { canaryMail } from "../e2e/canary.ts";
import { JiraSession } from "../e2e/jira.ts";
import { ALICE, BALLAST, faultStage, LARGE_BYTES, type FaultStage } from "./fault-stage.ts";

const MIB = 1024 * 1024;
const FULL = /^452 4\.3\.1 no room for this message now$/;

/** A relay whose data folder is a disk of its own, before an upstream that takes nothing until it is told to. */
async function diskStage(options: string): Promise<FaultStage & { readonly disk: string }> {
  let disk = "";
  const stage = await faultStage({
    launch: {
      prepare(folder) {
        disk = join(folder, "data");
        mkdirSync(disk, { mode: 0o700 });
        execFileSync("mount", ["-t", "tmpfs", "-o", `mode=0700,${options}`, "tmpfs", disk]);
      },
      cleanUp: () => execFileSync("umount", [disk]),
    },
  });
  stage.upstream.behaviour.reply = ({ verb }) => (verb === "MAIL" ? "451 4.3.0 later" : undefined);
  return { ...stage, disk };
}

/** Leaves no room at all. */
function fill(disk: string): void {
  const file = openSync(join(disk, BALLAST), "w");
  try {
    for (;;) writeSync(file, Buffer.alloc(64 * 1024));
  } catch (cause) {
    expect((cause as NodeJS.ErrnoException).code).toBe("ENOSPC");
  } finally {
    closeSync(file);
  }
}

const bodyFiles = (disk: string) =>
  readdirSync(join(disk, "bodies"), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());

const refusals = ({ relay }: FaultStage) => relay.events.filter(({ event }) => event === "message.refused");

describe("a disk without room", () => {
  test("REL-15, REL-13: a queue that grows while the upstream is down is stopped by 452 and goes out when it is back", async () => {
    const stage = await diskStage("size=20m");
    const replies: string[] = [];
    while (replies.at(-1)?.startsWith("452") !== true)
      replies.push(await stage.send({ sizeBytes: replies.length % 4 === 3 ? 20_000 : LARGE_BYTES }));
    expect(replies.at(-1)).toMatch(FULL);
    expect(replies.length).toBeGreaterThan(5);
    expect(await stage.send()).toMatch(FULL);
    expect(refusals(stage).at(-1)).toMatchObject({ reason: "spool-full", fault: "the disk of dataDir is nearly full" });
    await stage.expectNoCanary();
    // what is sent and deleted makes the room by itself
    stage.upstream.behaviour.reply = () => undefined;
    await stage.expectAllArrived();
    await expect.poll(() => stage.send(), { timeout: 20_000 }).toMatch(/^250 /);
    await stage.expectGoodEnd();
    expect(bodyFiles(stage.disk)).toEqual([]);
  });

  test("at all delivers what it has, sends nothing twice and takes mail again when there is room", async () => {
    const stage = await diskStage("size=32m");
    const taking = Promise.withResolvers<undefined>();
    stage.upstream.behaviour.reply = ({ verb }) => (verb === "DOT" ? taking.promise : undefined);
    expect(await stage.send()).toMatch(/^250 /);
    expect(await stage.send({ sizeBytes: LARGE_BYTES })).toMatch(/^250 /);
    await stage.upstream.until(() => stage.upstream.finalDots === 2);
    fill(stage.disk);
    expect(await stage.send()).toMatch(FULL);
    const from = stage.relay.events.length;
    taking.resolve(undefined);
    await stage.expectAllArrived();
    // the outcomes cannot be written: that is told, and the messages are not sent again meanwhile
    await expect.poll(() => stage.faults(from).join(), { timeout: 20_000 }).toContain("the disk of dataDir is full");
    const ready = await fetch(`http://127.0.0.1:${stage.relay.webPort}/readyz`);
    expect(ready.status).toBe(503);
    await stage.expectNoCanary();
    rmSync(join(stage.disk, BALLAST));
    await expect.poll(() => stage.send(), { timeout: 20_000 }).toMatch(/^250 /);
    await stage.expectGoodEnd();
    expect(bodyFiles(stage.disk)).toEqual([]);
  });

  test("from the middle of a body on refuses that message, leaves nothing of it, and keeps the session", async () => {
    const stage = await diskStage("size=32m");
    const session = await JiraSession.open(stage.relay.port);
    for (const line of ["MAIL FROM:<jira@example.com>", `RCPT TO:<${ALICE}>`]) await session.command(line);
    expect(await session.command("DATA")).toMatch(/^354 /);
    const message = canaryMail("torn", ALICE, 2 * MIB);
    session.socket.write(message.subarray(0, MIB));
    await expect.poll(() => bodyFiles(stage.disk).length).toBe(1);
    fill(stage.disk);
    session.socket.write(Buffer.concat([message.subarray(MIB), Buffer.from(".\r\n")]));
    expect(await session.reply()).toMatch(FULL);
    expect(bodyFiles(stage.disk)).toEqual([]);
    expect(refusals(stage).at(-1)).toMatchObject({ reason: "spool-full" });
    await stage.expectNoCanary();
    rmSync(join(stage.disk, BALLAST));
    expect(await stage.send({ session, sizeBytes: LARGE_BYTES })).toMatch(/^250 /);
    await session.quit();
    stage.upstream.behaviour.reply = () => undefined;
    await stage.expectGoodEnd();
  });

  test("when the relay starts is no reason not to start: what waits goes out", async () => {
    const stage = await diskStage("size=32m");
    expect(await stage.send()).toMatch(/^250 /);
    expect(await stage.send({ sizeBytes: LARGE_BYTES })).toMatch(/^250 /);
    await stage.relay.kill();
    fill(stage.disk);
    stage.upstream.behaviour.reply = () => undefined;
    await stage.relay.start();
    expect(await stage.send()).toMatch(FULL);
    await stage.expectAllArrived();
    rmSync(join(stage.disk, BALLAST));
    await stage.expectGoodEnd();
  });
});

test("REL-16: without an inode for one more file a large message is refused with 452, small ones are taken", async () => {
  const stage = await diskStage("size=64m,nr_inodes=64");
  const names: string[] = [];
  try {
    for (;;) {
      const name = join(stage.disk, `inode-${names.length}`);
      writeFileSync(name, "");
      names.push(name);
    }
  } catch (cause) {
    expect((cause as NodeJS.ErrnoException).code).toBe("ENOSPC");
  }
  expect(await stage.send({ sizeBytes: LARGE_BYTES })).toMatch(FULL);
  expect(await stage.send()).toMatch(/^250 /);
  expect(refusals(stage)).toHaveLength(1);
  await stage.expectNoCanary();
  for (const name of names) rmSync(name);
  expect(await stage.send({ sizeBytes: LARGE_BYTES })).toMatch(/^250 /);
  stage.upstream.behaviour.reply = () => undefined;
  await stage.expectGoodEnd();
});
