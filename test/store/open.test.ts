// Opening the data folder: what is refused, what a crash has left, who may read it.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { takeServeLock } from "../../src/store/serve-lock.ts";
import { dataFolder, type DataFolder } from "./data-folder.ts";
import { accept, contentOf, LARGE_BYTES, mustLease, outcome, read, report, SMALL_BYTES } from "./fixture-mail.ts";

let folder: DataFolder;
beforeEach(() => (folder = dataFolder()));
afterEach(() => folder.remove());

const DAY = 86_400_000;

test("nobody but the owner can read anything in the data folder", async () => {
  const umask = process.umask(0);
  try {
    const { spool } = await folder.serve();
    takeServeLock(folder.dataDir);
    await accept(spool, contentOf("m", LARGE_BYTES));
    const entries = readdirSync(folder.dataDir, { recursive: true, encoding: "utf8" });
    expect(entries).toEqual(
      expect.arrayContaining(["sealpost.db", "sealpost.db-wal", "sealpost.db-shm", "serve.lock", "bodies"]),
    );
    const open = ["", ...entries].filter((name) => (statSync(join(folder.dataDir, name)).mode & 0o077) !== 0);
    expect(open).toEqual([]);
  } finally {
    process.umask(umask);
  }
});

describe("the secret key", () => {
  test("is made on first start, and a message opens again after a restart", async () => {
    const first = await folder.serve();
    await accept(first.spool, contentOf("m", LARGE_BYTES));
    await first.close();
    const { spool } = await folder.serve();
    expect((await read(await mustLease(spool, folder.clock.now()))).equals(contentOf("m", LARGE_BYTES))).toBe(true);
  });

  test("that is missing beside a spool is not made anew, the start is refused", async () => {
    await (await folder.serve()).close();
    renameSync(folder.keyFile, `${folder.keyFile}.away`);
    await expect(folder.serve()).rejects.toThrow(/secret\.key is missing and the spool was sealed with it/);
    expect(() => statSync(folder.keyFile)).toThrow("ENOENT");
    renameSync(`${folder.keyFile}.away`, folder.keyFile);
    await folder.serve();
  });

  test("of another spool is refused", async () => {
    await (await folder.serve()).close();
    const other = dataFolder();
    await other.serve();
    renameSync(other.keyFile, folder.keyFile);
    await expect(folder.serve()).rejects.toThrow(/is not the one that this spool was sealed with/);
    await other.remove();
  });

  test("is not needed by commands that only look at the queue", async () => {
    const server = await folder.serve();
    const id = await accept(server.spool, contentOf("m", LARGE_BYTES));
    rmSync(folder.keyFile);
    const command = await folder.open();
    expect((await command.spool.list(10)).map((one) => one.id)).toEqual([id]);
    expect(await command.spool.drop(id)).toBe(1);
    expect(folder.bodyFiles()).toEqual([]);
    expect(() => command.spool.receive()).toThrow("the secret key was not loaded");
    expect(await server.spool.lease(folder.clock.now(), 1, "outbound")).toBeNull();
  });
});

describe("the schema", () => {
  test("of a newer Sealpost is refused in words", async () => {
    await (await folder.serve()).close();
    const database = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
    database.exec("INSERT INTO kysely_migration VALUES ('9999', '2030-01-01T00:00:00Z')");
    database.close();
    await expect(folder.open()).rejects.toThrow(/was written by a newer Sealpost; use that version/);
  });

  test("is made by one of several that start at the same time", async () => {
    const script = `
      import { openStore } from ${JSON.stringify(new URL("../../src/store/open.ts", import.meta.url).href)};
      import { systemClock } from ${JSON.stringify(new URL("../../src/clock.ts", import.meta.url).href)};
      const [dataDir, secretKeyFile] = process.argv.slice(1);
      await (await openStore({ dataDir, secretKeyFile }, systemClock)).close();`;
    const ends = [1, 2, 3, 4].map(
      () =>
        new Promise<string>((resolve) => {
          const child = spawn(process.execPath, ["--input-type=module", "-e", script, folder.dataDir, folder.keyFile]);
          let said = "";
          child.stderr.on("data", (text: Buffer) => (said += text.toString()));
          child.on("close", (code) => resolve(`${code ?? "killed"} ${said}`));
        }),
    );
    expect(await Promise.all(ends)).toEqual(["0 ", "0 ", "0 ", "0 "]);
  });

  test("a file that is no database is refused in words", async () => {
    mkdirSync(folder.dataDir);
    writeFileSync(
      join(folder.dataDir, "sealpost.db"),
      "this is no database, and long enough to be read as one ".repeat(20),
    );
    await expect(folder.open()).rejects.toThrow(/the database in .* cannot be opened; see dataDir/);
  });
});

describe("the serve lock", () => {
  test("is held by one process, is free again after close, and says whom it keeps out", async () => {
    const lock = takeServeLock(folder.dataDir);
    expect(() => takeServeLock(folder.dataDir)).toThrow(/another sealpost serve works on .*; stop it first/);
    await lock.close();
    await takeServeLock(folder.dataDir).close();
  });

  test("ends with the process even when that is killed, and not because another tried", async () => {
    const lockModule = JSON.stringify(new URL("../../src/store/serve-lock.ts", import.meta.url).href);
    const takeIn = (after: string) =>
      spawnSync(
        process.execPath,
        [
          "--input-type=module",
          "-e",
          `import { takeServeLock } from ${lockModule}; takeServeLock(process.argv[1]); ${after}`,
          folder.dataDir,
        ],
        { encoding: "utf8" },
      );
    expect(takeIn("process.kill(process.pid, 'SIGKILL')").signal).toBe("SIGKILL");
    const lock = takeServeLock(folder.dataDir);
    expect(() => takeServeLock(folder.dataDir)).toThrow("another sealpost serve");
    expect(takeIn("").stderr).toContain("another sealpost serve works on");
    await lock.close();
    expect(takeIn("").status).toBe(0);
  });

  test("in a folder that cannot be written says so, and does not blame another process", () => {
    const file = fileURLToPath(import.meta.url);
    expect(() => takeServeLock(join(file, "below"))).toThrow(/ENOTDIR/);
    mkdirSync(join(folder.dataDir, "serve.lock"), { recursive: true });
    expect(() => takeServeLock(folder.dataDir)).toThrow(/the lock .*serve\.lock cannot be taken; see dataDir/);
  });
});

test("recovery removes bodies without a message, keeps the others, and leaves alone what is not ours", async () => {
  const first = await folder.serve();
  await accept(first.spool, contentOf("kept", LARGE_BYTES));
  const unfinished = first.spool.receive();
  await unfinished.write(contentOf("orphan", LARGE_BYTES));
  expect(folder.bodyFiles()).toHaveLength(2);
  writeFileSync(join(folder.dataDir, "bodies", "README"), "foreign");
  mkdirSync(join(folder.dataDir, "bodies", "lost+found"));
  writeFileSync(join(folder.dataDir, "bodies", "lost+found", "#123"), "foreign");
  const other = join(
    folder.bodyFiles().find((path) => path.includes(unfinished.id))!,
    "..",
    "notes.txt",
  );
  writeFileSync(other, "foreign");
  // as a crash leaves it: the file without its message
  const orphan = folder.bodyFiles().find((path) => path.includes(unfinished.id))!;
  const octets = readFileSync(orphan);
  await first.close();
  expect(existsSync(orphan)).toBe(false);
  writeFileSync(orphan, octets);

  const second = await folder.open();
  expect(await second.recover()).toBe(1);
  expect(folder.bodyFiles()).toHaveLength(4);
  expect(folder.bodyFiles().some((path) => path.includes(unfinished.id))).toBe(false);
  expect((await read(await mustLease(second.spool, folder.clock.now()))).length).toBe(LARGE_BYTES);
});

test("what was leased by a process that ended is due at once", async () => {
  const first = await folder.serve();
  await accept(first.spool, contentOf("m", SMALL_BYTES));
  await mustLease(first.spool, folder.clock.now(), DAY);
  await first.close();
  const { spool } = await folder.serve();
  expect((await read(await mustLease(spool, folder.clock.now()))).length).toBe(SMALL_BYTES);
});

test("whether a message was here before the start is told whatever the clock says", async () => {
  const first = await folder.serve();
  const old = await accept(first.spool, contentOf("old", SMALL_BYTES));
  await first.close();
  folder.clock.set(-DAY);
  const { spool } = await folder.serve();
  const fresh = await accept(spool, contentOf("fresh", SMALL_BYTES));
  folder.clock.set(2 * DAY);
  const leased = [await mustLease(spool, folder.clock.now()), await mustLease(spool, folder.clock.now())];
  expect(Object.fromEntries(leased.map(({ id, wasHereAtStart }) => [id, wasHereAtStart]))).toEqual({
    [old]: true,
    [fresh]: false,
  });
});

test("finished messages can be seen for 7 days and waiting ones for ever; notes of reports go after a while", async () => {
  const store = await folder.serve();
  const waiting = await accept(store.spool, contentOf("waiting", 10));
  await mustLease(store.spool, folder.clock.now(), 90 * DAY);
  const finished = await accept(store.spool, contentOf("finished", 10));
  const leased = await mustLease(store.spool, folder.clock.now());
  await store.spool.settle(leased, [outcome(leased.due[0]!)], [report("a@x.example", "k")]);
  await store.changes.announce({ what: "key.uploaded", address: "a@x.example" });
  const ids = async () => (await store.spool.list(10)).map((one) => one.id);
  folder.clock.advance(7 * DAY);
  await store.prune();
  expect(await ids()).toEqual(expect.arrayContaining([waiting, finished]));
  folder.clock.advance(1);
  await store.prune();
  expect(await ids()).not.toContain(finished);
  expect(await ids()).toContain(waiting);
  expect(await store.changes.since(0)).toEqual([]);
  const database = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
  const rowsOf = (table: string) => database.prepare(`SELECT count(*) AS n FROM ${table}`).get()!["n"];
  expect(["messages", "recipients", "bodies", "reports"].map(rowsOf)).toEqual([2, 2, 2, 0]);
  database.close();
});
