// Incoming mail while things change around it: settings, revocation lists, links that were sent.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { fixture, fixtureBytes } from "../fixtures.ts";
import { gnupgHome } from "../pgp/gnupg.ts";
import { exportedKeys, pgpSignedMail } from "../pgp/signed-mail.ts";
import type { Relay } from "../relay.ts";
import { clearSignedMail, fixtureSigner, opensslSign, textEntity } from "../smime/signed-mail.ts";
import { expectArrived, field, protection, readPgp } from "./arrived.ts";
import { authenticated, deliver, harvested, inboundStage } from "./inbound-stage.ts";
import { issueMail, sendMail } from "./jira.ts";
import { queueStates } from "./stage.ts";

const [ALICE, JOE] = ["alice@example.com", "joe@example.org"];

const jiraWrites = (relay: Relay, id: string, to: string) =>
  sendMail(relay.port, { to: [to], message: issueMail(id, { to, text: "secret" }) });
const fromAlice = () => {
  const entity = textEntity();
  const cms = opensslSign(entity, { by: fixtureSigner("alice"), companions: [fixture("smime/certs/issuing.pem")] });
  return authenticated(clearSignedMail({ from: ALICE }, entity, cms), "example.com");
};
const waiting = async (relay: Relay) =>
  JSON.parse((await relay.run(["harvest", "list", "--json"])).stdout.toString()) as {
    id: number;
    state: string;
    fingerprint: string;
  }[];
const reconfigure = (relay: Relay, change: (yaml: string) => string) =>
  writeFileSync(relay.configFile, change(readFileSync(relay.configFile, "utf8")));

test.each([
  ["inbound is switched off", (yaml: string) => yaml.replace(/^inbound:.*$/m, ""), "switched off; see inbound"],
  ["there is no next hop", (yaml: string) => yaml.replace(/forward: \{[^}]*\}/, "forward: none"), "inbound.forward"],
])(
  "mail that was accepted to be passed on waits when %s, and goes on when there is one again",
  async (_what, change, why) => {
    const { relay, nextHop } = await inboundStage({ yaml: "retry: { first: 1s }" });
    nextHop.behaviour.reply = ({ verb }) => (verb === "MAIL" ? "451 4.3.0 later" : undefined);
    await deliver(relay, issueMail("1"));
    await relay.event(({ event }) => event === "delivery.deferred");
    await relay.stop();
    const before = readFileSync(relay.configFile, "utf8");
    reconfigure(relay, change);
    await relay.start();
    const deferred = await relay.event(
      ({ event, reply }) => event === "delivery.deferred" && String(reply).includes(why),
    );
    expect(deferred["recipient"]).toBe("jira@example.com");
    expect(await queueStates(relay)).toEqual(["jira@example.com queued"]);
    await relay.stop();
    nextHop.behaviour.reply = () => undefined;
    reconfigure(relay, () => before);
    await relay.start();
    await nextHop.waitFor(1);
  },
);

test("a list that is missing takes no waiting key away: the mail waits, and so does the key until the list is there", async () => {
  const crl = fixtureBytes("smime/crl/issuing.crl.pem");
  const { relay, upstream } = await inboundStage(
    {
      yaml: [
        "smime: { trust: { anchors: [issuing.pem], crls: [issuing.crl], onMissingCrl: wait } }",
        "encryption: { fallback: allow }",
        "retry: { first: 1s }",
      ].join("\n"),
    },
    { "issuing.crl": crl },
  );
  await deliver(relay, fromAlice());
  await harvested(relay, "deferred", ALICE);
  await relay.stop();
  rmSync(`${relay.folder}/issuing.crl`);
  await relay.start();
  await jiraWrites(relay, "1", ALICE);
  const deferred = await relay.event(({ event, recipient }) => event === "delivery.deferred" && recipient === ALICE);
  expect(String(deferred["reply"])).toContain("smime.trust.crls");
  const [entry] = await waiting(relay);
  const approved = await relay.run(["harvest", "approve", String(entry!.id)]);
  expect([approved.code, approved.stderr]).toEqual([1, expect.stringContaining("waits on; see smime.trust.crls")]);
  expect(await waiting(relay)).toMatchObject([{ state: "deferred" }]);
  expect(upstream.transactions).toEqual([]);
  await relay.stop();
  writeFileSync(`${relay.folder}/issuing.crl`, crl);
  await relay.start();
  await expectArrived(upstream, [`${ALICE} smime`]);
});

test("HARV-41: a second mail with the new key leaves the link that was sent as good as it was, and a third key asks nothing that day", async () => {
  const [home, other, third] = [gnupgHome(true), gnupgHome(false), gnupgHome(false)];
  onTestFinished(() => [home, other, third].forEach((one) => one.close()));
  for (const one of [other, third])
    one.run(["--passphrase", "", "--quick-generate-key", `Joe <${JOE}>`, "future-default", "default", "never"]);
  const signedBy = (one: typeof home) => {
    const keys = [exportedKeys(one, [JOE], "armored")];
    return authenticated(pgpSignedMail(one, { from: JOE, signer: JOE, signedAt: Date.now(), keys }), "example.org");
  };
  const { relay, upstream } = await inboundStage();
  await jiraWrites(relay, "1", JOE);
  await deliver(relay, signedBy(home), { from: JOE });
  await harvested(relay, "learned", JOE);
  for (const one of [other, other, third]) await deliver(relay, signedBy(one), { from: JOE });
  await relay.event(() => relay.events.filter(({ event }) => event === "harvest.pending").length === 3);
  const isQuestion = (one: { data: Buffer }) =>
    protection(one as never) === "pgp" && field(one.data, "From").includes("postmaster@");
  await upstream.until(() => upstream.transactions.some(isQuestion), 20_000);
  const question = readPgp(upstream.transactions.find(isQuestion)!.data).replace(/=\r\n/g, "");
  const [, token] = /\/confirm\/([A-Za-z0-9_-]{43})/.exec(question)!;
  const confirmed = await fetch(`http://127.0.0.1:${relay.webPort}/confirm/${token!}`, { method: "POST" });
  expect(confirmed.status).toBe(200);
  expect(upstream.transactions.filter(isQuestion)).toHaveLength(1);
});

test("what the command decides of a waiting key is told by the process that serves as its own, and counted", async () => {
  const { relay } = await inboundStage();
  const counted = async (result: string) => {
    const metrics = await (await fetch(`http://127.0.0.1:${relay.metricsPort}/metrics`)).text();
    return metrics.includes(`\nsealpost_harvested_keys_total{kind="smime",result="${result}"} 1\n`);
  };
  for (const [round, decision, event] of [
    [1, "reject", "ignored"],
    [2, "approve", "learned"],
  ] as const) {
    await deliver(relay, fromAlice());
    await relay.event(() => relay.events.filter((one) => one.event === "harvest.deferred").length === round);
    const [entry] = await waiting(relay);
    expect(await counted(event)).toBe(false);
    expect((await relay.run(["harvest", decision, String(entry!.id)])).code).toBe(0);
    const { kind, fingerprint, reason, recipient } = await harvested(relay, event, ALICE);
    const expected = ["smime", entry!.fingerprint, "decided-by-operator", undefined];
    expect([kind, fingerprint, reason, recipient]).toEqual(expected);
    expect(await counted(event)).toBe(true);
  }
});

test("with plusAddress strip the first mail to alice+jira@ finds the key that waits for alice@", async () => {
  const { relay, upstream } = await inboundStage({ yaml: "encryption: { fallback: allow, plusAddress: strip }" });
  await deliver(relay, fromAlice());
  await harvested(relay, "deferred", ALICE);
  await jiraWrites(relay, "1", "alice+jira@example.com");
  await expectArrived(upstream, ["alice+jira@example.com smime"]);
});
