// The wiring of the sources: what a reload makes of them.
import { expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { sourceShelf, type OpenParts } from "../../src/wiring/source-shelf.ts";
import { buildSources } from "../../src/wiring/sources.ts";
import { configurationOf, SMALLEST } from "../config/reading.ts";
import { NO_DATABASE } from "./no-database.ts";

const never = new AbortController().signal;
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
