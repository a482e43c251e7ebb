// An upstream in trouble: whatever it does, mail waits or fails in the open, others flow, and nothing leaves in clear.
import { describe, expect, onTestFinished, test } from "vitest";
import { field } from "../e2e/arrived.ts";
import { makeAuthority } from "../authority.ts";
import { DROP, HANG, startUpstream, type Answer, type Command } from "../upstream.ts";
import { memoryMiB } from "../process-state.ts";
import { queueEntries } from "../relay.ts";
import { ALICE, faultStage, idOf, LARGE_BYTES, QUINN, type FaultStage } from "./fault-stage.ts";

/** The last event of this kind; waits for one that comes after `from`. */
async function told({ relay }: FaultStage, from: number, kind: string) {
  const found = () => relay.events.slice(from).find(({ event }) => event === kind);
  await expect.poll(found, { timeout: 20_000, message: `${kind} after ${String(from)}` }).toBeDefined();
  return found()!;
}

const at = (verb: string, answer: Answer) => (command: Command) => (command.verb === verb ? answer : undefined);

/** At the connection itself nothing is known of any mail: that is told once, of the upstream. Elsewhere it is told of the recipient. */
const isUnreachable = (verb: string) => ["CONNECT", "EHLO"].includes(verb);

describe("an upstream that answers with trouble for a while", () => {
  const troubles: readonly [string, readonly [string, Answer][]][] = [
    [
      "REL-05: 4xx",
      [
        ["CONNECT", "421 4.3.2 too busy"],
        ["EHLO", "450 4.3.0 later"],
        ["MAIL", "451 4.3.0 later"],
        ["RCPT", "450 4.7.1 greylisted"],
        ["DATA", "451 4.3.0 later"],
        ["DOT", "452 4.3.1 full"],
      ],
    ],
    [
      "REL-11: garbage",
      [
        ["CONNECT", { raw: "SSH-2.0-OpenSSH_9.2\r\n" }],
        ["EHLO", { raw: "250-ok\r\n550 no\r\n" }],
        ["MAIL", { raw: Buffer.from([0xff, 0xfe, 0, 0x0a]) }],
        ["RCPT", { raw: "25\r\n" }],
        ["DATA", "250 fine"],
        ["DOT", { raw: "2".repeat(100_000) }],
      ],
    ],
    [
      "by closing",
      [
        ["EHLO", DROP],
        ["RCPT", DROP],
        ["DOT", DROP],
      ],
    ],
  ];
  test.each(troubles)(
    "%s makes the mail wait at every stage, and it arrives once when that is over",
    async (_, stages) => {
      const stage = await faultStage();
      const { relay, upstream } = stage;
      for (const [verb, answer] of stages) {
        const from = relay.events.length;
        upstream.dropAll();
        upstream.behaviour.reply = at(verb, answer);
        expect(await stage.send()).toMatch(/^250 /);
        const event = await told(stage, from, isUnreachable(verb) ? "upstream.down" : "delivery.deferred");
        if (isUnreachable(verb)) expect(event["reply"]).toContain("upstream 127.0.0.1:");
        upstream.behaviour.reply = () => undefined;
        await stage.expectAllArrived();
      }
      expect(relay.events.filter(({ event }) => event === "dsn.sent")).toEqual([]);
      await stage.expectGoodEnd();
    },
  );
});

test("REL-13: mail for an upstream that is gone waits, is told once, and all of it goes out when it is back", async () => {
  const stage = await faultStage();
  const { relay, upstream, ledger } = stage;
  await upstream.close();
  for (const sizeBytes of [0, LARGE_BYTES, 0, 0])
    expect(await stage.send({ to: [ALICE, QUINN], sizeBytes })).toMatch(/^250 /);
  const down = await told(stage, 0, "upstream.down");
  expect(down["reply"]).toMatch(/ECONNREFUSED.*see upstream\.host/);
  await stage.expectNoCanary("in all");
  const back = await startUpstream({ port: upstream.port });
  onTestFinished(() => back.close());
  await ledger.expectAllArrived([back]);
  await told(stage, 0, "upstream.up");
  expect(await relay.stop()).toBe(0);
  await stage.expectNoCanary();
});

test("REL-06, REL-08: 5xx fails the mail at every stage, with one DSN and no second attempt; without a recipient there is no DATA", async () => {
  const stage = await faultStage();
  const { relay, upstream } = stage;
  const stages = [
    ["MAIL", "550 5.7.1 no"],
    ["RCPT", "550 5.1.1 unknown"],
    ["DATA", "554 5.7.1 no"],
    ["DOT", "552 5.3.4 too large"],
  ] as const;
  for (const [verb, reply] of stages) {
    const from = relay.events.length;
    const isNotice = (session: number) =>
      upstream.commands.findLast((one) => one.session === session && one.verb === "MAIL")?.line.includes("<>") === true;
    upstream.behaviour.reply = (command) => (command.verb === verb && !isNotice(command.session) ? reply : undefined);
    expect(await stage.send()).toMatch(/^250 /);
    const failed = await told(stage, from, "delivery.failed");
    expect(failed["reply"]).toBe(reply);
    await expect.poll(() => upstream.transactions.at(-1)?.data.includes(reply), { timeout: 20_000 }).toBe(true);
    const notice = upstream.transactions.at(-1)!;
    expect([notice.mailFrom, notice.rcptTo, field(notice.data, "Content-Type").split(";")[0]]).toEqual([
      "",
      ["jira@example.com"],
      "multipart/report",
    ]);
    await expect
      .poll(() => relay.events.slice(from).filter(({ event }) => event === "delivery.delivered").length)
      .toBe(1);
  }
  expect(upstream.transactions).toHaveLength(stages.length);
  const refused = upstream.commands.filter(({ verb }) => verb === "RCPT")[2]!;
  const session = upstream.commands.filter((one) => one.session === refused.session);
  expect(session[session.indexOf(refused) + 1]?.verb).toMatch(/^(?:RSET|QUIT)$/);
  expect(await relay.stop()).toBe(0);
  await stage.expectNoCanary();
});

test("REL-26: a notice that is refused too ends there: it is told in the log, and no notice is sent about it", async () => {
  const stage = await faultStage();
  const { relay, upstream } = stage;
  upstream.behaviour.reply = at("RCPT", "550 5.1.1 unknown");
  expect(await stage.send()).toMatch(/^250 /);
  const failures = () =>
    relay.events.filter(({ event }) => event === "delivery.failed").map(({ recipient }) => recipient);
  await expect.poll(failures, { timeout: 20_000 }).toEqual([ALICE, "jira@example.com"]);
  const recipients = (await queueEntries(relay)).flatMap((entry) => entry.recipients);
  expect(recipients.map(({ state }) => state)).toEqual(["failed", "failed"]);
  expect(relay.events.filter(({ event }) => event === "dsn.sent")).toHaveLength(1);
  expect(await relay.stop()).toBe(0);
  await stage.expectNoCanary();
});

test("an upstream that takes some recipients only: each goes its own way, and nobody gets it twice", async () => {
  const stage = await faultStage();
  const { relay, upstream } = stage;
  let greylisted = 0;
  upstream.behaviour.reply = ({ verb, line }) => {
    if (verb !== "RCPT") return undefined;
    if (line.includes("quinn")) return greylisted++ < 2 ? "450 4.7.1 greylisted" : undefined;
    return line.includes("nobody") ? "550 5.1.1 unknown" : undefined;
  };
  expect(await stage.send({ to: [ALICE, QUINN] })).toMatch(/^250 /);
  await stage.expectAllArrived();
  expect(upstream.transactions.map(({ rcptTo }) => rcptTo)).toEqual([[ALICE], [QUINN]]);
  expect(relay.events.filter(({ event }) => event === "delivery.deferred").map((one) => one["recipient"])).toEqual([
    QUINN,
    QUINN,
  ]);
  await stage.expectGoodEnd();
});

test("an upstream that hangs holds up the mail it hangs at and no other; cut off, that arrives too", async () => {
  const stage = await faultStage({ upstreamYaml: "tls: off, connections: 5" });
  const { upstream } = stage;
  // for one recipient two less than the connections are in work
  const hanging = ["RCPT", "DATA", "DOT"];
  for (const [index, verb] of hanging.entries()) {
    let isHit = false;
    // only the first session that comes there
    upstream.behaviour.reply = (command) => {
      if (command.verb !== verb || isHit) return undefined;
      isHit = true;
      return HANG;
    };
    expect(await stage.send({ to: [QUINN] })).toMatch(/^250 /);
    await expect.poll(() => isHit, { timeout: 10_000 }).toBe(true);
    expect(await stage.send()).toMatch(/^250 /);
    await upstream.waitFor(index + 1);
  }
  expect(upstream.transactions.map(({ rcptTo }) => rcptTo)).toEqual([[ALICE], [ALICE], [ALICE]]);
  await stage.expectNoCanary();
  upstream.behaviour.reply = () => undefined;
  upstream.dropAll();
  await stage.expectGoodEnd();
});

test("REL-10: an upstream that stops reading in the middle of 20 MB costs no memory for it, and others flow", async () => {
  const stage = await faultStage({ upstreamYaml: "tls: off, connections: 4" });
  const { relay, upstream } = stage;
  const rssMiB = () => memoryMiB(relay.process.pid, "VmRSS");
  expect(await stage.send({ sizeBytes: 20_000_000 })).toMatch(/^250 /);
  await upstream.waitFor(1);
  const before = rssMiB();
  let stalled = 0;
  upstream.behaviour.duringData = (octets) => {
    if (octets < 1_000_000) return undefined;
    stalled++;
    return "stall";
  };
  expect(await stage.send({ to: [QUINN], sizeBytes: 20_000_000 })).toMatch(/^250 /);
  await expect.poll(() => stalled, { timeout: 20_000 }).toBeGreaterThan(0);
  for (let number = 2; number <= 6; number++) {
    expect(await stage.send()).toMatch(/^250 /);
    await upstream.waitFor(number);
  }
  expect(rssMiB() - before).toBeLessThan(64);
  upstream.behaviour.duringData = undefined;
  upstream.dropAll();
  await stage.expectAllArrived();
  expect(upstream.transactions.map(idOf).sort()).toEqual([
    "fault-1",
    "fault-2",
    "fault-3",
    "fault-4",
    "fault-5",
    "fault-6",
    "fault-7",
  ]);
  expect(await relay.stop()).toBe(0);
});

describe("an upstream that must be verified (tls: required)", () => {
  test("and whose STARTTLS is stripped, or that shows another's certificate, gets nothing; the real one gets all", async () => {
    const [authority, stranger] = await Promise.all([makeAuthority(), makeAuthority()]);
    const [right, wrong, otherName] = await Promise.all([
      authority.issue(["IP:127.0.0.1"]),
      stranger.issue(["IP:127.0.0.1"]),
      authority.issue(["DNS:other.example"]),
    ]);
    const stage = await faultStage({
      upstreamYaml: "tls: required, ca: ca.pem",
      upstream: { certificate: right, starttls: false },
      files: { "ca.pem": authority.ca },
    });
    const { relay, ledger, upstream } = stage;
    const { port } = upstream;
    const from = relay.events.length;
    expect(await stage.send()).toMatch(/^250 /);
    expect((await told(stage, from, "upstream.down"))["reply"]).toMatch(/STARTTLS, but upstream\.tls is required/);
    await upstream.close();
    const impostors = [];
    for (const certificate of [wrong, otherName]) {
      const impostor = await startUpstream({ port, certificate });
      await impostor.until(() => impostor.commands.some(({ verb }) => verb === "STARTTLS"), 20_000);
      await impostor.close();
      impostors.push(impostor);
    }
    for (const one of [upstream, ...impostors]) {
      expect(one.transactions).toEqual([]);
      expect(
        one.commands.map(({ verb }) => verb).filter((verb) => !["EHLO", "STARTTLS", "QUIT"].includes(verb)),
      ).toEqual([]);
    }
    await stage.expectNoCanary();
    const real = await startUpstream({ port, certificate: right });
    onTestFinished(() => real.close());
    await ledger.expectAllArrived([real]);
    expect(real.transactions.every(({ tls }) => tls)).toBe(true);
    expect(await relay.stop()).toBe(0);
    await stage.expectNoCanary();
  });
});
