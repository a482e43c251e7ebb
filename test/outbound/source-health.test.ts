import { expect, test } from "vitest";
import { SourceAtRest } from "../../src/keys/cached-source.ts";
import type { TrailEntry } from "../../src/keys/chain.ts";
import type { Log } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { createSourceHealth } from "../../src/outbound/source-health.ts";

function stage() {
  const told: string[] = [];
  const log: Log = {
    event: (name, facts = {}) =>
      void told.push([name, facts["source"], facts["fault"]].filter((one) => typeof one === "string").join(" ")),
  };
  const metrics = createMetrics("1");
  const health = createSourceHealth(log, metrics);
  const up = async () => (await metrics.sourceUp.get()).values.map(({ value }) => value);
  return { told, health, up };
}

const entry = (more: Partial<TrailEntry>): TrailEntry => ({
  ...{ kind: "smime", source: "ldap", answer: "absent", ms: 1, cached: false, candidates: [] },
  ...more,
});
const down = (fault: Error, source = "ldap") => [entry({ source, answer: "failed", fault })];
const refused = () => new Error("ldap: connection refused", { cause: new Error("ECONNREFUSED") });

test("the cause of a failure is told once, however many mails meet it, and again when it is another", async () => {
  const { told, health, up } = stage();
  for (let mail = 0; mail < 50; mail++) health.saw(down(refused()));
  health.saw(down(new SourceAtRest("not asked again yet", { cause: refused() })));
  expect(told).toEqual(["source.down ldap ldap: connection refused: ECONNREFUSED"]);
  expect(await up()).toEqual([0]);
  health.saw(down(new Error("ldap: wrong password")));
  expect(told).toHaveLength(2);
  expect(health.states()).toEqual({ "ldap (smime)": { ok: false, detail: "ldap: wrong password" } });
});

test("the first answer afterwards is told once; what is remembered says nothing of the server", async () => {
  const { told, health, up } = stage();
  health.saw(down(refused()));
  health.saw([entry({ cached: true })]);
  expect(told).toHaveLength(1);
  health.saw([entry({})]);
  health.saw([entry({ answer: "found" })]);
  expect(told.slice(1)).toEqual(["source.up ldap"]);
  expect(await up()).toEqual([1]);
  health.saw(down(refused()));
  expect(told).toHaveLength(3);
});

test("a source that was skipped is neither up nor down; one name in both chains is two sources", () => {
  const { told, health } = stage();
  health.saw([entry({ answer: "skipped" })]);
  expect(health.states()).toEqual({});
  health.saw(down(refused(), "keystore"));
  health.saw([entry({ kind: "pgp", source: "keystore" })]);
  expect(told).toHaveLength(1);
  expect(health.states()).toMatchObject({ "keystore (smime)": { ok: false }, "keystore (pgp)": { ok: true } });
});
