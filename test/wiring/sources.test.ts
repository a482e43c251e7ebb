// The wiring of the sources: what a reload makes of them.
import { chmodSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { mailbox, type Mailbox } from "../../src/mail/address.ts";
import { createMetrics } from "../../src/metrics.ts";
import { sourceShelf, type OpenParts } from "../../src/wiring/source-shelf.ts";
import { buildSources } from "../../src/wiring/sources.ts";
import { configurationOf, folder, SMALLEST } from "../config/reading.ts";
import { fixture } from "../fixtures.ts";
import { certificateOf } from "../keys-of.ts";
import { NO_DATABASE } from "./no-database.ts";

const never = new AbortController().signal;
const ALICE = mailbox("alice@example.com");
const policy = { minRsaBits: 2048 };

/** The sources of a configuration, over what is open from another one. */
function load(yaml: string, before?: OpenParts) {
  const { settings } = configurationOf(`${SMALLEST}${yaml}`);
  const parts = { log: silentLog, metrics: createMetrics("1"), clock: systemClock, cache: NO_DATABASE };
  const shelf = sourceShelf(settings.cache, parts, before, () => policy);
  return { ...buildSources(settings, policy, shelf, parts), open: shelf.open, shelves: shelf.shelves };
}

test("a user directory before which another was put names its new place in the settings, and keeps its answers", async () => {
  const entry = (name: string) => `{ name: ${name}, host: 127.0.0.1, port: 9, tls: off, baseDn: "o=x" }`;
  const before = load(`smime: { userDirectories: [${entry("corp")}] }`);
  const after = load(`smime: { userDirectories: [${entry("first")}, ${entry("corp")}] }`, before.open);
  const detail = async ({ smime }: typeof before, name: string) =>
    (await smime.userDirectories.find((source) => source.name === name)?.probe(never))?.detail;
  expect(await detail(before, "directory:corp")).toContain("smime.userDirectories[0].");
  expect(await detail(after, "directory:corp")).toContain("smime.userDirectories[1].");
  expect(after.shelves).toContainEqual(before.shelves[0]);
});

const fingerprintsOf = async ({ smime }: ReturnType<typeof load>, address: Mailbox) => {
  const answer = await smime.keyStore!.find(address, never);
  return answer.kind === "found" ? answer.value.map(({ fingerprint }) => fingerprint) : answer.kind;
};

test("R22: another keyStore.file is read after a reload and nothing of the old one is left; the same one is used on", async () => {
  const path = folder();
  copyFileSync(fixture("smime/certs/alice.pem"), join(path, "old.pem"));
  copyFileSync(fixture("smime/certs/bob.pem"), join(path, "new.pem"));
  const named = (name: string) => `smime: { keyStore: { file: ${join(path, name)} } }`;
  const old = load(named("old.pem"));
  expect(await fingerprintsOf(old, ALICE)).toEqual([certificateOf("alice").fingerprint]);
  expect(load(named("old.pem"), old.open).smime.keyStore).toBe(old.smime.keyStore);
  const next = load(named("new.pem"), old.open);
  expect(await fingerprintsOf(next, ALICE)).toBe("absent");
  expect(await fingerprintsOf(next, mailbox("bob@example.com"))).toEqual([certificateOf("bob").fingerprint]);
  // what changes back is read afresh
  copyFileSync(fixture("smime/certs/alice-new.pem"), join(path, "old.pem"));
  expect(await fingerprintsOf(load(named("old.pem"), next.open), ALICE)).toEqual([
    certificateOf("alice-new").fingerprint,
  ]);
});

test("verify says of a key store that the relay's user may not read that this is so, and which setting names it", async () => {
  const path = folder();
  const file = join(path, "people.pem");
  copyFileSync(fixture("smime/certs/alice.pem"), file);
  chmodSync(path, 0o755);
  chmodSync(file, 0);
  const { smime } = load(`smime: { keyStore: { file: ${file} } }`);
  const isRoot = process.geteuid?.() === 0;
  // root may read anything
  if (isRoot) process.seteuid?.(65_534);
  const probe = await smime.keyStore!.probe(never).finally(() => isRoot && process.seteuid?.(0));
  expect(probe.ok).toBe(false);
  expect(probe.detail).toMatch(/people\.pem cannot be used: EACCES: permission denied.*; see smime\.keyStore\.file$/);
});
