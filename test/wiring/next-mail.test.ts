// What explain and verify say of somebody whose key waits: what really becomes of the next mail, and nothing changes by asking.
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { RecipientKey } from "../../src/keys/recipient-key.ts";
import { mailbox } from "../../src/mail/address.ts";
import { openKeys } from "../../src/wiring/keys.ts";
import { explainNextMail } from "../../src/wiring/next-mail.ts";
import { sealpost } from "../cli/child.ts";
import { configurationOf } from "../config/reading.ts";
import { fixture } from "../fixtures.ts";
import { certificateOf, pgpKeyOf } from "../keys-of.ts";

const JOE = mailbox("joe@example.org");
const ALICE = mailbox("alice@example.com");
const SELFIE = mailbox("selfie@example.com");
const HOUR_MS = 3_600_000;

async function keysWith(more = "") {
  const yaml = [
    "upstream: { host: 127.0.0.1, port: 9, tls: off }",
    "dataDir: data",
    "secretKeyFile: secret.key",
    "encryption: { fallback: allow }",
    `smime: { trust: { anchors: ["${fixture("smime/certs/root.pem")}"], intermediates: ["${fixture("smime/certs/issuing.pem")}"] } }`,
    more,
  ].join("\n");
  const { settings, folder } = configurationOf(yaml);
  const keys = await openKeys(settings);
  // the links of pending keys are made with the secret key
  await keys.store.recover();
  let isOpen = true;
  const close = async () => {
    if (isOpen) await keys.close();
    isOpen = false;
  };
  onTestFinished(close);
  const { harvested, personalKeys } = keys.store;
  const waits = (owner: typeof JOE, key: RecipientKey, state: "deferred" | "pending" = "deferred") => {
    const now = systemClock.now();
    const times = { signedAt: now - HOUR_MS, seenAt: now, expiresAt: now + HOUR_MS };
    return harvested.keep({ state, mailbox: owner, key, evidence: "dmarc=pass", ...times });
  };
  const explained = (owner: typeof JOE) =>
    explainNextMail(owner, keys, settings, systemClock, AbortSignal.timeout(10_000));
  return { keys, harvested, personalKeys, waits, explained, close, configFile: join(folder, "sealpost.yaml") };
}

test("a deferred key encrypts the next mail, so that is what explain says; asking changes nothing", async () => {
  const { waits, explained, harvested, personalKeys } = await keysWith();
  const key = await pgpKeyOf("joe");
  await waits(JOE, key);
  for (const time of ["once", "again"])
    expect(await explained(JOE), time).toMatchObject({
      ...{ treatment: "pgp", reason: "fit key from incoming" },
      keys: [{ fingerprint: key.fingerprint, source: "incoming" }],
      waiting: [{ state: "deferred", kind: "pgp", fingerprint: key.fingerprint, next: "used" }],
    });
  expect(await harvested.of(JOE)).toMatchObject([{ state: "deferred" }]);
  expect(await personalKeys.list()).toEqual([]);
});

test("a deferred certificate is judged as learning judges it: with a certification path", async () => {
  const { waits, explained } = await keysWith();
  await waits(SELFIE, certificateOf("selfie"));
  expect(await explained(SELFIE)).toMatchObject({
    treatment: "clear",
    waiting: [{ state: "deferred", next: "dropped", reason: "untrusted" }],
  });
  await waits(ALICE, certificateOf("alice"));
  expect(await explained(ALICE)).toMatchObject({ treatment: "smime", waiting: [{ next: "used" }] });
});

test("a pending key stays what it is, and so does the treatment", async () => {
  const { waits, explained } = await keysWith();
  await waits(JOE, await pgpKeyOf("joe"), "pending");
  expect(await explained(JOE)).toMatchObject({
    treatment: "clear",
    waiting: [{ state: "pending", next: "unchanged", reason: null }],
  });
});

test("a deferred key beside another one in use waits for a decision from the next mail on", async () => {
  const inbound = "inbound: { recipients: [jira@example.com], authservId: mx.example.com, issuers: any }";
  const { waits, explained, personalKeys } = await keysWith(inbound);
  const [held, other] = [certificateOf("alice"), certificateOf("alice-new")];
  const now = systemClock.now();
  await personalKeys.learn(ALICE, held, { origin: "incoming", signedAt: now - 2 * HOUR_MS, now });
  await waits(ALICE, other);
  expect(await explained(ALICE)).toMatchObject({
    ...{ treatment: "smime", keys: [{ fingerprint: held.fingerprint }] },
    waiting: [{ fingerprint: other.fingerprint, next: "pending" }],
  });
});

test("the command lines say it in words, and verify counts the address as encrypted", async () => {
  const { waits, configFile, close } = await keysWith();
  const [joe, bob] = [await pgpKeyOf("joe"), await pgpKeyOf("bob")];
  await waits(JOE, joe);
  await waits(mailbox("bob@example.com"), bob, "pending");
  await close();
  const run = (...args: string[]) => sealpost([...args, "--config", configFile]);
  const explained = await run("explain", "joe@example.org");
  expect(explained.stdout).toContain("joe@example.org: pgp (fit key from incoming)");
  expect(explained.stdout).toContain(
    `incoming (deferred): pgp ${joe.fingerprint} becomes theirs with the next mail of Jira`,
  );
  expect(explained.code).toBe(0);
  const pending = await run("explain", "bob@example.com");
  expect(pending.stdout).toMatch(
    new RegExp(`incoming \\(pending\\): pgp ${bob.fingerprint} waits for a decision until \\d{4}-.*harvest list`),
  );
  expect(pending.code).toBe(1);
  const verified = await run("verify", "joe@example.org");
  expect(verified.stdout).toMatch(/^ok +joe@example\.org .*pgp \(fit key from incoming\)$/m);
  expect(verified.stdout).toContain("becomes theirs with the next mail of Jira");
});
