// The shelf of sources: what outlives a reload, and what does not.
import { expect, test } from "vitest";
import type { FitnessPolicy } from "../../src/keys/fitness.ts";
import { found } from "../../src/keys/lookup.ts";
import type { SmimeKey } from "../../src/keys/recipient-key.ts";
import { silentLog } from "../../src/log.ts";
import { mailbox } from "../../src/mail/address.ts";
import { createMetrics } from "../../src/metrics.ts";
import { sourceShelf, type OpenParts } from "../../src/wiring/source-shelf.ts";
import { certificateOf, FIXTURE_TIME } from "../keys-of.ts";
import { manualClock } from "../manual-clock.ts";
import { NO_DATABASE } from "./no-database.ts";

const never = new AbortController().signal;

function stage() {
  let asked = 0;
  const clock = manualClock(FIXTURE_TIME);
  const parts = { log: silentLog, metrics: createMetrics("1"), clock, cache: NO_DATABASE };
  const times = { ttl: 60_000, absentTtl: 1_000 };
  const load = (policy: FitnessPolicy, before?: OpenParts) => {
    const shelf = sourceShelf(times, parts, before, () => policy);
    const source = shelf.network<SmimeKey>("smime", { name: "ldap", from: {} }, () => ({
      source: {
        name: "ldap",
        find: () => (asked++, Promise.resolve(found([certificateOf("alice")]))),
        probe: () => Promise.resolve({ ok: true, detail: "" }),
      },
      close: () => Promise.resolve(),
    }));
    const isCached = async () => (await source.find(mailbox("alice@example.com"), never)).cached === true;
    return { open: shelf.open, isCached };
  };
  return { load, clock, asked: () => asked };
}

const untrusted: FitnessPolicy = {
  minRsaBits: 2048,
  path: () => ({ trusted: false, reason: "untrusted", detail: "nobody vouches for it" }),
};

test("an untrusted certificate is remembered for absentTtl, a trusted one for ttl", async () => {
  for (const [policy, isRemembered] of [
    [untrusted, false],
    [{ minRsaBits: 2048 }, true],
  ] as const) {
    const { load, clock } = stage();
    const { isCached } = load(policy);
    await isCached();
    clock.advance(999);
    expect(await isCached()).toBe(true);
    clock.advance(1);
    expect(await isCached()).toBe(isRemembered);
  }
});

test("a source that is used on after a reload is judged by the new policy, and by the old one when the reload failed", async () => {
  const { load, asked } = stage();
  const before = load({ minRsaBits: 2048 });
  await before.isCached();
  const next = load(untrusted, before.open);
  expect(await before.isCached()).toBe(true);
  expect([asked(), await next.isCached(), asked()]).toEqual([1, false, 2]);
});
