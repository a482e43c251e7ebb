// Mail that cannot leave now: held without a key, tried again, given up; and what recipients and senders are told.
import { copyFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { fixture, fixtureBytes } from "../fixtures.ts";
import type { Relay } from "../relay.ts";
import { startUpstream, type Upstream } from "../upstream.ts";
import { expectArrived, field, protection, readSmime } from "./arrived.ts";
import { issueMail, sendMail } from "./jira.ts";
import { KEY_STORES, queueStates, stage } from "./stage.ts";

const [ALICE, QUINN, NOBODY, BOB] = ["alice@example.com", "quinn@example.com", "nobody@example.com", "bob@example.com"];
const SENDER = "jira@example.com";
const SECRET_TEXT = "The code is 4711.";

const secretMail = (id: string, to: string, fields: Record<string, string> = {}) =>
  issueMail(id, { to, fields, text: SECRET_TEXT });

const noticeTo = (upstream: Upstream, address: string) =>
  upstream.transactions.filter((one) => protection(one) === "notice" && one.rcptTo.includes(address));

async function readyz(relay: Relay): Promise<{ status: number; body: Record<string, Record<string, unknown>> }> {
  const answer = await fetch(`http://127.0.0.1:${relay.webPort}/readyz`);
  return { status: answer.status, body: (await answer.json()) as Record<string, Record<string, unknown>> };
}

/** RFC 3464: the per-message fields and one block for each recipient. */
function deliveryStatus(message: Buffer): Record<string, string>[] {
  const boundary = /boundary="([^"]+)"/.exec(field(message, "Content-Type"))?.[1] ?? "";
  const part = message
    .toString("latin1")
    .split(`--${boundary}`)
    .find((one) => /^\r\nContent-Type: message\/delivery-status/im.test(one));
  const body = part?.slice(part.indexOf("\r\n\r\n", 2) + 4).trim() ?? "";
  return body.split("\r\n\r\n").map((block) =>
    Object.fromEntries(
      block
        .replace(/\r\n[ \t]+/g, " ")
        .split("\r\n")
        .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]),
    ),
  );
}

describe("held without a key", () => {
  test("the recipient gets one report a day for a reason, without content, and the sender no DSN", async () => {
    const { relay, upstream } = await stage(KEY_STORES);
    for (const id of ["1", "2", "3"])
      await sendMail(relay.port, {
        to: [NOBODY],
        message: secretMail(id, NOBODY, { Subject: "[JIRA] (SEC-1) salaries" }),
      });
    // a mail that arrives behind them shows that nothing more came
    await sendMail(relay.port, { to: [QUINN], message: secretMail("4", QUINN) });
    await expectArrived(upstream, [`${NOBODY} notice`, `${QUINN} smime`]);
    const [report] = noticeTo(upstream, NOBODY);
    expect(report!.mailFrom).toBe("");
    expect(field(report!.data, "Auto-Submitted")).toBe("auto-replied");
    expect(report!.data.toString("latin1")).not.toMatch(/4711|salaries|SEC-1/);
    expect(report!.data.toString("latin1")).toContain("No certificate and no public key of yours is known.");
    expect(await queueStates(relay)).toEqual(
      [...Array.from({ length: 3 }, () => `${NOBODY} held`), `${NOBODY} delivered`, `${QUINN} delivered`].sort(),
    );
  });

  test("keys add releases it, encrypted, within seconds", async () => {
    const { relay, upstream } = await stage("encryption: { fallback: block }");
    await sendMail(relay.port, { to: [BOB], message: secretMail("1", BOB) });
    await relay.event(({ event }) => event === "delivery.held");
    const added = await relay.run(["keys", "add", BOB, fixture("smime/certs/bob.pem")]);
    expect(added).toMatchObject({ code: 0, stderr: "" });
    await upstream.waitFor(1, 5_000);
    await expectArrived(upstream, [`${BOB} smime`]);
    expect(await readSmime(upstream.transactions[0]!.data, "bob")).toContain(SECRET_TEXT);
    await relay.event(({ event }) => event === "delivery.released");
  });

  test("a key store that changes on disk releases it, encrypted, within seconds", async () => {
    const { relay, upstream } = await stage(`encryption: { fallback: block }\n${KEY_STORES}`);
    await sendMail(relay.port, { to: [BOB], message: secretMail("1", BOB) });
    // bob has an OpenPGP key in the store: the first mail proves that the relay works
    await expectArrived(upstream, [`${BOB} pgp`]);
    const mia = "mia@example.com";
    await sendMail(relay.port, { to: [mia], message: secretMail("2", mia) });
    await relay.event(({ event }) => event === "delivery.held");
    const store = join(relay.folder, "people.pem");
    copyFileSync(fixture("smime/certs/mia.pem"), `${store}.new`);
    renameSync(`${store}.new`, store);
    await upstream.waitFor(2, 8_000);
    await expectArrived(upstream, [`${BOB} pgp`, `${mia} smime`]);
    expect(await readSmime(upstream.transactions[1]!.data, "mia")).toContain(SECRET_TEXT);
  });
});

describe("what the sender is told", () => {
  test("REL-25: block without hold: one DSN that parses as RFC 3464, from the null reverse-path, without content", async () => {
    const { relay, upstream } = await stage(`${KEY_STORES}\nencryption: { fallback: block, hold: 0 }`);
    await sendMail(relay.port, { to: [NOBODY, ALICE], message: secretMail("1", `${NOBODY}, ${ALICE}`) });
    await expectArrived(upstream, [`${ALICE} smime`, `${SENDER} notice`]);
    const [dsn] = noticeTo(upstream, SENDER);
    expect(dsn!.mailFrom).toBe("");
    expect(field(dsn!.data, "Content-Type")).toMatch(/^multipart\/report;.*report-type="?delivery-status/);
    const [message, ...recipients] = deliveryStatus(dsn!.data);
    expect(message).toMatchObject({ "Reporting-MTA": "dns; relay.example.com" });
    expect(recipients).toHaveLength(1);
    expect(recipients[0]).toMatchObject({
      "Final-Recipient": `rfc822; ${NOBODY}`,
      Action: "failed",
      Status: "5.7.5",
      "Diagnostic-Code": "x-sealpost; no usable key: no-key",
    });
    expect(dsn!.data.toString("latin1")).toContain("Message-ID: <JIRA.10042.1@jira.example.com>");
    expect(dsn!.data.toString("latin1")).not.toMatch(/4711|Door codes/);
    expect(await queueStates(relay)).toEqual([`${ALICE} delivered`, `${NOBODY} failed`, `${SENDER} delivered`].sort());
  });

  test("one of three recipients refused upstream: the two others get it once, the DSN names the one", async () => {
    const { relay, upstream } = await stage("encryption: { fallback: allow }");
    const refused = "left@example.com";
    upstream.behaviour.reply = ({ verb, line }) =>
      verb === "RCPT" && line.includes(refused) ? "550 5.1.1 no such user" : undefined;
    await sendMail(relay.port, { to: [NOBODY, refused, BOB], message: secretMail("1", NOBODY) });
    await expectArrived(upstream, [`${NOBODY} clear`, `${BOB} clear`, `${SENDER} notice`]);
    const [, ...recipients] = deliveryStatus(noticeTo(upstream, SENDER)[0]!.data);
    expect(recipients).toHaveLength(1);
    expect(recipients[0]).toMatchObject({ "Final-Recipient": `rfc822; ${refused}`, Status: "5.1.1" });
    expect(recipients[0]!["Diagnostic-Code"]).toMatch(/^smtp; 550 5\.1\.1 no such user/);
  });

  test("REL-26, REL-27: nothing for the null reverse-path and for NOTIFY=NEVER", async () => {
    const { relay, upstream } = await stage(`${KEY_STORES}\nencryption: { fallback: block, hold: 0 }`);
    await sendMail(relay.port, { from: "", to: [NOBODY], message: secretMail("1", NOBODY) });
    const never = { to: [NOBODY], rcptParameters: " NOTIFY=NEVER", message: secretMail("2", NOBODY) };
    expect(await sendMail(relay.port, never)).toMatch(/^250 /);
    await expect.poll(() => relay.events.filter(({ event }) => event === "delivery.failed").length).toBe(2);
    // what would have been said is said before this one
    await sendMail(relay.port, { to: [ALICE], message: secretMail("3", ALICE) });
    await expectArrived(upstream, [`${ALICE} smime`]);
    expect(await queueStates(relay)).toEqual([`${ALICE} delivered`, `${NOBODY} failed`, `${NOBODY} failed`]);
  });
});

describe("tried again", () => {
  test("after a 4xx the recipient waits by the schedule, and the others are not sent to again", async () => {
    const { relay, upstream } = await stage("retry: { first: 1s }\nencryption: { fallback: allow }");
    let refusals = 0;
    upstream.behaviour.reply = ({ verb, line }) =>
      verb === "RCPT" && line.includes(BOB) && refusals++ < 2 ? "451 4.2.1 try later" : undefined;
    await sendMail(relay.port, { to: [NOBODY, BOB], message: secretMail("1", NOBODY) });
    await expectArrived(upstream, [`${NOBODY} clear`, `${BOB} clear`]);
    const deferred = relay.events.filter(({ event }) => event === "delivery.deferred");
    expect(deferred.map((one) => [one["recipient"], one["attempt"]])).toEqual([
      [BOB, 1],
      [BOB, 2],
    ]);
    const times = deferred.map((one) => Date.parse(one["nextAttemptAt"] as string) - Date.parse(one["time"] as string));
    // retry.first and then 1.5 times as long, less up to a tenth
    expect(times[0]).toBeGreaterThan(850);
    expect(times[0]).toBeLessThanOrEqual(1_000);
    expect(times[1]).toBeGreaterThan(1_300);
    expect(times[1]).toBeLessThanOrEqual(1_500);
  });

  test("while the upstream is down everything waits, and leaves when it is back", async () => {
    const { relay, upstream } = await stage(`retry: { first: 1s }\n${KEY_STORES}`);
    await upstream.close();
    for (const id of ["1", "2", "3"])
      expect(await sendMail(relay.port, { to: [ALICE], message: secretMail(id, ALICE) })).toMatch(/^250 /);
    await relay.event(({ event }) => event === "upstream.down");
    expect((await readyz(relay)).body["upstream"]).toMatchObject({ ok: false });
    const back = await startUpstream({ port: upstream.port });
    onTestFinished(() => back.close());
    await expectArrived(
      back,
      [ALICE, ALICE, ALICE].map((address) => `${address} smime`),
    );
    await relay.event(({ event }) => event === "upstream.up");
    expect((await readyz(relay)).body["upstream"]).toMatchObject({ ok: true });
  });
});

describe("a key store that cannot be used", () => {
  const yaml = "retry: { first: 1s }\nsmime: { keyStore: { file: people.p7b } }";
  const keystoreFaults = (relay: Relay) => relay.events.filter(({ event }) => event === "keystore.failed");

  test("broken at the start: mail is taken and waits, and leaves encrypted once the file is mended", async () => {
    const { relay, upstream } = await stage(`${yaml}\nencryption: { fallback: allow }`, {
      "people.p7b": "not a store",
    });
    for (const id of ["1", "2"])
      expect(await sendMail(relay.port, { to: [ALICE], message: secretMail(id, ALICE) })).toMatch(/^250 /);
    await expect
      .poll(() => relay.events.filter(({ event }) => event === "delivery.deferred").length, { timeout: 10_000 })
      .toBeGreaterThanOrEqual(4);
    expect(relay.events.filter(({ event }) => event === "treatment.decided").map((one) => one["treatment"])).toEqual(
      expect.arrayContaining(["later"]),
    );
    expect(keystoreFaults(relay)).toHaveLength(1);
    expect(String(keystoreFaults(relay)[0]!["fault"])).toContain("see smime.keyStore.file");
    const state = await readyz(relay);
    expect(state.status).toBe(200);
    expect(state.body["sources"]).toMatchObject({ "keystore (smime)": { ok: false } });
    expect(upstream.transactions).toEqual([]);
    writeFileSync(join(relay.folder, "people.p7b"), fixtureBytes("smime/bundles/all.p7b"));
    await expectArrived(upstream, [`${ALICE} smime`, `${ALICE} smime`]);
    expect((await readyz(relay)).body["sources"]).toMatchObject({ "keystore (smime)": { ok: true } });
  });

  test("broken or gone later: the last good set stays in use, and the very same file put back is good again", async () => {
    const { relay, upstream } = await stage(yaml, { "people.p7b": fixtureBytes("smime/bundles/all.p7b") });
    await sendMail(relay.port, { to: [ALICE], message: secretMail("1", ALICE) });
    await expectArrived(upstream, [`${ALICE} smime`]);
    const store = join(relay.folder, "people.p7b");
    renameSync(store, `${store}.away`);
    await relay.event(({ event }) => event === "keystore.failed");
    await sendMail(relay.port, { to: [QUINN], message: secretMail("2", QUINN) });
    await expectArrived(upstream, [`${ALICE} smime`, `${QUINN} smime`]);
    expect((await readyz(relay)).body["sources"]).toMatchObject({ "keystore (smime)": { ok: false } });
    renameSync(`${store}.away`, store);
    await expect
      .poll(async () => (await readyz(relay)).body["sources"], { timeout: 10_000 })
      .toMatchObject({
        "keystore (smime)": { ok: true },
      });
    writeFileSync(store, "garbage");
    await expect.poll(() => keystoreFaults(relay).length, { timeout: 10_000 }).toBe(2);
    await sendMail(relay.port, { to: [ALICE], message: secretMail("3", ALICE) });
    await expectArrived(
      upstream,
      [ALICE, ALICE, QUINN].map((address) => `${address} smime`),
    );
  });
});
