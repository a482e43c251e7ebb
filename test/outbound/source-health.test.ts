import { expect, test } from "vitest";
import { SourceAtRest } from "../../src/keys/cached-source.ts";
import type { KeyChain, TrailEntry } from "../../src/keys/chain.ts";
import type { PgpKey, SmimeKey } from "../../src/keys/recipient-key.ts";
import type { Log } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { mailbox } from "../../src/mail/address.ts";
import { prepareLog } from "../../src/outbound/prepare-log.ts";
import { createSourceHealth, sourceNames } from "../../src/outbound/source-health.ts";
import { keyStoreLog } from "../../src/sources/key-store-log.ts";

function stage() {
  const told: string[] = [];
  const log: Log = {
    event: (name, facts = {}) =>
      void told.push([name, facts["source"], facts["fault"]].filter((one) => typeof one === "string").join(" ")),
  };
  const metrics = createMetrics("1");
  const health = createSourceHealth(log, metrics);
  const up = async () => (await metrics.sourceUp.get()).values.map(({ value }) => value);
  return { told, health, up, log, metrics };
}

const entry = (more: Partial<TrailEntry>): TrailEntry => ({
  ...{ kind: "smime", source: "ldap", answer: "absent", ms: 1, cached: false, candidates: [] },
  ...more,
});
const down = (fault: Error, source = "ldap") => [entry({ source, answer: "failed", fault })];
const wkd = (more: Partial<TrailEntry>) => entry({ kind: "pgp", source: "wkd", hasManyServers: true, ...more });
const broken = () => new Error("bad.example answered 500");
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

test("one person's entry that cannot be used takes no source down", () => {
  const { told, health } = stage();
  const broken = { answer: "failed", fault: new Error("ldap: 40 certificates"), isOnlyHere: true } as const;
  health.saw([entry(broken)]);
  expect(told).toEqual([]);
  expect(health.states()).toEqual({ "ldap (smime)": { ok: true, detail: "answers" } });
});

test("what is wrong with one person's entry is told once for that person, not for every mail", () => {
  const { told, health, log, metrics } = stage();
  const observer = prepareLog(log, metrics, health);
  const trail = (count: number) => [
    entry({ answer: "failed", fault: new Error(`ldap: ${count} certificates`), isOnlyHere: true }),
  ];
  const seen = [
    ["ann", 40],
    ["ann", 40],
    ["bob", 50],
    ["ann", 40],
  ] as const;
  for (const [to, count] of seen) observer.lookedUp("1", mailbox(`${to}@example.com`), trail(count));
  const cause = (count: number) => `lookup.failed ldap ldap: ${count} certificates`;
  expect(told).toEqual([cause(40), "lookup.failed ldap", cause(50), "lookup.failed ldap"]);
});

test("what a server that floods gets said of it for every address is told once, and again when it comes back after a good answer", () => {
  const { told, health, log, metrics } = stage();
  const observer = prepareLog(log, metrics, health);
  const flood = [entry({ answer: "failed", fault: new Error("answer larger than 1 MiB"), isOnlyHere: true })];
  const people = ["ann", "bob", "eve"].map((name) => mailbox(`${name}@example.com`));
  for (const person of people) observer.lookedUp("1", person, flood);
  const [cause, again] = ["lookup.failed ldap answer larger than 1 MiB", "lookup.failed ldap"];
  expect(told.splice(0)).toEqual([cause, again, again]);
  observer.lookedUp("1", people[0]!, [entry({})]);
  for (const person of people) observer.lookedUp("1", person, flood);
  expect(told.slice(1)).toEqual([cause, again, again]);
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

test("the directories of many domains are no source that is down because of one of them", async () => {
  const { told, health, up } = stage();
  for (let mail = 0; mail < 10; mail++) health.saw([wkd({}), wkd({ answer: "failed", fault: broken() })]);
  expect([told, health.states(), await up()]).toEqual([[], {}, []]);
});

test("why the directory of a domain failed is told once for all its addresses, also while it rests, and again afterwards", () => {
  const { told, health, log, metrics } = stage();
  const observer = prepareLog(log, metrics, health);
  const [ann, bob] = ["ann@bad.example", "bob@bad.example"].map((address) => mailbox(address));
  const saw = (fault: Error, to = ann!) => observer.lookedUp("1", to, [wkd({ answer: "failed", fault })]);
  const atRest = () => new SourceAtRest("not asked again yet", { cause: broken() });
  for (const fault of [broken(), broken(), atRest(), broken()]) saw(fault);
  saw(atRest(), bob);
  const cause = "lookup.failed wkd bad.example answered 500";
  const again = "lookup.failed wkd";
  expect(told.splice(0)).toEqual([cause, again, again, again, again]);
  observer.lookedUp("1", ann!, [wkd({})]);
  saw(broken());
  expect(told).toEqual(["lookup.absent wkd", cause]);
});

test("a key store that is broken is not shown as up by the other one of the same name", async () => {
  const { log, metrics, up, health } = stage();
  const [smime, pgp] = [keyStoreLog(log, metrics), keyStoreLog(log, metrics)];
  smime.failed("people.pem", "smime", new Error("garbage"));
  pgp.loaded("people.asc", "pgp", "OpenPGP keys", 1, [], []);
  health.saw([entry({ kind: "pgp", source: "keystore" })]);
  expect(await up()).toEqual([0]);
  smime.loaded("people.pem", "smime", "PEM", 1, [], []);
  expect(await up()).toEqual([1]);
});

test("a source that a reload took away is forgotten, and its name stays only for another of it", async () => {
  const { health, metrics, up } = stage();
  health.saw([...down(refused(), "directory:old"), ...down(refused(), "keystore"), entry({ source: "ldap" })]);
  health.saw([entry({ kind: "pgp", source: "keystore" })]);
  const chain = (kind: "smime" | "pgp", ...names: string[]) => ({ kind, sources: names.map((name) => ({ name })) });
  const names = sourceNames({
    smime: chain("smime", "ldap") as unknown as KeyChain<SmimeKey>,
    pgp: chain("pgp", "keystore") as unknown as KeyChain<PgpKey>,
  });
  health.keepOnly(names);
  expect(Object.keys(health.states()).toSorted()).toEqual(["keystore (pgp)", "ldap (smime)"]);
  const { values } = await metrics.sourceUp.get();
  expect(values.map(({ labels }) => labels.source).toSorted()).toEqual(["keystore", "ldap"]);
  expect(await up()).toEqual([1, 1]);
});
