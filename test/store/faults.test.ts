// Damage, full disks and busy neighbours: what they stop, and what they must not stop.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, renameSync, rmdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DamagedMessage } from "../../src/spool/seal.ts";
import { SpoolFull, type Spool } from "../../src/spool/spool.ts";
import { groupCommit } from "../../src/store/group-commit.ts";
import { openStore, type Store } from "../../src/store/open.ts";
import { manualClock } from "../manual-clock.ts";
import { dataFolder, type DataFolder } from "./data-folder.ts";
import { accept, contentOf, envelopeTo, LARGE_BYTES, mustLease, outcome, read, SMALL_BYTES } from "./fixture-mail.ts";

let folder: DataFolder;
beforeEach(() => (folder = dataFolder()));
afterEach(() => folder.remove());

describe("a damaged body is told when it is read, and its neighbours are read as ever", () => {
  const inDatabase = (change: string) => () => {
    const database = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
    database.exec(change);
    database.close();
  };
  const inFile = (change: (path: string) => Promise<void> | void) => () => change(folder.bodyFiles()[0]!);
  const cases: readonly [string, number, () => Promise<void> | void][] = [
    [
      "a row with a changed octet",
      SMALL_BYTES,
      inDatabase("UPDATE bodies SET sealed = CAST(zeroblob(length(sealed)) AS BLOB)"),
    ],
    ["a row cut off", SMALL_BYTES, inDatabase("UPDATE bodies SET sealed = substr(sealed, 1, 100)")],
    ["a row gone", SMALL_BYTES, inDatabase("DELETE FROM bodies")],
    ["a file gone", LARGE_BYTES, inFile((path) => rmSync(path))],
    ["an empty file", LARGE_BYTES, inFile((path) => truncateSync(path, 0))],
    ["a file cut off", LARGE_BYTES, inFile((path) => truncateSync(path, 200_000))],
    [
      "a file with a changed octet",
      LARGE_BYTES,
      inFile(async (path) => {
        const file = await open(path, "r+");
        await file.write(Buffer.from([1, 2, 3, 4]), 0, 4, 150_000);
        await file.close();
      }),
    ],
  ];
  test.each(cases)("%s", async (_, sizeBytes, damage) => {
    const before = await folder.serve();
    const id = await accept(before.spool, contentOf("damaged", sizeBytes));
    await before.close();
    await damage();
    const { spool } = await folder.serve();
    await accept(spool, contentOf("whole", sizeBytes));
    const leased = await mustLease(spool, folder.clock.now());
    expect(leased.id).toBe(id);
    const fault = await read(leased).catch((cause: unknown) => cause);
    expect(fault).toBeInstanceOf(DamagedMessage);
    expect((fault as DamagedMessage).id).toBe(id);
    expect((fault as DamagedMessage).message).toMatch(new RegExp(`^the stored body of message ${id} \\w+`));
    expect((await read(await mustLease(spool, folder.clock.now()))).equals(contentOf("whole", sizeBytes))).toBe(true);
    await spool.settle(
      leased,
      [outcome(leased.due[0]!, { state: "queued", nextAttemptAt: folder.clock.now() + 1 })],
      [],
    );
    expect(await spool.nextDueAt("outbound")).toBe(folder.clock.now() + 1);
  });

  test("a body in the place of another message's does not open", async () => {
    const before = await folder.serve();
    await accept(before.spool, contentOf("a", SMALL_BYTES));
    await accept(before.spool, contentOf("b", SMALL_BYTES));
    await before.close();
    const { spool } = await folder.serve();
    inDatabase("UPDATE bodies SET sealed = (SELECT sealed FROM bodies WHERE seq = 1)")();
    expect((await read(await mustLease(spool, folder.clock.now()))).equals(contentOf("a", SMALL_BYTES))).toBe(true);
    await expect(read(await mustLease(spool, folder.clock.now()))).rejects.toThrow(DamagedMessage);
  });

  test("what has just come in leaves all the same the first time, unless it is gone", async () => {
    const { spool } = await folder.serve();
    for (const mark of ["a", "b"]) await accept(spool, contentOf(mark, SMALL_BYTES));
    inDatabase("UPDATE bodies SET sealed = x'00'")();
    const first = await mustLease(spool, folder.clock.now());
    expect((await read(first)).equals(contentOf("a", SMALL_BYTES))).toBe(true);
    await spool.release(first);
    await expect(read(await mustLease(spool, folder.clock.now()))).rejects.toThrow(DamagedMessage);
    const second = await mustLease(spool, folder.clock.now());
    inDatabase("DELETE FROM bodies")();
    await expect(read(second)).rejects.toThrow(/is missing/);
  });
});

test("a message whose write failed cannot be committed without its head", async () => {
  const { spool } = await folder.serve();
  rmSync(join(folder.dataDir, "bodies"), { recursive: true });
  writeFileSync(join(folder.dataDir, "bodies"), "in the way");
  const receiving = spool.receive();
  await expect(receiving.write(contentOf("m", LARGE_BYTES))).rejects.toThrow(/ENOTDIR|EEXIST/);
  await expect(receiving.write(Buffer.from("tail"))).rejects.toThrow(/ENOTDIR|EEXIST/);
  await expect(receiving.commit(envelopeTo("a@x.example"))).rejects.toThrow(/ENOTDIR|EEXIST/);
  expect(await spool.list(10)).toEqual([]);
  await accept(spool, contentOf("small", SMALL_BYTES));
  expect(await spool.list(10)).toHaveLength(1);
});

test("a message that is given up while it waits for the group leaves no row", async () => {
  const settings = { dataDir: folder.dataDir, secretKeyFile: folder.keyFile };
  const store: Store = await openStore(settings, folder.clock, (step) => {
    if (step === "body synced") void receiving.abort();
  });
  await store.recover();
  const receiving = store.spool.receive();
  await receiving.write(contentOf("m", LARGE_BYTES));
  await expect(receiving.commit(envelopeTo("a@x.example"))).rejects.toThrow("was given up");
  expect(await store.spool.list(10)).toEqual([]);
  expect(folder.bodyFiles()).toEqual([]);
  await store.close();
});

test("a body that cannot be removed ends the work all the same, and goes at the next start", async () => {
  const store = await folder.serve();
  await accept(store.spool, contentOf("m", LARGE_BYTES));
  const leased = await mustLease(store.spool, folder.clock.now());
  const [body] = folder.bodyFiles();
  const way = dirname(body!);
  renameSync(way, `${way}.away`);
  writeFileSync(way, "in the way");
  await store.spool.settle(leased, [outcome(leased.due[0]!)], []);
  rmSync(way);
  renameSync(`${way}.away`, way);
  await store.close();
  const second = await folder.open();
  expect(await second.recover()).toBe(1);
  expect(folder.bodyFiles()).toEqual([]);
});

describe("group commit", () => {
  const commitsOf = (sqlite: DatabaseSync, sleep: (delayMs: number) => Promise<void> = () => Promise.resolve()) =>
    groupCommit({
      database: { sqlite, checkpoint: () => undefined },
      failed: new AbortController().signal,
      sleep,
    });
  const memory = () => {
    const sqlite = new DatabaseSync(":memory:");
    sqlite.exec("CREATE TABLE t (n INTEGER PRIMARY KEY)");
    const insert = sqlite.prepare("INSERT INTO t VALUES (?)");
    const found = () =>
      sqlite
        .prepare("SELECT n FROM t ORDER BY n")
        .all()
        .map((row) => row["n"]);
    return { commits: commitsOf(sqlite), insert, found, sqlite };
  };

  test("runs what comes in one turn of the event loop in one transaction", async () => {
    const { commits, insert, found, sqlite } = memory();
    let begins = 0;
    const exec = sqlite.exec.bind(sqlite);
    vi.spyOn(sqlite, "exec").mockImplementation((text) => {
      if (text.startsWith("BEGIN")) begins++;
      exec(text);
    });
    await Promise.all([1, 2, 3, 4, 5].map((n) => commits.run(() => insert.run(n))));
    expect(begins).toBe(1);
    expect(found()).toEqual([1, 2, 3, 4, 5]);
  });

  describe("what nobody waits for", () => {
    const counted = () => {
      const { sqlite, ...rest } = memory();
      const exec = sqlite.exec.bind(sqlite);
      const begins = vi.spyOn(sqlite, "exec").mockImplementation(exec);
      return { ...rest, transactions: () => begins.mock.calls.filter(([text]) => text.startsWith("BEGIN")).length };
    };

    test("joins the transaction of what comes next", async () => {
      const { commits, insert, found, transactions } = counted();
      const soon = commits.runSoon(() => insert.run(1));
      await new Promise((resolve) => setImmediate(resolve));
      expect([found(), transactions()]).toEqual([[], 0]);
      await Promise.all([soon, commits.run(() => insert.run(2))]);
      expect([found(), transactions()]).toEqual([[1, 2], 1]);
    });

    test("begins by itself when nothing comes, and when another such step does", async () => {
      const { commits, insert, found, transactions } = counted();
      await commits.runSoon(() => insert.run(1));
      expect([found(), transactions()]).toEqual([[1], 1]);
      const two = [commits.runSoon(() => insert.run(2)), commits.runSoon(() => insert.run(3))];
      await new Promise((resolve) => setImmediate(resolve));
      await new Promise((resolve) => setImmediate(resolve));
      expect([found(), transactions()]).toEqual([[1, 2, 3], 2]);
      await Promise.all(two);
    });

    test("that comes while a transaction runs is not forgotten, and idle waits for it", async () => {
      const { commits, insert, found } = counted();
      const late: Promise<unknown>[] = [];
      await commits.run(() => late.push(commits.runSoon(() => insert.run(1))));
      await Promise.all(late);
      expect(found()).toEqual([1]);
      void commits.run(() => void commits.runSoon(() => insert.run(2)));
      await commits.idle();
      expect(found()).toEqual([1, 2]);
    });
  });

  test("a step that fails takes nothing of its neighbours with it, and leaves nothing of its own", async () => {
    const { commits, insert, found } = memory();
    const ended = await Promise.allSettled([
      commits.run(() => insert.run(1)),
      commits.run(() => {
        insert.run(2);
        throw new Error("second step");
      }),
      commits.run(() => insert.run(3)),
      commits.run(() => insert.run(1)),
    ]);
    expect(ended.map((one) => one.status)).toEqual(["fulfilled", "rejected", "fulfilled", "rejected"]);
    expect((ended[1] as PromiseRejectedResult).reason).toEqual(new Error("second step"));
    expect(found()).toEqual([1, 3]);
  });

  test("nothing resolves before COMMIT has, and a COMMIT that fails rejects", async () => {
    const { commits, insert, found, sqlite } = memory();
    const exec = sqlite.exec.bind(sqlite);
    let resolved = false;
    let failing = true;
    vi.spyOn(sqlite, "exec").mockImplementation((text) => {
      if (text === "COMMIT") {
        expect(resolved).toBe(false);
        if (failing) throw Object.assign(new Error("database or disk is full"), { errcode: 13 });
      }
      exec(text);
    });
    await expect(commits.run(() => insert.run(1)).then(() => (resolved = true))).rejects.toBeInstanceOf(SpoolFull);
    expect(found()).toEqual([]);
    failing = false;
    await commits.run(() => insert.run(2));
    expect(found()).toEqual([2]);
  });

  test("a database that another process keeps locked rejects the whole group after 5 s, and nothing else stands still", async () => {
    const { spool } = await folder.serve();
    await accept(spool, contentOf("m", 10));
    const other = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
    const busy = new DatabaseSync(join(folder.dataDir, "sealpost.db"), { timeout: 10 });
    other.exec("BEGIN IMMEDIATE");
    let sleptMs = 0;
    const commits = commitsOf(busy, async (delayMs) => {
      sleptMs += delayMs;
      await new Promise((resolve) => setImmediate(resolve));
    });
    const ended = await Promise.allSettled([1, 2, 3].map((n) => commits.run(() => n)));
    expect(ended.map((one) => one.status)).toEqual(["rejected", "rejected", "rejected"]);
    expect(sleptMs).toBe(4_000);
    other.exec("ROLLBACK");
    expect(await commits.run(() => "again")).toBe("again");
    busy.close();
    other.close();
  });
});

describe("a full disk", () => {
  const MIB = 1024 * 1024;
  let disk: string;
  let store: Store | undefined;
  beforeEach(() => {
    disk = mkdtempSync(join(tmpdir(), "sealpost-full-"));
    // needs root: a test that cannot fill a disk must not pass
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=40m", "tmpfs", disk]);
  });
  afterEach(async () => {
    await store?.close();
    store = undefined;
    execFileSync("umount", [disk]);
    rmdirSync(disk);
  });

  const openOn = async (reserveBytes?: number) => {
    const settings = { dataDir: join(disk, "data"), secretKeyFile: join(disk, "secret.key") };
    const clock = manualClock();
    store = await openStore(reserveBytes === undefined ? settings : { ...settings, reserveBytes }, clock);
    await store.recover();
    return { spool: store.spool, clock };
  };
  const fill = async (spool: Spool, sizeBytes: number) => {
    const ids: string[] = [];
    for (;;) {
      const fault = await accept(spool, contentOf(`m${ids.length}`, sizeBytes)).then(
        (id) => void ids.push(id),
        (cause: unknown) => cause,
      );
      if (fault !== undefined) return { ids, fault };
    }
  };

  test.each([
    ["rows", 60_000],
    ["files", LARGE_BYTES],
  ])(
    "refuses new mail in %s with SpoolFull, keeps what was acknowledged, and takes mail again when there is room",
    async (_, size) => {
      const { spool, clock } = await openOn(0);
      writeFileSync(join(disk, "ballast"), Buffer.alloc(12 * MIB));
      const { ids, fault } = await fill(spool, size);
      expect(fault).toBeInstanceOf(SpoolFull);
      expect(ids.length).toBeGreaterThan(1);
      expect((await spool.list(1_000)).map((one) => one.id)).toEqual(ids.toReversed());
      // what was refused left no file
      const files = readdirSync(join(disk, "data", "bodies"), { recursive: true, withFileTypes: true });
      expect(files.filter((entry) => entry.isFile())).toHaveLength(size === LARGE_BYTES ? ids.length : 0);
      rmSync(join(disk, "ballast"));
      ids.push(await accept(spool, contentOf(`m${ids.length}`, size)));
      for (const [number, id] of ids.entries()) {
        const leased = await mustLease(spool, clock.now());
        expect(leased.id).toBe(id);
        expect((await read(leased)).equals(contentOf(`m${number}`, size))).toBe(true);
        await spool.settle(leased, [outcome(leased.due[0]!)], []);
      }
    },
  );

  test("is foreseen: with less than the reserve free new mail is refused, and settling goes on", async () => {
    const { spool, clock } = await openOn();
    const { ids, fault } = await fill(spool, 30_000);
    expect(fault).toBeInstanceOf(SpoolFull);
    expect((fault as Error).message).toBe("the disk of dataDir is nearly full");
    for (const id of ids) {
      const leased = await mustLease(spool, clock.now());
      expect(leased.id).toBe(id);
      expect(await spool.settle(leased, [outcome(leased.due[0]!)], [])).toEqual({
        stored: [],
        leaseLost: false,
      });
    }
    expect((await spool.counts()).states).toEqual({ queued: 0, held: 0 });
  });
});
