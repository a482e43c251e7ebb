// Keys that wait: kept through a crash, bounded, forgotten after their time.
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { NewHarvestedKey } from "../../src/keys/harvested-keys.ts";
import { smimeKey } from "../../src/keys/recipient-key.ts";
import { mailbox } from "../../src/mail/address.ts";
import type { Store } from "../../src/store/open.ts";
import { certificateOf, pgpKeyOf } from "../keys-of.ts";
import { dataFolder, type DataFolder } from "./data-folder.ts";

const [ALICE, JOE] = [mailbox("alice@example.com"), mailbox("joe@example.org")];
const DAY = 86_400_000;
/** As many as one address may have. */
const NAMES = ["alice", "alice-new", "alice-old", "alice-sign", "bob"];

let folder: DataFolder;
let store: Store;
beforeEach(async () => {
  folder = dataFolder();
  store = await folder.open();
});
afterEach(() => folder.remove());

const entry = (more: Partial<NewHarvestedKey> = {}): NewHarvestedKey => ({
  ...{ state: "deferred", mailbox: ALICE, key: certificateOf("alice"), evidence: "dmarc=pass" },
  ...{ signedAt: folder.clock.now() - 5, seenAt: folder.clock.now(), expiresAt: folder.clock.now() + 30 * DAY },
  ...more,
});

test("HARV-42: a deferred key is whole again in another process, with companions and what was announced", async () => {
  const { certificate } = certificateOf("alice");
  const key = smimeKey(certificate, { companions: [certificateOf("bob").certificate], announced: ["1.2.3"] });
  expect(await store.harvested.keep(entry({ key }))).toBe("kept");
  const other = await folder.open();
  const [kept] = await other.harvested.of(ALICE);
  expect(kept).toMatchObject({ state: "deferred", mailbox: ALICE, evidence: "dmarc=pass" });
  expect(kept?.key).toEqual(key);
  expect(await other.harvested.waits(ALICE)).toBe(true);
  expect(await other.harvested.waits(JOE)).toBe(false);
});

test("the same key again is one row, in its newest state; what is decided is gone", async () => {
  await store.recover();
  await store.harvested.keep(entry());
  const token = store.harvested.tokenFor(ALICE, entry().key);
  expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
  expect(await store.harvested.byToken(token)).toBeUndefined();
  await store.harvested.keep(entry({ state: "pending" }));
  await store.harvested.keep(entry({ state: "pending" }));
  const all = await store.harvested.list();
  expect(all).toHaveLength(1);
  expect(await store.harvested.list("deferred")).toEqual([]);
  expect((await store.harvested.byToken(token))?.id).toBe(all[0]!.id);
  expect(await store.harvested.byToken(store.harvested.tokenFor(JOE, entry().key))).toBeUndefined();
  expect(await store.harvested.remove(all[0]!.id)).toBe(true);
  expect(await store.harvested.remove(all[0]!.id)).toBe(false);
  expect(await store.harvested.byId(all[0]!.id)).toBeUndefined();
});

test("after its time a key is neither given nor kept", async () => {
  await store.harvested.keep(entry());
  folder.clock.advance(30 * DAY);
  expect(await store.harvested.list()).toEqual([]);
  expect(rowCount()).toBe(1);
  await store.prune();
  expect(rowCount()).toBe(0);
});

test("keys over their time take nobody's place, before and after they are removed", async () => {
  for (const name of NAMES) await store.harvested.keep(entry({ key: certificateOf(name) }));
  expect(await store.harvested.keep(entry({ key: certificateOf("carol") }))).toBe("full");
  folder.clock.advance(30 * DAY);
  expect(await store.harvested.keep(entry({ key: certificateOf("carol") }))).toBe("kept");
  expect(await store.harvested.of(ALICE)).toHaveLength(1);
});

test("everybody whose key is deferred is listed once, however many there are, and no key of theirs is read", async () => {
  const database = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
  database.exec(
    `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2399)
     INSERT INTO harvested_keys (state, address_key, address, domain, kind, fingerprint, bytes, signed_at, seen_at, expires_at, evidence)
     SELECT iif(i % 3 = 0, 'pending', 'deferred'), 'a' || (i / 2) || '@x.example', 'a' || (i / 2) || '@x.example', 'x.example', 'pgp',
       'f' || i, x'00', 1, 1, iif(i < 2000, 9e15, 1), '' FROM n`,
  );
  database.close();
  const listed: string[] = [];
  for await (const { key } of store.harvested.awaited()) listed.push(key);
  // two keys each, of which at most one is pending; those of the last 200 are over their time
  expect([listed.length, new Set(listed).size]).toEqual([1_000, 1_000]);
});

function rowCount(): number {
  const database = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
  const { rows } = database.prepare("SELECT count(*) AS rows FROM harvested_keys").get() as { rows: number };
  database.close();
  return rows;
}

test("HARV-41: an address and a domain have their share only, and whoever fills it shuts out nobody else", async () => {
  for (const name of NAMES) expect(await store.harvested.keep(entry({ key: certificateOf(name) }))).toBe("kept");
  expect(await store.harvested.keep(entry({ key: certificateOf("carol") }))).toBe("full");
  // the ones that are there may still be renewed
  expect(await store.harvested.keep(entry({ key: certificateOf("alice") }))).toBe("kept");
  const database = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
  database.exec(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
     INSERT INTO harvested_keys (state, address_key, address, domain, kind, fingerprint, bytes, signed_at, seen_at, expires_at, evidence)
     SELECT 'deferred', 'a' || i || '@flood.example', 'a' || i || '@flood.example', 'flood.example', 'pgp', 'f' || i, x'00', 1, 1, 9e15, '' FROM n`,
  );
  database.close();
  expect(await store.harvested.keep(entry({ mailbox: mailbox("more@flood.example") }))).toBe("full");
  expect(await store.harvested.keep(entry({ mailbox: JOE, key: await pgpKeyOf("joe") }))).toBe("kept");
});

describe("learned keys", () => {
  const learned = (signedAt: number) => ({ origin: "incoming", signedAt, now: folder.clock.now() }) as const;

  test("the newest learned one replaces the other of its kind, and leaves uploads and the other kind alone", async () => {
    await store.personalKeys.add(ALICE, certificateOf("carol"), "upload", 1);
    expect(await store.personalKeys.learn(ALICE, certificateOf("alice"), learned(5))).toBe(true);
    expect(await store.personalKeys.learn(ALICE, await pgpKeyOf("joe"), learned(5))).toBe(true);
    expect(await store.personalKeys.learn(ALICE, certificateOf("alice-new"), learned(6))).toBe(true);
    const all = (await store.personalKeys.list()).map(({ key, origin, signedAt }) => [key.kind, origin, signedAt]);
    expect(all.sort()).toEqual([
      ["pgp", "incoming", 5],
      ["smime", "incoming", 6],
      ["smime", "upload", undefined],
    ]);
  });

  test("HARV-16: the same key that was uploaded stays an upload", async () => {
    await store.personalKeys.add(ALICE, certificateOf("alice"), "upload", 1);
    expect(await store.personalKeys.learn(ALICE, certificateOf("alice"), learned(5))).toBe(false);
    expect((await store.personalKeys.list())[0]?.origin).toBe("upload");
  });

  test("the time a key was signed at never goes back", async () => {
    await store.personalKeys.learn(ALICE, certificateOf("alice"), learned(9));
    await store.personalKeys.learn(ALICE, certificateOf("alice"), learned(5));
    expect((await store.personalKeys.find(ALICE, "smime", "incoming"))[0]?.signedAt).toBe(9);
  });
});

test("HARV-45: how often a message was begun survives the process; done, it counts anew", async () => {
  expect(store.tries.begin("m1", 1)).toBe(1);
  expect((await folder.open()).tries.begin("m1", 2)).toBe(2);
  expect(store.tries.begin("m2", 2)).toBe(1);
  store.tries.done("m1");
  expect(store.tries.begin("m1", 3)).toBe(1);
});

test("whom Jira has written to is new once", async () => {
  expect(await store.seen.wasSeen(ALICE)).toBe(false);
  expect(await store.seen.saw([ALICE, JOE], 1)).toEqual([ALICE, JOE]);
  expect(await store.seen.saw([ALICE], 2)).toEqual([]);
  expect(await (await folder.open()).seen.wasSeen(ALICE)).toBe(true);
});
