// Personal keys and the changes that tell other processes of them.
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test } from "vitest";
import { notAfter } from "../../src/keys/fitness.ts";
import { pgpKey, smimeKey } from "../../src/keys/recipient-key.ts";
import { mailbox } from "../../src/mail/address.ts";
import { readPgpCertificate } from "../../src/pgp/certificate.ts";
import { parseCertificate } from "../../src/smime/certificate.ts";
import { closeDatabase, openDatabase } from "../../src/store/database.ts";
import type { Store } from "../../src/store/open.ts";
import { sqlPersonalKeys } from "../../src/store/personal-keys.ts";
import { fixtureBytes } from "../fixtures.ts";
import { dataFolder, type DataFolder } from "./data-folder.ts";

let folder: DataFolder;
let store: Store;
beforeEach(async () => {
  folder = dataFolder();
  store = await folder.open();
});
afterEach(() => folder.remove());

const alice = mailbox("Alice@example.com");
const certificate = (name: string) => smimeKey(parseCertificate(fixtureBytes(`smime/certs/${name}.der`)));
const openPgp = async (name: string) =>
  pgpKey(await readPgpCertificate(fixtureBytes(`pgp/${name}.gpg`), folder.clock.now()));

test("a key is found by its address in any case, its kind and its origin", async () => {
  const pgp = await openPgp("bob");
  await store.personalKeys.add(alice, certificate("alice"), "upload", 1_000);
  await store.personalKeys.add(alice, pgp, "incoming", 2_000);
  const find = (address: string, ...which: ["smime" | "pgp", "upload" | "incoming"]) =>
    store.personalKeys.find(mailbox(address), ...which);
  expect(await find("aLICE@EXAMPLE.com", "smime", "upload")).toEqual([
    { address: "Alice@example.com", key: certificate("alice"), origin: "upload", addedAt: 1_000 },
  ]);
  expect((await find("alice@example.com", "pgp", "incoming")).map((one) => one.key.fingerprint)).toEqual([
    pgp.fingerprint,
  ]);
  expect(await find("alice@example.com", "smime", "incoming")).toEqual([]);
  expect(await find("alice@example.com", "pgp", "upload")).toEqual([]);
  expect(await find("bob@example.com", "smime", "upload")).toEqual([]);
});

test("the same key for the same address is replaced, another one stands beside it", async () => {
  await store.personalKeys.add(alice, certificate("alice"), "upload", 1);
  await store.personalKeys.add(alice, certificate("alice"), "incoming", 2);
  expect((await store.personalKeys.list()).map((one) => [one.origin, one.addedAt])).toEqual([["incoming", 2]]);
  await store.personalKeys.add(alice, certificate("bob"), "upload", 3);
  expect(await store.personalKeys.list()).toHaveLength(2);
});

test("one key or all of an address are removed and named, other addresses keep theirs", async () => {
  const keys = [certificate("alice"), certificate("bob"), await openPgp("bob")];
  for (const key of keys) await store.personalKeys.add(alice, key, "upload", 1);
  await store.personalKeys.add(mailbox("bob@example.com"), certificate("bob"), "upload", 1);
  const fingerprints = (removed: readonly { key: { fingerprint: string } }[]) =>
    removed.map((one) => one.key.fingerprint);
  expect(fingerprints(await store.personalKeys.remove(alice, "00"))).toEqual([]);
  expect(fingerprints(await store.personalKeys.remove(alice, keys[1]!.fingerprint))).toEqual([keys[1]!.fingerprint]);
  expect(new Set(fingerprints(await store.personalKeys.remove(alice)))).toEqual(
    new Set([keys[0]!.fingerprint, keys[2]!.fingerprint]),
  );
  expect((await store.personalKeys.list()).map((one) => one.address)).toEqual(["bob@example.com"]);
});

test("a stored key that cannot be read hides no other", async () => {
  await store.personalKeys.add(alice, certificate("alice"), "upload", 1);
  await store.personalKeys.add(alice, certificate("bob"), "upload", 1);
  const database = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
  database
    .prepare("UPDATE personal_keys SET bytes = x'3003020101' WHERE fingerprint = ?")
    .run(certificate("alice").fingerprint);
  database.exec(
    "INSERT INTO personal_keys VALUES ('alice@example.com', 'pgp', 'ff', 'x', 'upload', x'00', 1, NULL, NULL)",
  );
  database.close();
  expect((await store.personalKeys.find(alice, "smime", "upload")).map((one) => one.key.fingerprint)).toEqual([
    certificate("bob").fingerprint,
  ]);
  expect(await store.personalKeys.list()).toHaveLength(1);
  // and it can be removed
  await store.personalKeys.remove(alice);
  expect(await store.personalKeys.list()).toEqual([]);
});

test("the text about a key that cannot be read names no address, for it stands in the log, and names who shows it", async () => {
  await store.personalKeys.add(alice, certificate("alice"), "upload", 1);
  const database = new DatabaseSync(join(folder.dataDir, "sealpost.db"));
  database.exec("UPDATE personal_keys SET bytes = x'00'");
  database.close();
  const fault = await store.personalKeys.find(alice, "smime", "upload").catch((cause: unknown) => cause);
  const { message } = fault as Error;
  expect(message).toContain("stored smime key");
  expect(message).toContain("queue show");
  expect(message.toLowerCase()).not.toMatch(/alice|@|example/);
});

test("the ends of keys are known without parsing again what has not changed, and follow every change", async () => {
  let judged = 0;
  const database = openDatabase(folder.dataDir);
  // each parsing of a key asks for the time
  const keys = sqlPersonalKeys(database, () => (judged++, folder.clock.now()));
  const [first, second] = [certificate("alice"), await openPgp("bob")];
  await keys.add(alice, first, "upload", 1);
  await keys.learn(alice, second, { origin: "incoming", signedAt: 1_000, now: 2 });
  database.sqlite.exec("INSERT INTO personal_keys VALUES ('x', 'pgp', 'ff', 'x', 'upload', x'00', 1, NULL, NULL)");
  const both = [
    { kind: "pgp", origin: "incoming", notAfter: notAfter(second) },
    { kind: "smime", origin: "upload", notAfter: first.certificate.notAfter },
  ];
  for (let scrape = 0; scrape < 5; scrape++) expect(await keys.ends()).toEqual(both);
  expect(judged).toBe(3);
  // another process: the same fingerprint from a newer mail, and one key less
  const other = await folder.open();
  await other.personalKeys.learn(alice, second, { origin: "incoming", signedAt: 2_000, now: 3 });
  await other.personalKeys.remove(alice, first.fingerprint);
  expect(await keys.ends()).toEqual([both[0]]);
  expect(judged).toBe(4);
  await closeDatabase(database);
});

test("what one process announces another sees once, in order, from where it began", async () => {
  await store.changes.announce({ what: "key.uploaded", address: "old@example.com" });
  const server = await folder.open();
  const since = await server.changes.latest();
  expect(await server.changes.since(since)).toEqual([]);
  await store.changes.announce({ what: "key.uploaded", address: "alice@example.com" });
  await store.changes.announce({ what: "cache.expired", source: "ldap" });
  const seen = await server.changes.since(since);
  expect(seen).toMatchObject([
    { what: "key.uploaded", address: "alice@example.com" },
    { what: "cache.expired", source: "ldap" },
  ]);
  expect(await server.changes.since(seen.at(-1)!.id)).toEqual([]);
});

test("ids of changes go on growing after the old ones were pruned", async () => {
  await store.changes.announce({ what: "key.uploaded", address: "a@example.com" });
  const before = await store.changes.latest();
  folder.clock.advance(2 * 86_400_000);
  await store.prune();
  await store.changes.announce({ what: "key.uploaded", address: "b@example.com" });
  expect((await store.changes.since(before)).map((one) => "address" in one && one.address)).toEqual(["b@example.com"]);
});
