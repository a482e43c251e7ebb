// The ledger itself: each way in which a relay could fail is seen and named.
import { expect, test } from "vitest";
import { deathAt } from "./deaths.ts";
import { killPlan } from "./kill-plan.ts";
import { verdict, type Arrival, type Verdict } from "./ledger.ts";
import { ledgerMail, type LedgerMail, type Person } from "./mails.ts";

const person = (key: string, ending: Person["ending"]): Person => ({ address: `${key}@example.com`, ending, key });
const mail = (number: number, ...recipients: Person[]): LedgerMail => ({
  ...{ number, id: `m${number}`, reversePath: `jira+m${number}@example.com`, recipients },
  ...{ sizeBytes: 0, deferred: undefined },
});
const [ALICE, JOE, BOB] = [person("alice", "smime"), person("joe", "pgp"), person("bob", "dsn")];
const SENT = [mail(1, ALICE), mail(2, ALICE, JOE), mail(3, ALICE, BOB)];
const to = (number: number | undefined, form: Arrival["form"], ...recipients: string[]): Arrival => ({
  ...{ mail: number, form, recipients },
});
const RIGHT: readonly Arrival[] = [
  to(1, "smime", ALICE.address),
  to(2, "smime", ALICE.address),
  to(2, "pgp", JOE.address),
  to(3, "smime", ALICE.address),
  to(3, "dsn", "jira+m3@example.com"),
  to(undefined, "report", "mia@example.com"),
];
const GOOD: Verdict = { lost: [], foreign: [], wrong: [], duplicates: 0, reports: 1, unacknowledged: 0 };

function judge(arrived: readonly Arrival[], acknowledged: readonly number[] = [1, 2, 3]): Verdict {
  return verdict({
    sent: new Map(SENT.map((one) => [one.number, one])),
    acknowledged: new Set(acknowledged),
    arrivals: Map.groupBy(arrived, (one) => one.mail),
  });
}

test.each<[string, readonly Arrival[], Partial<Verdict>]>([
  ["all arrived as it must", RIGHT, {}],
  ["one recipient of two got nothing", RIGHT.filter((_, index) => index !== 2), { lost: ["m2 joe@example.com"] }],
  ["the sender was not told of a refusal", RIGHT.filter((_, index) => index !== 4), { lost: ["m3 bob@example.com"] }],
  ["a message came twice", [...RIGHT, to(2, "pgp", JOE.address)], { duplicates: 1 }],
  ["a notice came twice", [...RIGHT, to(3, "dsn", "jira+m3@example.com")], { duplicates: 1 }],
  ["a second report", [...RIGHT, to(undefined, "report", "mia@example.com")], { duplicates: 1, reports: 2 }],
  [
    "a message that nobody sent",
    [...RIGHT, to(9, "smime", ALICE.address)],
    { foreign: ["m9 smime to alice@example.com"] },
  ],
  [
    "a message whose Message-ID is another's",
    [...RIGHT, to(undefined, "smime", ALICE.address)],
    { foreign: ["m? smime to alice@example.com"] },
  ],
  ["a recipient of another mail", [...RIGHT, to(1, "pgp", JOE.address)], { wrong: ["m1 pgp to joe@example.com"] }],
  [
    "a DSN for a mail that nobody refused",
    [...RIGHT, to(1, "dsn", "jira+m1@example.com")],
    { wrong: ["m1 dsn to jira+m1@example.com"] },
  ],
])("%s", (_, arrived, expected) => expect(judge(arrived)).toEqual({ ...GOOD, ...expected }));

test("a message in clear is wrong, and his copy is still missing", () => {
  const arrived = [to(1, "clear", ALICE.address), ...RIGHT.slice(1)];
  expect(judge(arrived)).toEqual({ ...GOOD, lost: ["m1 alice@example.com"], wrong: ["m1 clear to alice@example.com"] });
});

test("what was sent and not acknowledged may arrive or not", () => {
  expect(judge(RIGHT, [2, 3])).toEqual({ ...GOOD, unacknowledged: 1 });
  expect(judge(RIGHT.slice(1), [2, 3])).toEqual(GOOD);
});

test("the same seed plans the same run, another seed another", () => {
  const plan = (seed: number) => ({
    mails: Array.from({ length: 200 }, (_, number) => ledgerMail(seed, number)),
    kills: killPlan(seed, 2_000, 20),
    deaths: Array.from({ length: 200 }, (_, number) => deathAt(seed, number, { before: 0.2, in: 0.2, after: 0.2 })),
  });
  expect(plan(7)).toEqual(plan(7));
  expect(plan(8)).not.toEqual(plan(7));
  const endings = new Set(plan(7).mails.flatMap((one) => one.recipients.map(({ ending }) => ending)));
  expect([...endings].sort()).toEqual(["dsn", "pgp", "smime"]);
});
