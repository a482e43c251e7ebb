// A mail that ends the process each time it is worked on: it is found out, left alone, and keeps nobody else from their mail.
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { expectNoCanary, canaryMail } from "../e2e/canary.ts";
import { sendMail } from "../e2e/jira.ts";
import { killedByRsaKeysOf } from "../e2e/preloaded.ts";
import { queueStates, stage } from "../e2e/stage.ts";
import { fixtureBytes } from "../fixtures.ts";
import { queueEntries, type Relay } from "../relay.ts";

vi.setConfig({ testTimeout: 120_000 });

const [ALICE, QUINN] = ["alice@example.com", "quinn@example.com"];
const OTHERS = 4;
const PATIENT = { timeout: 20_000 };
const SAYS = /has ended 3 times or more while this message was worked on/;
const isFoundOut = ({ event, fault }: Record<string, unknown>) => event === "service.fault" && SAYS.test(String(fault));

/** Starts it again each time it dies, as a service manager does, until the message is found out; how often that was. */
async function startsNeeded(relay: Relay): Promise<number> {
  for (let starts = 1; ; starts++) {
    // it may die before it says that it has started
    await relay.start().catch(() => undefined);
    const { process } = relay;
    const died = process.signalCode === null ? once(process, "exit").then(() => "died") : Promise.resolve("died");
    if ((await Promise.race([died, relay.event(isFoundOut).then(() => "found out")])) === "found out") return starts;
    expect(starts).toBeLessThan(10);
  }
}

test("CONF-06: a mail that kills the process is left alone after three more times, and the others get theirs", async () => {
  const people = Buffer.concat(["alice", "quinn"].map((name) => fixtureBytes(`smime/certs/${name}.pem`)));
  const yaml = "encryption: { subject: hide }\nsmime: { keyStore: { file: people.pem } }\nretry: { first: 1s }";
  const { relay, upstream } = await stage(yaml, { "people.pem": people }, killedByRsaKeysOf(4096));
  // the others are on their way when the process dies
  upstream.behaviour.reply = async ({ verb }) => {
    if (verb === "DOT") await sleep(500);
    return undefined;
  };
  const died = once(relay.process, "exit");
  for (let number = 1; number <= OTHERS; number++)
    expect(await sendMail(relay.port, { to: [ALICE], message: canaryMail(`${number}`, ALICE) })).toMatch(/^250/);
  // the reply may be lost with the process
  await sendMail(relay.port, { to: [QUINN], message: canaryMail("deadly", QUINN) }).catch(() => undefined);
  await died;

  // in the first of these lives it is one of several, in the next two it is alone, in the fourth it is not touched
  expect(await startsNeeded(relay)).toBe(4);
  await expect.poll(() => upstream.transactions.length, PATIENT).toBeGreaterThanOrEqual(OTHERS);
  const arrived = new Set(
    upstream.transactions.map(({ data }) => /^Message-ID: .*$/im.exec(data.toString("latin1"))?.[0]),
  );
  expect(arrived.size).toBe(OTHERS);
  await expect
    .poll(() => queueStates(relay), PATIENT)
    .toEqual([...Array.from({ length: OTHERS }, () => `${ALICE} delivered`), `${QUINN} queued`]);
  await expectNoCanary(relay, [upstream]);

  // new mail flows, and an operator may try the deadly one once more
  expect(await sendMail(relay.port, { to: [ALICE], message: canaryMail("5", ALICE) })).toMatch(/^250/);
  await expect.poll(() => upstream.transactions.some(({ data }) => data.includes("JIRA.10042.5@")), PATIENT).toBe(true);
  const deadly = (await queueEntries(relay)).find(({ recipients }) => recipients[0]?.address === QUINN)!;
  expect(deadly.recipients[0]?.lastReply).toMatch(SAYS);
  const diesAgain = once(relay.process, "exit");
  expect((await relay.run(["queue", "retry", deadly.id])).code).toBe(0);
  await diesAgain;
});
