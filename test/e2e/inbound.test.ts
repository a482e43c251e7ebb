// Incoming mail seen from outside: passed on byte for byte, and whoever signs it gets encrypted mail from then on.
import { describe, expect, onTestFinished, test } from "vitest";
import { fixture, fixtureBytes } from "../fixtures.ts";
import { gnupgHome } from "../pgp/gnupg.ts";
import { exportedKeys, pgpSignedMail } from "../pgp/signed-mail.ts";
import type { Relay } from "../relay.ts";
import {
  bouncyCastleSign,
  clearSignedMail,
  fixtureSigner,
  opaqueSignedMail,
  opensslSign,
  OUTLOOK,
  signedMail,
  textEntity,
  THUNDERBIRD,
} from "../smime/signed-mail.ts";
import { expectArrived, field, protection, readPgp, readSmime } from "./arrived.ts";
import { authenticated, deliver, harvested, inboundStage } from "./inbound-stage.ts";
import { issueMail, sendMail } from "./jira.ts";
import { queueStates } from "./stage.ts";

const [ALICE, BOB, JOE] = ["alice@example.com", "bob@example.com", "joe@example.org"];
const SECRET = "The code is 4711.";
const issuing = fixture("smime/certs/issuing.pem");

const jiraWrites = (relay: Relay, id: string, ...to: string[]) =>
  sendMail(relay.port, { to, message: issueMail(id, { to: to.join(", "), text: SECRET }) });
/** Alice's mail as openssl signs it, authenticated by the border. */
const fromAlice = (options: readonly string[] = []) => {
  const entity = textEntity();
  const cms = opensslSign(entity, { by: fixtureSigner("alice"), companions: [issuing], options });
  return authenticated(clearSignedMail({ from: ALICE }, entity, cms), "example.com");
};
const list = async (relay: Relay, ...args: string[]) =>
  JSON.parse((await relay.run(["harvest", "list", "--json", ...args])).stdout.toString()) as {
    id: number;
    state: string;
    address: string;
    fingerprint: string;
  }[];
const ignored = async (relay: Relay) => String((await harvested(relay, "ignored"))["reason"]);

function pgpHome() {
  const home = gnupgHome(true);
  onTestFinished(() => home.close());
  return home;
}
const fromJoe = (home: ReturnType<typeof gnupgHome>) =>
  authenticated(
    pgpSignedMail(home, { from: JOE, signer: JOE, signedAt: Date.now(), keys: [exportedKeys(home, [JOE], "armored")] }),
    "example.org",
  );

describe("the second way in", () => {
  test("only the configured recipients are taken, all others are refused: never an open relay", async () => {
    const { relay, nextHop } = await inboundStage();
    expect(await deliver(relay, issueMail("1"), { to: ["jira@example.com"] })).toMatch(/^250 /);
    expect(await deliver(relay, issueMail("2"), { to: ["any@issues.example.com"] })).toMatch(/^250 /);
    for (const to of ["ann@example.com", "jira@example.com.evil.test", "x@sub.issues.example.com"])
      expect(await deliver(relay, issueMail("3"), { to: [to] }), to).toMatch(/^550 5\.7\.1 /);
    await nextHop.waitFor(2);
  });

  test("HARV-44: what is passed on differs by one Received field at the top, byte for byte, whatever is in it", async () => {
    const { relay, nextHop } = await inboundStage();
    const odd = Buffer.concat([
      Buffer.from("From: x@example.com\r\nSubject: odd\r\nContent-Type: text/plain\r\n\r\n.\r\n..dots\r\n \r\n"),
      Buffer.from([0xff, 0xfe, 0x80, 0x0d, 0x0a]),
    ]);
    const mails = [
      fromAlice(),
      odd,
      authenticated(signedMail({ from: ALICE }, fixtureSigner("selfie")), "example.com"),
    ];
    for (const mail of mails) expect(await deliver(relay, mail)).toMatch(/^250 /);
    const arrived = await nextHop.waitFor(mails.length);
    const bodies = arrived.map(({ data }) => data.toString("latin1").replace(/^Received: [^]*?\r\n(?![ \t])/, ""));
    expect(bodies.sort()).toEqual(mails.map((mail) => mail.toString("latin1")).sort());
    expect(arrived.every(({ data }) => data.toString("latin1").startsWith("Received: from "))).toBe(true);
  });

  test("copies end here: they teach, and nothing is sent on", async () => {
    const { relay, nextHop } = await inboundStage({ forward: false });
    await deliver(relay, fromAlice());
    await harvested(relay, "deferred", ALICE);
    await relay.event(({ event, treatment }) => event === "delivery.delivered" && treatment === "copy");
    expect(nextHop.commands).toEqual([]);
    expect(await queueStates(relay)).toEqual(["jira@example.com delivered"]);
  });

  test("while the upstream is down incoming mail goes on, and the other way round", async () => {
    const { relay, upstream, nextHop } = await inboundStage({ yaml: "encryption: { fallback: allow }" });
    await upstream.close();
    await jiraWrites(relay, "1", JOE);
    await relay.event(({ event }) => event === "upstream.down");
    for (let id = 0; id < 5; id++) await deliver(relay, issueMail(String(id)));
    await nextHop.waitFor(5);
  });

  test("a next hop that is down makes the mail wait; one that refuses it makes a DSN to its sender", async () => {
    const { relay, upstream, nextHop } = await inboundStage();
    nextHop.behaviour.reply = ({ verb }) => (verb === "RCPT" ? "550 5.1.1 no such mailbox" : undefined);
    await deliver(relay, issueMail("1"), { from: "sender@elsewhere.example" });
    await expectArrived(upstream, ["sender@elsewhere.example notice"]);
    expect(field(upstream.transactions[0]!.data, "Content-Type")).toContain("report-type=delivery-status");
    nextHop.behaviour.reply = ({ verb }) => (verb === "MAIL" ? "451 4.3.0 later" : undefined);
    await deliver(relay, issueMail("2"));
    await relay.event(({ event }) => event === "delivery.deferred");
    expect(await queueStates(relay)).toContain("jira@example.com queued");
  });

  test("a message that goes in a circle is refused", async () => {
    const { relay } = await inboundStage();
    const hop = "Received: from a ([192.0.2.1])\r\n by relay.example.com (Sealpost) with ESMTP id 1;\r\n now\r\n";
    const circling = Buffer.concat([Buffer.from(hop.repeat(4)), issueMail("1")]);
    expect(await deliver(relay, circling)).toMatch(/^554 5\.4\.6 /);
    const far = Buffer.concat([Buffer.from("Received: from b by c; now\r\n".repeat(100)), issueMail("1")]);
    expect(await deliver(relay, far)).toMatch(/^554 5\.4\.6 /);
  });
});

describe("learned from signed mail", () => {
  test("HARV-42, R10, R11: a certificate waits for its user and is used for the very first mail that Jira writes", async () => {
    const { relay, upstream } = await inboundStage();
    await deliver(relay, fromAlice());
    const deferred = await harvested(relay, "deferred", ALICE);
    expect(deferred).toMatchObject({ kind: "smime", reason: expect.stringContaining("dmarc") as string });
    expect(await list(relay)).toMatchObject([{ state: "deferred", address: ALICE }]);
    // a crash loses no deferred key
    await relay.kill();
    await relay.start();
    await jiraWrites(relay, "1", ALICE);
    await expectArrived(upstream, [`${ALICE} smime`]);
    expect(await readSmime(upstream.transactions[0]!.data, "alice")).toContain(SECRET);
    await harvested(relay, "promoted", ALICE);
    expect(await list(relay)).toEqual([]);
    const own = JSON.parse((await relay.run(["keys", "show", ALICE, "--json"])).stdout.toString()) as object[];
    expect(own).toMatchObject([{ origin: "incoming", fit: true }]);
  });

  test("R18, R19: an OpenPGP key that comes with a signed mail is learned the same way", async () => {
    const { relay, upstream } = await inboundStage();
    await deliver(relay, fromJoe(pgpHome()), { from: JOE });
    await harvested(relay, "deferred", JOE);
    await jiraWrites(relay, "1", JOE);
    await expectArrived(upstream, [`${JOE} pgp`]);
    expect(readPgp(upstream.transactions[0]!.data)).toContain(SECRET);
  });

  test("a person whom Jira has written to before is known: the next mail is encrypted at once, and a held one leaves", async () => {
    const { relay, upstream } = await inboundStage();
    await jiraWrites(relay, "1", ALICE);
    await expectArrived(upstream, [`${ALICE} notice`]);
    await deliver(relay, fromAlice());
    await harvested(relay, "learned", ALICE);
    await jiraWrites(relay, "2", ALICE);
    await expectArrived(upstream, [`${ALICE} notice`, `${ALICE} smime`, `${ALICE} smime`]);
  });

  test("HARV-16: an upload outranks what is learned", async () => {
    const { relay, upstream } = await inboundStage();
    expect((await relay.run(["keys", "add", ALICE, fixture("smime/certs/alice-new.pem")])).code).toBe(0);
    await deliver(relay, fromAlice());
    await jiraWrites(relay, "1", ALICE);
    await expectArrived(upstream, [`${ALICE} smime`]);
    expect(await readSmime(upstream.transactions[0]!.data, "alice-new")).toContain(SECRET);
  });

  test.each([
    ["Thunderbird's", () => clearSignedMail({ from: ALICE }, textEntity(), cmsOf(textEntity()), THUNDERBIRD)],
    ["Outlook's", () => clearSignedMail({ from: ALICE }, textEntity(), cmsOf(textEntity()), OUTLOOK)],
    ["an opaque", () => opaqueSignedMail({ from: ALICE }, cmsOf(textEntity(), true))],
  ])("%s form of signed mail teaches", async (_, make) => {
    const { relay } = await inboundStage({ forward: false });
    await deliver(relay, authenticated(make(), "example.com"));
    expect(await harvested(relay, "deferred", ALICE)).toMatchObject({ kind: "smime" });
  });

  test("a signer with two certificates teaches the one for encryption", async () => {
    const { relay, upstream } = await inboundStage();
    const entity = textEntity();
    const cms = opensslSign(entity, {
      by: fixtureSigner("alice-sign"),
      companions: [fixture("smime/certs/alice-new.pem"), issuing],
    });
    await deliver(relay, authenticated(clearSignedMail({ from: ALICE }, entity, cms), "example.com"));
    await harvested(relay, "deferred", ALICE);
    await jiraWrites(relay, "1", ALICE);
    await expectArrived(upstream, [`${ALICE} smime`]);
    expect(await readSmime(upstream.transactions[0]!.data, "alice-new")).toContain(SECRET);
  });

  test("auto: what the signer's program announces is used for the signer, what everybody reads for everybody else", async () => {
    const yaml = [
      "smime:",
      "  contentEncryption: auto",
      "  keyStore: { file: quinn.pem }",
      "  trust: { anchors: [root.pem], intermediates: [issuing.pem] }",
    ].join("\n");
    const { relay, upstream } = await inboundStage({ yaml }, { "quinn.pem": fixtureBytes("smime/certs/quinn.pem") });
    await deliver(relay, authenticated(gcmCapableMail(), "example.com"));
    await harvested(relay, "deferred", ALICE);
    await jiraWrites(relay, "1", ALICE);
    await jiraWrites(relay, "2", "quinn@example.com");
    await jiraWrites(relay, "3", ALICE, "quinn@example.com");
    await upstream.waitFor(3);
    const kinds = upstream.transactions.map(
      ({ rcptTo, data }) =>
        `${rcptTo.length} ${rcptTo[0] ?? ""} ${field(data, "Content-Type").includes("authEnveloped") ? "gcm" : "cbc"}`,
    );
    expect(kinds.sort()).toEqual(["1 alice@example.com gcm", "1 quinn@example.com cbc", "2 alice@example.com cbc"]);
  });
});

const cmsOf = (entity: Buffer, isOpaque = false) =>
  opensslSign(entity, { by: fixtureSigner("alice"), companions: [issuing], isOpaque });

/** openssl announces AES-256-GCM nowhere; this signer does. */
function gcmCapableMail(): Buffer {
  const entity = textEntity();
  const [cms] = bouncyCastleSign([
    {
      ...{ by: fixtureSigner("alice"), content: entity, companions: [issuing] },
      ...{ algorithm: "SHA256withRSA", traits: ["capabilities", "gcm"] },
    },
  ]);
  return clearSignedMail({ from: ALICE }, entity, cms!);
}

describe("who may not teach", () => {
  test.each([
    [
      "HARV-01: a self-signed certificate with somebody's address",
      () => by("selfie", "selfie@example.com"),
      /^untrusted$/,
    ],
    ["HARV-02: a signer that is not the author", () => by("bob", ALICE), /author|mailbox/],
    ["HARV-03: a From that DMARC does not vouch for", () => notAuthenticated(), /dmarc|Authentication-Results/i],
    ["HARV-31: a list", () => fromAliceWith("List-Id: <x.example.com>"), /list/],
    ["HARV-31: an automatic answer", () => fromAliceWith("Auto-Submitted: auto-replied"), /program/],
    ["HARV-29: two From fields", () => fromAliceWith(`From: ${BOB}`), /From/],
    ["HARV-10: a signature without certificates", () => fromAlice(["-nocerts"]), /certificate/],
    ["HARV-20: a SHA-1 signature", () => fromAlice(["-md", "sha1"]), /sha1/i],
  ])("%s is ignored with the reason, and the mail goes on", async (_, make, reason) => {
    const { relay, nextHop } = await inboundStage();
    await deliver(relay, make());
    expect(await ignored(relay)).toMatch(reason);
    await nextHop.waitFor(1);
    expect(await list(relay)).toEqual([]);
  });

  test("HARV-01: a stranger's certificate is told without advice to believe it, and by name only with log.addresses full", async () => {
    for (const addresses of ["full", "hashed"] as const) {
      const { relay, nextHop } = await inboundStage({ yaml: `log: { level: debug, addresses: ${addresses} }` });
      await deliver(relay, by("selfie", "selfie@example.com"), { from: "selfie@example.com" });
      const { reason, detail = "" } = await harvested(relay, "ignored");
      await nextHop.waitFor(1);
      expect(reason).toBe("untrusted");
      expect(relay.output).not.toContain("smime.trust");
      if (addresses === "full") expect(detail).toMatch(/CN=Selfie.* is self-signed$/);
      else expect(relay.output).not.toMatch(/selfie/i);
    }
  });

  test("HARV-30: an unsigned mail changes nothing", async () => {
    const { relay, nextHop } = await inboundStage();
    await deliver(relay, fromAlice());
    await harvested(relay, "deferred", ALICE);
    await deliver(relay, authenticated(issueMail("1", { fields: { From: ALICE } }), "example.com"));
    await nextHop.waitFor(2);
    expect(await list(relay)).toMatchObject([{ address: ALICE }]);
  });
});

const by = (signer: string, from: string) => authenticated(signedMail({ from }, fixtureSigner(signer)), "example.com");
const notAuthenticated = () =>
  authenticated(signedMail({ from: ALICE }, fixtureSigner("alice")), "example.com", "fail");
const fromAliceWith = (line: string) =>
  authenticated(signedMail({ from: ALICE, fields: [line] }, fixtureSigner("alice")), "example.com");

describe("a key that is held already", () => {
  test("a newer certificate of the same mailbox is a renewal; the older one that comes again changes nothing", async () => {
    const { relay, upstream } = await inboundStage();
    await jiraWrites(relay, "1", ALICE);
    await deliver(relay, fromAlice());
    await harvested(relay, "learned", ALICE);
    await deliver(relay, by("alice-new", ALICE));
    await relay.event(({ event, reason }) => event === "harvest.learned" && reason === "renewal");
    await deliver(relay, fromAlice());
    await harvested(relay, "ignored", ALICE);
    await jiraWrites(relay, "2", ALICE);
    await upstream.until(() => upstream.transactions.some((one) => field(one.data, "Message-ID").includes(".2@")));
    const last = upstream.transactions.find((one) => field(one.data, "Message-ID").includes(".2@"))!;
    expect(await readSmime(last.data, "alice-new")).toContain(SECRET);
  });

  test("another OpenPGP key waits: the owner is asked, encrypted to the old key; confirmed, it is used", async () => {
    const { relay, upstream } = await inboundStage();
    await jiraWrites(relay, "1", JOE);
    await deliver(relay, fromJoe(pgpHome()), { from: JOE });
    await harvested(relay, "learned", JOE);
    const other = freshHome();
    const made = authenticated(
      pgpSignedMail(other, {
        from: JOE,
        signer: JOE,
        signedAt: Date.now(),
        keys: [exportedKeys(other, [JOE], "armored")],
      }),
      "example.org",
    );
    await deliver(relay, made, { from: JOE });
    await harvested(relay, "pending", JOE);
    const isQuestion = (one: { data: Buffer }) =>
      protection(one as never) === "pgp" && field(one.data, "From").includes("postmaster@");
    await upstream.until(() => upstream.transactions.some(isQuestion), 20_000);
    const question = readPgp(upstream.transactions.find(isQuestion)!.data);
    const link = /http:\/\/\S+\/confirm\/([A-Za-z0-9_-]{43})/.exec(question.replace(/=\r\n/g, ""))!;
    const url = `http://127.0.0.1:${relay.webPort}/confirm/${link[1]!}`;
    // a scanner that follows the link changes nothing
    expect((await fetch(url)).status).toBe(200);
    expect(await list(relay, "--state", "pending")).toHaveLength(1);
    expect((await fetch(url.replace(/.{4}$/, "AAAA"), { method: "POST" })).status).toBe(404);
    expect((await fetch(url, { method: "POST" })).status).toBe(200);
    expect((await fetch(url, { method: "POST" })).status).toBe(404);
    expect(await list(relay)).toEqual([]);
    await jiraWrites(relay, "2", JOE);
    await upstream.until(() => upstream.transactions.some((one) => field(one.data, "Message-ID").includes(".2@")));
    const last = upstream.transactions.find((one) => field(one.data, "Message-ID").includes(".2@"))!;
    const armor = /-----BEGIN PGP MESSAGE-----[^]*-----END PGP MESSAGE-----/.exec(last.data.toString("latin1"))![0];
    expect(other.run(["--decrypt"], Buffer.from(armor)).stdout.toString("latin1")).toContain(SECRET);
  });

  test("harvest approve and reject decide for the owner", async () => {
    const { relay } = await inboundStage();
    await deliver(relay, fromAlice());
    await harvested(relay, "deferred", ALICE);
    const [entry] = await list(relay);
    expect((await relay.run(["harvest", "approve", "999"])).code).toBe(1);
    expect((await relay.run(["harvest", "approve", String(entry!.id)])).code).toBe(0);
    await relay.event(({ event, address }) => event === "harvest.learned" && address === ALICE);
    expect(await list(relay)).toEqual([]);
    await deliver(relay, by("carol", "carol@example.com"));
    await harvested(relay, "deferred", "carol@example.com");
    const [carol] = await list(relay);
    expect((await relay.run(["harvest", "reject", String(carol!.id)])).code).toBe(0);
    expect(await list(relay)).toEqual([]);
  });
});

/** A GnuPG home with one new key of joe's. */
function freshHome() {
  const home = gnupgHome(false);
  onTestFinished(() => home.close());
  const made = home.run([
    "--passphrase",
    "",
    "--quick-generate-key",
    `Joe <${JOE}>`,
    "future-default",
    "default",
    "never",
  ]);
  if (made.status !== 0) throw new Error(made.stderr);
  return home;
}
