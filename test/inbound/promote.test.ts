// Promotion: keys that wait are asked about again, judged again, and taken when Jira knows their user.
import { expect, onTestFinished, test } from "vitest";
import { pgpKey, type RecipientKey } from "../../src/keys/recipient-key.ts";
import { openLog } from "../../src/log.ts";
import { mailbox } from "../../src/mail/address.ts";
import { createMetrics } from "../../src/metrics.ts";
import { systemClock } from "../../src/clock.ts";
import { readPgpCertificate } from "../../src/pgp/certificate.ts";
import { buildHarvest } from "../../src/wiring/harvest.ts";
import { openKeys } from "../../src/wiring/keys.ts";
import { configurationOf } from "../config/reading.ts";
import { pgpKeyOf } from "../keys-of.ts";
import { fixtureCertificates } from "../pgp/fixture-keys.ts";
import { startJiraMock, type Instead, type JiraUser } from "../users/jira-mock.ts";
import { revokedKey } from "./harvest-stage.ts";

const JOE = mailbox("joe@example.org");
const HOUR_MS = 3_600_000;
const user = (name: string, emailAddress: string): JiraUser => ({
  ...{ key: name, name, displayName: name, emailAddress, active: true, roles: ["jira-software"] },
});
const never = new AbortController().signal;

/** A harvest that is wired as the relay's, over Jira's mock, and what it wrote to the log. */
async function stage() {
  const jira = await startJiraMock({ token: "token", self: user("relay", "relay@example.com") });
  onTestFinished(() => jira.close());
  const yaml = [
    "upstream: { host: 127.0.0.1, port: 9, tls: off }",
    "dataDir: data",
    "secretKeyFile: secret.key",
    `users: { jira: { url: "${jira.url}", tokenFile: token } }`,
  ].join("\n");
  const { settings } = configurationOf(yaml, {}, { token: "token\n" });
  const keys = await openKeys(settings);
  onTestFinished(() => keys.close());
  await keys.store.recover();
  const events: string[] = [];
  const log = openLog(
    { level: "debug", addresses: "full" },
    {
      write(line) {
        const { event, reason } = JSON.parse(line) as { event: string; reason?: string };
        events.push(reason === undefined ? event : `${event} ${reason}`);
      },
    },
  );
  const wiring = { log, metrics: createMetrics("1"), clock: systemClock };
  const harvest = buildHarvest(settings, keys.store, keys, wiring);
  const { harvested, personalKeys } = keys.store;
  const waits = (key: RecipientKey, owner = JOE) => {
    const now = systemClock.now();
    const times = { signedAt: now - HOUR_MS, seenAt: now, expiresAt: now + HOUR_MS };
    return harvested.keep({ state: "deferred", mailbox: owner, key, evidence: "dmarc=pass", ...times });
  };
  return { jira, harvest, harvested, personalKeys, waits, events };
}

test("a key waits while Jira answers 401, 500, nothing or other people, and promoteKnown takes it when Jira knows its user", async () => {
  const { jira, harvest, harvested, personalKeys, waits, events } = await stage();
  await waits(await pgpKeyOf("joe"));
  const answers: (Instead | undefined)[] = [{ status: 401, body: "" }, { status: 500, body: "" }, "hang", undefined];
  jira.state.users = [user("ann", "xjoe@example.org"), user("eve", "joe@example.org.evil.test")];
  for (const answer of answers) {
    jira.state.instead = () => answer;
    await harvest.promoteKnown(AbortSignal.timeout(1_000));
    expect(await harvested.of(JOE), JSON.stringify(answer)).toMatchObject([{ state: "deferred" }]);
  }
  jira.state.users = [...jira.state.users, user("joe", "joe@example.org")];
  // absent people are remembered for a minute: another harvest asks anew
  expect(await personalKeys.list()).toEqual([]);
  const later = await stage();
  later.jira.state.users = jira.state.users;
  await later.waits(await pgpKeyOf("joe"));
  await later.harvest.promoteKnown(never);
  expect(later.events).toEqual(["harvest.promoted new"]);
  expect(await later.personalKeys.list()).toMatchObject([{ address: JOE.address, origin: "incoming" }]);
  expect(await later.harvested.list()).toEqual([]);
  expect(events).toEqual([]);
});

test("a round of promoteKnown does not begin while the one before still asks, and reads no key of people whom Jira does not know", async () => {
  const { jira, harvest, harvested, waits } = await stage();
  await waits(await pgpKeyOf("joe"));
  const answer = Promise.withResolvers<undefined>();
  jira.state.instead = () => answer.promise;
  let reads = 0;
  const of = harvested.of.bind(harvested);
  harvested.of = (...args) => ((reads += 1), of(...args));
  const first = harvest.promoteKnown(never);
  await jira.until(() => jira.requests.length === 1);
  await harvest.promoteKnown(never);
  expect(jira.requests).toHaveLength(1);
  answer.resolve(undefined);
  await first;
  await harvest.promoteKnown(never);
  expect(reads).toBe(0);
  expect(await harvested.list()).toHaveLength(1);
});

test("a key that has expired or was revoked meanwhile is refused when Jira comes to know its user", async () => {
  const { jira, harvest, harvested, personalKeys, waits, events } = await stage();
  const certificates = await fixtureCertificates();
  const revoked = await readPgpCertificate(revokedKey(certificates.get("alice")!), systemClock.now());
  await waits(pgpKey(revoked), mailbox("alice@example.com"));
  await waits(pgpKey(certificates.get("erin")!), mailbox("erin@example.com"));
  jira.state.users = [user("alice", "alice@example.com"), user("erin", "erin@example.com")];
  await harvest.promoteKnown(never);
  expect(events).toEqual(["harvest.ignored revoked", "harvest.ignored expired"]);
  expect([await harvested.list(), await personalKeys.list()]).toEqual([[], []]);
});
