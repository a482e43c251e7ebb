// The key cache in SQL: what is shared by all processes on one database.
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test } from "vitest";
import { absent, found } from "../../src/keys/lookup.ts";
import { smimeKey, type PgpKey, type SmimeKey } from "../../src/keys/recipient-key.ts";
import { sqlKeyCache } from "../../src/store/cached-keys.ts";
import { closeDatabase, openDatabase } from "../../src/store/database.ts";
import type { Store } from "../../src/store/open.ts";
import { certificateOf, pgpKeyOf } from "../keys-of.ts";
import { dataFolder, type DataFolder } from "./data-folder.ts";

const LDAP = { source: "ldap", kind: "smime", settings: "a" } as const;
const KEYSERVER = { source: "keyserver", kind: "pgp", settings: "a" } as const;
const [ALICE, BOB] = ["alice@example.com", "bob@example.com"];

let folder: DataFolder;
let store: Store;
beforeEach(async () => {
  folder = dataFolder();
  store = await folder.open();
});
afterEach(() => folder.remove());

const now = () => folder.clock.now();
const time = (epoch = 0) => ({ askedAt: now(), until: now() + 60_000, epoch });
const keptIn = async (shelf: typeof LDAP | typeof KEYSERVER, address: string) =>
  (await store.cache.read(shelf, address, now())).kept;

test("keys come back whole, with their place and companions, in another process too", async () => {
  const [issuing, root] = ["alice-old", "bob"].map((name) => certificateOf(name).certificate);
  const place = { name: "userCertificate", rank: 1 };
  const keys = [
    smimeKey(certificateOf("alice").certificate, { place, companions: [issuing!, root!] }),
    smimeKey(certificateOf("alice-new").certificate, { companions: [root!] }),
  ];
  await store.cache.write(LDAP, ALICE, found(keys), time());
  const other = await folder.open();
  const { kept } = await other.cache.read<SmimeKey>(LDAP, ALICE, now());
  expect(kept?.answer.kind === "found" && kept.answer.value).toEqual(keys);
  expect(kept?.until).toBe(now() + 60_000);
});

test("an OpenPGP key and an absence are kept too, each for its own source, kind and address", async () => {
  const bob = await pgpKeyOf("bob");
  await store.cache.write(KEYSERVER, BOB, found([bob]), time());
  await store.cache.write(LDAP, BOB, absent, time());
  const { kept } = await store.cache.read<PgpKey>(KEYSERVER, BOB, now());
  expect(kept?.answer.kind === "found" && kept.answer.value[0]?.fingerprint).toBe(bob.fingerprint);
  expect((await keptIn(LDAP, BOB))?.answer).toEqual(absent);
  expect(await keptIn(LDAP, ALICE)).toBeUndefined();
});

test("nothing is believed after its time, before it was asked for, or after an expiry of its source", async () => {
  await store.cache.write(LDAP, ALICE, absent, time());
  await store.cache.write(KEYSERVER, ALICE, absent, time());
  folder.clock.advance(59_999);
  expect(await keptIn(LDAP, ALICE)).toBeDefined();
  folder.clock.advance(1);
  expect(await keptIn(LDAP, ALICE)).toBeUndefined();
  folder.clock.advance(-60_001);
  expect(await keptIn(LDAP, ALICE)).toBeUndefined();
  folder.clock.advance(1);
  await store.cache.expire(["ldap"]);
  expect(await keptIn(LDAP, ALICE)).toBeUndefined();
  expect(await keptIn(KEYSERVER, ALICE)).toBeDefined();
});

test("what was set aside is kept with the answer, also when nothing else was there", async () => {
  const setAside = ["uid=alice: not a certificate"];
  await store.cache.write(LDAP, ALICE, { ...absent, setAside }, time());
  await store.cache.write(LDAP, BOB, { ...found([certificateOf("bob")]), setAside }, time());
  expect((await keptIn(LDAP, ALICE))?.answer).toEqual({ ...absent, setAside });
  expect((await keptIn(LDAP, BOB))?.answer).toMatchObject({
    kind: "found",
    value: [{ fingerprint: certificateOf("bob").fingerprint }],
    setAside,
  });
});

test("CONF-31: what was asked for before an expiry is not kept after it", async () => {
  const { epoch } = await store.cache.read(LDAP, ALICE, now());
  const other = await folder.open();
  await other.cache.expire(["ldap"]);
  await store.cache.write(LDAP, ALICE, absent, time(epoch));
  expect(await keptIn(LDAP, ALICE)).toBeUndefined();
  const after = await store.cache.read(LDAP, ALICE, now());
  expect(after.epoch).toBe(epoch + 1);
  await store.cache.write(LDAP, ALICE, absent, time(after.epoch));
  expect(await keptIn(LDAP, ALICE)).toBeDefined();
});

test("R22: changed settings expire what came with the old ones, and changing them back does not revive it", async () => {
  await store.cache.write(LDAP, ALICE, absent, time());
  await store.cache.write(KEYSERVER, ALICE, absent, time());
  const changed = { ...LDAP, settings: "b" };
  expect((await store.cache.read(changed, ALICE, now())).kept).toBeUndefined();
  await store.cache.keepOnly([changed, KEYSERVER]);
  expect(await keptIn(LDAP, ALICE)).toBeUndefined();
  expect(await keptIn(KEYSERVER, ALICE)).toBeDefined();
  await store.cache.keepOnly([]);
  expect(await keptIn(KEYSERVER, ALICE)).toBeUndefined();
});

test("R21: expiring the cache touches no personal key", async () => {
  const alice = certificateOf("alice");
  const box = { address: ALICE, key: ALICE, local: "alice", domain: "example.com" };
  await store.personalKeys.add(box, alice, "upload", now());
  await store.personalKeys.add(box, certificateOf("alice-new"), "incoming", now());
  await store.cache.expire(["upload", "incoming", "keystore", "ldap"]);
  expect(await store.personalKeys.list()).toHaveLength(2);
});

test("LOOK-22: a row that was damaged is asked for again, never taken for an absence", async () => {
  await store.cache.write(LDAP, ALICE, found([certificateOf("alice")]), time());
  const database = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
  for (const damaged of ['{"keys":[{"bytes":"AAAA"}],"companions":[]}', '{"keys":[],"companions":[]}', "{"]) {
    database.prepare("UPDATE cached_keys SET keys = CAST(? AS BLOB)").run(damaged);
    expect(await store.cache.read(LDAP, ALICE, now())).toMatchObject({ kept: undefined });
  }
  database.close();
});

test("rows that are out of date are pruned", async () => {
  await store.cache.write(LDAP, ALICE, absent, { ...time(), until: now() + 1 });
  await store.cache.write(LDAP, BOB, absent, time());
  folder.clock.advance(1);
  await store.prune();
  const database = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
  expect(database.prepare("SELECT address_key FROM cached_keys").all()).toMatchObject([{ address_key: BOB }]);
  database.close();
});

test("rows that are too many are pruned although all of them end at the same time, the ones that end first before them", async () => {
  const database = openDatabase(folder.dataDir, "last commits");
  const cache = sqlKeyCache(database, 3);
  const names = Array.from({ length: 6 }, (_, number) => `user${number}@example.com`);
  for (const name of names) await cache.write(LDAP, name, absent, time());
  await cache.write(LDAP, ALICE, absent, { ...time(), until: now() + 1 });
  await cache.prune(now());
  const left = database.sqlite
    .prepare("SELECT address_key FROM cached_keys")
    .all()
    .map((row) => row["address_key"]);
  expect(left).toHaveLength(3);
  expect(left).not.toContain(ALICE);
  await cache.prune(now());
  expect(database.sqlite.prepare("SELECT count(*) AS rows FROM cached_keys").get()).toMatchObject({ rows: 3 });
  await closeDatabase(database);
});

test("while another process holds the write lock an answer is not kept, after a short wait; reading goes on", async () => {
  await store.cache.write(LDAP, ALICE, absent, time());
  const database = openDatabase(folder.dataDir, "last commits");
  const cache = sqlKeyCache(database);
  const other = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
  other.exec("BEGIN IMMEDIATE");
  const since = performance.now();
  await expect(cache.write(LDAP, BOB, absent, time())).rejects.toThrow("locked");
  expect((await cache.read(LDAP, ALICE, now())).kept?.answer).toEqual(absent);
  // the patient wait is five seconds, and nothing else is done in it
  expect(performance.now() - since).toBeLessThan(2_500);
  other.exec("ROLLBACK");
  other.close();
  await cache.write(LDAP, BOB, absent, time());
  expect((await cache.read(LDAP, BOB, now())).kept?.answer).toEqual(absent);
  await closeDatabase(database);
});
