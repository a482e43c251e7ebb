// Other processes and other statements at the same database: who waits, who does not, and what gets into whose transaction.
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { closeDatabase, openDatabase } from "../../src/store/database.ts";
import { groupCommit } from "../../src/store/group-commit.ts";
import { dataFolder, type DataFolder } from "./data-folder.ts";
import { accept, contentOf, mustLease, outcome } from "./fixture-mail.ts";

let folder: DataFolder;
beforeEach(() => (folder = dataFolder()));
afterEach(() => folder.remove());

/** Another connection, which SQLite takes for another process. */
function neighbour(begin: string): DatabaseSync {
  const database = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
  database.exec(begin);
  return database;
}

test("while another process writes, what waits for it lets this one go on", async () => {
  const store = await folder.serve();
  const other = neighbour("BEGIN IMMEDIATE");
  // were one of these to stand still, this turn could not end what it stands for
  const waiting = [
    store.checkWritable(),
    store.prune(),
    store.changes.announce({ what: "cache.expired", source: "wkd" }),
  ];
  await sleep(100);
  other.exec("COMMIT");
  other.close();
  await Promise.all(waiting);
});

test("tries that cannot be counted say so within moments", async () => {
  const { tries } = await folder.serve();
  const other = neighbour("BEGIN IMMEDIATE");
  const since = performance.now();
  expect(() => tries.begin("m", 0)).toThrow("locked");
  expect(() => tries.done("m")).toThrow("locked");
  expect(performance.now() - since).toBeLessThan(2_500);
  other.exec("COMMIT");
  other.close();
  expect(tries.begin("m", 0)).toBe(1);
});

describe("a start, whose log of the last life another process reads", () => {
  const begun = async () => {
    await (await folder.serve()).close();
    // the log begins anew only without a reader of before its last entry, and of what is the same SQLite writes none
    folder.clock.advance(1);
    const store = await folder.open();
    const reader = neighbour("BEGIN");
    reader.prepare("SELECT count(*) FROM messages").get();
    return { recovered: store.recover(), reader };
  };

  test("waits for it", async () => {
    const { recovered, reader } = await begun();
    await folder.clock.whenSleeping(20);
    reader.close();
    folder.clock.advance(20);
    expect(await recovered).toBe(0);
  });

  test("is refused when it goes on for ever: what a failed fsync left would stay there", async () => {
    const { recovered, reader } = await begun();
    const refused = expect(recovered).rejects.toThrow("another process keeps the database in dataDir locked");
    for (let sleeps = 0; sleeps < 200; sleeps++) {
      await folder.clock.whenSleeping(20);
      folder.clock.advance(20);
    }
    await refused;
    reader.close();
  });
});

test("a statement of the same process gets into no group, and does not go with one that is rolled back", async () => {
  const database = openDatabase(folder.dataDir);
  const { sqlite } = database;
  sqlite.exec("CREATE TABLE t (n INTEGER)");
  const exec = sqlite.exec.bind(sqlite);
  vi.spyOn(sqlite, "exec").mockImplementation((text) => {
    exec(text);
    // as soon as anything else may run at all
    if (text.startsWith("BEGIN")) queueMicrotask(() => sqlite.prepare("INSERT INTO t VALUES (1)").run());
  });
  const commits = groupCommit({ database, failed: new AbortController().signal, sleep });
  const failing = commits.run(() => {
    throw new Error("this one is rolled back");
  });
  await expect(failing).rejects.toThrow("rolled back");
  expect(sqlite.prepare("SELECT count(*) AS n FROM t").get()).toMatchObject({ n: 1 });
  await closeDatabase(database);
});

test("more finished messages than go at once are forgotten all the same, and in between others have their turn", async () => {
  const store = await folder.serve();
  await accept(store.spool, contentOf("m", 10));
  const leased = await mustLease(store.spool, folder.clock.now());
  await store.spool.settle(leased, [outcome(leased.due[0]!)], []);
  const database = neighbour(`
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
    INSERT INTO messages (id, route, class, reverse_path, smtp_utf8, is_8bit, accepted_at, size, in_file, due_at, finished_at)
    SELECT 'copy' || i, route, class, reverse_path, smtp_utf8, is_8bit, accepted_at, size, in_file, due_at, finished_at
    FROM messages, n`);
  folder.clock.advance(8 * 86_400_000);
  let turns = 0;
  const turning = setInterval(() => turns++, 0);
  await store.prune();
  clearInterval(turning);
  expect(database.prepare("SELECT count(*) AS n FROM messages").get()).toEqual({ n: 0 });
  expect(turns).toBeGreaterThan(2);
  database.close();
});
