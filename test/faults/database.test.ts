// A database that another process keeps locked, and files of the data folder that were damaged: what goes on, and what is said.
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, test } from "vitest";
import { JiraSession } from "../e2e/jira.ts";
import { statusOf } from "../process-state.ts";
import { ALICE, faultStage, idOf, LARGE_BYTES, QUINN, type FaultStage } from "./fault-stage.ts";

const databaseOf = ({ relay }: FaultStage) => join(relay.folder, "data", "sealpost.db");

/** Another process that holds the write lock; resolves when it does, `release` when it has ended. */
async function locked(path: string): Promise<{ release(): Promise<void> }> {
  const script = `
    const database = new (require("node:sqlite").DatabaseSync)(process.argv[1], { timeout: 10_000 });
    database.exec("BEGIN IMMEDIATE");
    console.log("locked");
    process.stdin.on("data", () => process.exit());`;
  const child = spawn(process.execPath, ["-e", script, path], { stdio: ["pipe", "pipe", "inherit"] });
  await once(child.stdout, "data");
  return {
    async release() {
      const closed = once(child, "close");
      child.stdin.write("go\n");
      await closed;
    },
  };
}

/** A relay with one mail in a row and one in a file, both refused for now, and then killed: the log is not yet in the database. */
async function killedStage(): Promise<FaultStage> {
  const stage = await faultStage();
  stage.upstream.behaviour.reply = ({ verb }) => (verb === "MAIL" ? "451 4.3.0 later" : undefined);
  expect(await stage.send({ to: [QUINN] })).toMatch(/^250 /);
  expect(await stage.send({ to: [QUINN], sizeBytes: LARGE_BYTES })).toMatch(/^250 /);
  await stage.relay.kill();
  stage.upstream.behaviour.reply = () => undefined;
  return stage;
}

describe("a database that another process keeps locked", () => {
  test("for a moment makes the 250 wait; for long 451 is said, the sessions go on, and mail is taken again afterwards", async () => {
    const stage = await faultStage();
    const { relay } = stage;
    const path = databaseOf(stage);
    const short = await locked(path);
    const reply = stage.send();
    // it waits for the lock and for nothing else
    const other = await JiraSession.open(relay.port);
    expect(await other.command("NOOP")).toMatch(/^250 /);
    await short.release();
    expect(await reply).toMatch(/^250 /);

    const long = await locked(path);
    const refused = stage.send({ to: [QUINN] });
    for (let look = 0; look < 5; look++) {
      expect(await other.command("NOOP")).toMatch(/^250 /);
      expect((await fetch(`http://127.0.0.1:${relay.webPort}/livez`)).status).toBe(200);
    }
    // it waits for the lock as the mail does, and nothing waits for it
    const ready = fetch(`http://127.0.0.1:${relay.webPort}/readyz`);
    for (let look = 0; look < 5; look++) {
      const since = performance.now();
      expect(await other.command("NOOP")).toMatch(/^250 /);
      expect(performance.now() - since).toBeLessThan(2_500);
    }
    const { store } = (await (await ready).json()) as { store: { ok: boolean; detail: string } };
    expect(store).toEqual({ ok: false, detail: expect.stringContaining("locked") as string });
    expect(await refused).toBe("451 4.3.0 the message cannot be stored now");
    const told = await relay.event(({ event }) => event === "message.refused");
    expect(told).toMatchObject({
      reason: "storage-fault",
      fault: "another process keeps the database in dataDir locked: database is locked",
    });
    await stage.expectNoCanary();
    await long.release();
    expect(await stage.send({ to: [ALICE, QUINN], session: other })).toMatch(/^250 /);
    await other.quit();
    await stage.expectGoodEnd();
  });
});

test("a SIGHUP while the start waits for another process is no reason to end", async () => {
  const stage = await faultStage();
  const { relay } = stage;
  expect(await relay.stop()).toBe(0);
  const other = await locked(databaseOf(stage));
  const started = relay.start();
  const catchesHangup = () => (BigInt(`0x${statusOf(relay.process.pid, "SigCgt")}`) & 1n) === 1n;
  await expect.poll(catchesHangup, { interval: 10 }).toBe(true);
  relay.process.kill("SIGHUP");
  await other.release();
  await started;
  expect(await stage.send()).toMatch(/^250 /);
  await stage.expectGoodEnd();
});

const DAMAGED = /the database in dataDir is damaged; stop serve and see docs\/SPOOL\.md, By hand/;

/** Brings the log into the pages, as the last process does when it ends, and keeps a copy for `putBack`. */
function settledDatabase(stage: FaultStage): string {
  const path = databaseOf(stage);
  const database = new DatabaseSync(path);
  database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  database.close();
  copyFileSync(path, `${path}.good`);
  return path;
}

function putBack(path: string): void {
  for (const suffix of ["-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
  renameSync(`${path}.good`, path);
}

/** The first page of a table. */
function overwritePage(path: string, table: string): void {
  const database = new DatabaseSync(path);
  const { rootpage } = database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = ?").get(table) as {
    rootpage: number;
  };
  database.close();
  const pages = readFileSync(path);
  pages.fill(0xa5, (rootpage - 1) * 8192, rootpage * 8192);
  writeFileSync(path, pages);
}

describe("REL-20: a spool that was damaged", () => {
  test("in one message, in its row or in its file, says which, and the others flow", async () => {
    const stage = await killedStage();
    const database = new DatabaseSync(databaseOf(stage));
    const [row, file] = database.prepare("SELECT id FROM messages ORDER BY seq").all() as { id: string }[];
    database.exec("UPDATE bodies SET sealed = zeroblob(length(sealed))");
    database.close();
    const body = bodyOf(stage, file!.id);
    const octets = readFileSync(body);
    octets[LARGE_BYTES / 2]! ^= 1;
    writeFileSync(body, octets);
    writeFileSync(join(stage.relay.folder, "data", "bodies", "foreign"), "not ours");
    await stage.relay.start();
    expect(await stage.send()).toMatch(/^250 /);
    await stage.upstream.waitFor(1);
    for (const { id } of [row!, file!]) {
      const { fault } = await stage.relay.event(({ event, queueId }) => event === "service.fault" && queueId === id);
      expect(fault).toMatch(
        new RegExp(`^the stored body of message ${id} (?:is damaged in chunk \\d|does not begin with a seal)`),
      );
    }
    await stage.expectNoCanary("in all");
    // nothing torn was sent; what waits can be seen, and dropped
    expect(stage.upstream.transactions.map(({ rcptTo }) => rcptTo)).toEqual([[ALICE]]);
    for (const { id } of [row!, file!]) {
      const { code, stdout } = await stage.relay.run(["queue", "drop", id]);
      expect({ code, stdout: stdout.toString() }).toMatchObject({ code: 0 });
    }
    expect(await stage.relay.stop()).toBe(0);
    expect(existsSync(join(stage.relay.folder, "data", "bodies", "foreign"))).toBe(true);
    await stage.expectNoCanary();
  });

  test("in the rows of one message says which, and the others flow", async () => {
    const stage = await killedStage();
    const database = new DatabaseSync(databaseOf(stage));
    const [{ id }] = database.prepare("SELECT id FROM messages ORDER BY seq").all() as [{ id: string }];
    database.exec("UPDATE recipients SET address = 'no address' WHERE seq = 1");
    database.close();
    await stage.relay.start();
    expect(await stage.send()).toMatch(/^250 /);
    await stage.upstream.waitFor(2);
    await stage.relay.event(({ event }) => event === "service.fault");
    expect(stage.faults()).toEqual([expect.stringContaining(`message ${id} has rows that make no sense`)]);
    expect(stage.upstream.transactions.map(({ rcptTo }) => rcptTo[0]).sort()).toEqual([ALICE, QUINN]);
    expect(await stage.relay.stop()).toBe(0);
    await stage.expectNoCanary();
  });

  test("in its pages refuses mail with 451 and says once what to do, and with the pages back nothing is lost", async () => {
    const stage = await killedStage();
    const path = settledDatabase(stage);
    overwritePage(path, "recipients");
    await stage.relay.start();
    expect(await stage.send()).toBe("451 4.3.0 the message cannot be stored now");
    await stage.relay.event(({ fault }) => DAMAGED.test(String(fault)));
    expect(stage.upstream.transactions).toEqual([]);
    const told = stage.faults();
    expect(new Set(told).size).toBe(told.length);
    await stage.expectNoCanary();
    await stage.relay.kill();
    putBack(path);
    await stage.relay.start();
    await stage.expectGoodEnd();
  });

  const spoilt: readonly [string, (path: string) => void, RegExp][] = [
    ["page is overwritten", (path) => overwritePage(path, "messages"), DAMAGED],
    ["end is cut off", (path) => truncateSync(path, 4_096), /the database in .*|is damaged/],
    [
      "octets are all gone",
      (path) => truncateSync(path, 0),
      /is empty, but there was a spool: put sealpost\.db and sealpost\.db-wal back/,
    ],
  ];
  test.each(spoilt)("whose database's %s is not served, and with it back nothing is lost", async (_, spoil, says) => {
    const stage = await killedStage();
    const path = settledDatabase(stage);
    spoil(path);
    const { code, stderr } = await stage.relay.run(["serve"]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(says) as string });
    putBack(path);
    await stage.relay.start();
    await stage.expectGoodEnd();
  });

  test("whose log is cut off starts with what the log still has: whole messages in their order, none torn", async () => {
    const stage = await faultStage();
    const { relay, upstream } = stage;
    upstream.behaviour.reply = ({ verb }) => (verb === "MAIL" ? "451 4.3.0 later" : undefined);
    for (let number = 0; number < 6; number++) expect(await stage.send()).toMatch(/^250 /);
    await relay.kill();
    const log = `${databaseOf(stage)}-wal`;
    truncateSync(log, Math.floor(statSync(log).size * 0.6));
    upstream.behaviour.reply = () => undefined;
    await relay.start();
    const queued = async () => {
      const metrics = await (await fetch(`http://127.0.0.1:${relay.metricsPort}/metrics`)).text();
      return Number(/^sealpost_queue_recipients\{state="queued"\} (\d+)$/m.exec(metrics)?.[1]);
    };
    await expect.poll(queued, { timeout: 10_000 }).toBe(0);
    const arrived = upstream.transactions.map(idOf).sort();
    expect(arrived.length).toBeGreaterThan(0);
    expect(arrived).toEqual(Array.from({ length: arrived.length }, (_, index) => `fault-${index + 1}`));
    await stage.expectNoCanary();
  });
});

function bodyOf({ relay }: FaultStage, id: string): string {
  const bodies = join(relay.folder, "data", "bodies");
  const name = readdirSync(bodies, { recursive: true, encoding: "utf8" }).find((one) => one.endsWith(id));
  return join(bodies, name!);
}
