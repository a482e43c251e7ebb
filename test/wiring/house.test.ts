// Housekeeping: what /readyz and /metrics say of sources and keys.
import { expect, test } from "vitest";
import type { KeyChain } from "../../src/keys/chain.ts";
import type { PgpKey, SmimeKey } from "../../src/keys/recipient-key.ts";
import { silentLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { createSourceHealth } from "../../src/outbound/source-health.ts";
import { collect, readiness } from "../../src/wiring/house.ts";
import type { Delivery } from "../../src/wiring/delivery.ts";
import { mailbox } from "../../src/mail/address.ts";
import { certificateOf, pgpKeyOf } from "../keys-of.ts";
import { dataFolder } from "../store/data-folder.ts";

const DAY_MS = 86_400_000;

test("a source that a reload took away stands in /readyz no more, even when its last mail ends afterwards", async () => {
  const metrics = createMetrics("1");
  const health = createSourceHealth(silentLog, metrics);
  const chain = (kind: "smime" | "pgp", ...names: string[]) => ({ kind, sources: names.map((name) => ({ name })) });
  const delivery = {
    sources: { smime: { keyStore: undefined }, pgp: { keyStore: undefined } },
    departures: { isUp: undefined },
    chains: {
      smime: chain("smime", "ldap") as unknown as KeyChain<SmimeKey>,
      pgp: chain("pgp") as unknown as KeyChain<PgpKey>,
    },
  } as unknown as Delivery;
  const said = { kind: "smime", answer: "failed", ms: 1, cached: false, candidates: [] } as const;
  for (const source of ["ldap", "directory:gone"]) health.saw([{ ...said, source, fault: new Error("refused") }]);
  const store = { checkWritable: () => Promise.resolve() };
  const { sources } = await readiness(store, delivery, health, { outbound: true });
  expect(sources).toEqual({ "ldap (smime)": { ok: false, detail: "refused" } });
});

test("/readyz tells the next hop of incoming mail beside the upstream, when there is one; neither decides", async () => {
  const chains = { smime: { kind: "smime", sources: [] }, pgp: { kind: "pgp", sources: [] } };
  const stores = { smime: { keyStore: undefined }, pgp: { keyStore: undefined } };
  const health = createSourceHealth(silentLog, createMetrics("1"));
  const told = (nextHop: { isUp: boolean | undefined } | undefined) => {
    const delivery = { sources: stores, chains, departures: { isUp: true }, nextHop } as unknown as Delivery;
    const store = { checkWritable: () => Promise.resolve() };
    return readiness(store, delivery, health, { outbound: true, inbound: true });
  };
  expect(await told({ isUp: false })).toMatchObject({
    isReady: true,
    upstream: { ok: true, detail: "reached" },
    nextHop: { ok: false, detail: "not reachable" },
  });
  expect((await told({ isUp: undefined })).nextHop).toEqual({ ok: null, detail: "not used yet" });
  expect(await told(undefined)).not.toHaveProperty("nextHop");
});

test("/metrics counts personal keys by kind and origin, and those that end within 7 and 30 days", async () => {
  const folder = dataFolder();
  const store = await folder.open();
  const alice = certificateOf("alice");
  folder.clock.advance(alice.certificate.notAfter - 20 * DAY_MS - folder.clock.now());
  await store.personalKeys.add(mailbox("alice@example.com"), alice, "upload", 1);
  const metrics = createMetrics("1");
  const counted = async () =>
    [...(await metrics.personalKeys.get()).values, ...(await metrics.personalKeysExpiring.get()).values].map(
      ({ labels, value }) => `${Object.values(labels).join(" ")}: ${value}`,
    );
  await collect(store, metrics, folder.clock);
  expect(await counted()).toEqual(["smime upload: 1", "7: 0", "30: 1"]);
  await store.personalKeys.add(mailbox("bob@example.com"), await pgpKeyOf("bob"), "incoming", 1);
  await store.personalKeys.remove(mailbox("alice@example.com"));
  await collect(store, metrics, folder.clock);
  expect((await counted())[0]).toBe("pgp incoming: 1");
  await folder.remove();
});
