// Decide: which sources are asked for whom, and who is told of it.
import { expect, test } from "vitest";
import { createChain, type TrailEntry } from "../../src/keys/chain.ts";
import { absent, found } from "../../src/keys/lookup.ts";
import { smimeKey, type PgpKey, type SmimeKey } from "../../src/keys/recipient-key.ts";
import type { Answer, KeySource } from "../../src/keys/source.ts";
import { mailbox, type Mailbox } from "../../src/mail/address.ts";
import { passable, type TreatmentSettings } from "../../src/outbound/decide.ts";
import type { MailFacts } from "../../src/outbound/mail-facts.ts";
import { prepareLog } from "../../src/outbound/prepare-log.ts";
import type { Rule, TypeMode } from "../../src/outbound/rules.ts";
import { createSourceHealth } from "../../src/outbound/source-health.ts";
import { createMetrics } from "../../src/metrics.ts";
import { certificateOf, FIXTURE_TIME } from "../keys-of.ts";
import { readerId } from "../../src/smime/recipient-info.ts";
import { manualClock } from "../manual-clock.ts";

const never = new AbortController().signal;
const [ALICE, QUINN, JIRA] = ["alice", "quinn", "jira"].map((name) => mailbox(`${name}@example.com`)) as [
  Mailbox,
  Mailbox,
  Mailbox,
];
const [alice, quinn] = [certificateOf("alice"), certificateOf("quinn")];

/** The sender's certificate: another one, issued to nobody else here. */
const jira = smimeKey({ ...certificateOf("bob").certificate, addresses: [JIRA.address] });

/** A chain of one key store and one directory; `asked` names each look-up. */
function stage(keys: Readonly<Record<"keystore" | "ldap", Readonly<Record<string, SmimeKey>>>>) {
  const asked: string[] = [];
  const source = (name: "keystore" | "ldap"): KeySource<SmimeKey> => ({
    name,
    isKeptHere: name === "keystore",
    find: ({ address }): Promise<Answer<SmimeKey>> => {
      asked.push(`${name} ${address}`);
      const key = keys[name][address];
      return Promise.resolve(key === undefined ? absent : found([key]));
    },
    probe: () => Promise.resolve({ ok: true, detail: "" }),
  });
  const clock = manualClock(FIXTURE_TIME);
  const policy = { minRsaBits: 2048 };
  const chains = {
    smime: createChain("smime", [source("keystore"), source("ldap")], policy, clock, 8_000),
    pgp: createChain<PgpKey>("pgp", [], policy, clock, 8_000),
  };
  return { chains, asked };
}

function settings(type: TypeMode, subject: "keep" | "hide" = "keep", rules: readonly Rule[] = []): TreatmentSettings {
  const base = { type, fallback: "block", holdMs: 0, subject, recoveryMail: "encrypt" } as const;
  return { base, rules, plusAddress: "exact", toSender: false };
}

const encryptedTo = (...readers: readonly SmimeKey[]) =>
  ({
    from: JIRA,
    projects: [],
    encrypted: { kind: "smime", readerIds: readers.map(({ certificate }) => readerId(certificate)) },
  }) as unknown as MailFacts;

test.each([
  ["of a kind that the type rules out", settings("pgp-only")],
  ["whose subject has to be hidden", settings("smime-only", "hide")],
])("for mail that came encrypted, %s, nobody is asked for anybody", async (_, policy) => {
  const { chains, asked } = stage({ keystore: {}, ldap: { [ALICE.address]: alice } });
  expect(await passable(encryptedTo(alice), [ALICE], chains, policy, never)).toEqual(new Set());
  expect(asked).toEqual([]);
});

test("only the recipients whose policy lets such mail pass are asked for", async () => {
  const { chains, asked } = stage({ keystore: {}, ldap: { [ALICE.address]: alice, [QUINN.address]: quinn } });
  const rules: Rule[] = [{ recipients: [QUINN.address], type: "pgp-only" } as unknown as Rule];
  const readers = await passable(
    encryptedTo(alice),
    [ALICE, QUINN],
    chains,
    settings("smime-only", "keep", rules),
    never,
  );
  expect([...readers]).toEqual([ALICE.key]);
  expect(asked.filter((one) => one.includes(QUINN.address))).toEqual([]);
});

test("the sender's own key counts when it is kept here, and no server is asked for the sender", async () => {
  const kept = stage({ keystore: { [JIRA.address]: jira }, ldap: { [ALICE.address]: alice } });
  const both = encryptedTo(alice, jira);
  expect([...(await passable(both, [ALICE], kept.chains, settings("smime-only"), never))]).toEqual([ALICE.key]);
  expect(kept.asked.toSorted()).toEqual([
    `keystore ${ALICE.address}`,
    `keystore ${JIRA.address}`,
    `ldap ${ALICE.address}`,
  ]);
  const elsewhere = stage({ keystore: {}, ldap: { [ALICE.address]: alice, [JIRA.address]: jira } });
  // in doubt it is encrypted once more
  expect([...(await passable(both, [ALICE], elsewhere.chains, settings("smime-only"), never))]).toEqual([]);
  expect(elsewhere.asked).not.toContain(`ldap ${JIRA.address}`);
});

test("a key that is kept for the sender and names somebody else does not count", async () => {
  const { chains } = stage({ keystore: { [JIRA.address]: quinn }, ldap: { [ALICE.address]: alice } });
  expect([...(await passable(encryptedTo(alice, quinn), [ALICE], chains, settings("smime-only"), never))]).toEqual([]);
});

test("each of these look-ups is logged and counted", async () => {
  const { chains } = stage({ keystore: {}, ldap: { [ALICE.address]: alice } });
  const told: string[] = [];
  const log = { event: (name: string, facts = {}) => void told.push(`${name} ${JSON.stringify(facts)}`) };
  const metrics = createMetrics("1");
  const observe = prepareLog(log, metrics, createSourceHealth(log, metrics));
  const saw = (recipient: Mailbox, trail: readonly TrailEntry[]) => observe.lookedUp("Q1", recipient, trail);
  await passable(encryptedTo(alice), [ALICE], chains, settings("smime-only"), never, saw);
  expect(told.map((line) => line.split(" ")[0])).toEqual(["lookup.absent", "lookup.found"]);
  expect(told[1]).toContain('"queueId":"Q1"');
  expect(
    (await metrics.lookups.get()).values.map(({ labels, value }) => [labels.source, labels.answer, value]),
  ).toEqual([
    ["keystore", "absent", 1],
    ["ldap", "found", 1],
  ]);
});
