// Cases at the door whose outcome is seen only behind a whole relay: who may send to whom, names, loops, headers that lie.
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { freePort, freePortPair } from "../free-port.ts";
import { startRelay, type Relay } from "../relay.ts";
import { expectArrived, field, readPgp, readSmime } from "./arrived.ts";
import { deliver, inboundStage } from "./inbound-stage.ts";
import { issueMail, JiraSession, sendMail } from "./jira.ts";
import { preloaded } from "./preloaded.ts";
import { KEY_STORES, keyStoreFiles, queueStates, stage } from "./stage.ts";

const [ALICE, NOBODY] = ["alice@example.com", "nobody@example.com"];
const CLEAR = "encryption: { fallback: allow }";

test("FD-07: the listener for incoming mail relays to nobody but its own recipients, whoever sends", async () => {
  const { relay, nextHop, upstream } = await inboundStage();
  const session = await JiraSession.open(relay.inboundPort);
  for (const from of ["jira@example.com", "", "alice@example.com"]) {
    expect(await session.command(`MAIL FROM:<${from}>`)).toMatch(/^250 /);
    for (const to of ["victim@foreign.test", "jira@example.com.foreign.test", "jira%foreign.test@example.com"])
      expect(await session.command(`RCPT TO:<${to}>`), to).toMatch(/^550 5\.7\.1 /);
    expect(await session.command("DATA")).toMatch(/^554 5\.5\.1 /);
    await session.command("RSET");
  }
  await session.quit();
  expect(await deliver(relay, issueMail("1"))).toMatch(/^250 /);
  await nextHop.waitFor(1);
  expect(nextHop.transactions.map(({ rcptTo }) => rcptTo)).toEqual([["jira@example.com"]]);
  expect(upstream.transactions).toEqual([]);
});

test("FD-08: there is no list of senders: whoever may connect may send as anybody, and as nobody", async () => {
  const { relay, upstream } = await stage(CLEAR, {});
  for (const from of ["jira@example.com", "other@foreign.test", ""])
    expect(await sendMail(relay.port, { from, to: [NOBODY], message: issueMail("1") })).toMatch(/^250 /);
  await expectArrived(
    upstream,
    Array.from({ length: 3 }, () => `${NOBODY} clear`),
  );
  expect(upstream.transactions.map(({ mailFrom }) => mailFrom).sort()).toEqual([
    "",
    "jira@example.com",
    "other@foreign.test",
  ]);
});

test("FD-22: a tagged address has the key of the plain one only with plusAddress strip, and RCPT keeps the tag", async () => {
  const tagged = "alice+tag@example.com";
  for (const [plusAddress, expected] of [
    ["exact", "clear"],
    ["strip", "smime"],
  ]) {
    const { relay, upstream } = await stage(
      `${KEY_STORES}\nencryption: { fallback: allow, plusAddress: ${plusAddress!} }`,
    );
    expect(await sendMail(relay.port, { to: [tagged], message: issueMail("1", { to: tagged }) })).toMatch(/^250 /);
    await expectArrived(upstream, [`${tagged} ${expected!}`]);
    if (expected === "smime")
      expect(await readSmime(upstream.transactions[0]!.data, "alice")).toContain("Joe commented.");
  }
});

test("FD-38: a relay whose name resolution never answers greets, takes and delivers, and asks for no name of a peer", async () => {
  const noAnswer = preloaded(`
    import dns from "node:dns";
    import { isIP } from "node:net";
    import { syncBuiltinESMExports } from "node:module";
    for (const part of [dns, dns.promises])
      for (const name of Object.keys(part))
        if (/^(?:lookup|resolve|reverse)/.test(name)) {
          const real = part[name];
          part[name] = (...asked) => {
            // an address to listen on or to connect to is looked up too, which asks nobody
            if (name === "lookup" && isIP(asked[0]) > 0) return real(...asked);
            process.stderr.write("NAME ASKED\\n");
            return new Promise(() => {});
          };
        }
    syncBuiltinESMExports();
  `);
  const { relay, upstream } = await stage(KEY_STORES, keyStoreFiles(), noAnswer);
  expect(await sendMail(relay.port, { to: [ALICE], message: issueMail("1") })).toMatch(/^250 /);
  await expectArrived(upstream, [`${ALICE} smime`]);
  expect(relay.output).not.toContain("NAME ASKED");
});

/** Names at the beginning of each line of a message that is no continuation. */
const names = (data: Buffer) =>
  [...data.toString("latin1").matchAll(/^([A-Za-z][\w-]*)[ \t]*:/gm)].map(([, name]) => name!.toLowerCase());

test("FD-43: subjects, senders, names and replies that hold line ends put no line of their own into DSN and report", async () => {
  const { relay, upstream } = await stage(
    "encryption: { fallback: report, hold: 0 }\npgp: { keyStore: { file: people.asc } }",
  );
  upstream.behaviour.reply = ({ verb, line }) =>
    verb === "RCPT" && line.includes(ALICE) ? "550-5.1.1 no\r\n550-X-Evil: 1\r\n550 Bcc: <v@evil.test>" : undefined;
  const injected = "=?utf-8?Q?x=0D=0AX-Evil:_1=0D=0ABcc:_=3Cv=40evil.test=3E?=";
  const message = issueMail("1", {
    to: `${injected} <${ALICE}>`,
    fields: {
      From: `${injected} <jira@example.com>`,
      Subject: `${injected}\r\n =0D=0AX-Evil: 1`,
      "Message-ID": "<a@b>\r\n (X-Evil: 1)\r\nMessage-ID: <c@d>",
      References: "<x=0D=0AX-Evil: 1@b>",
    },
  });
  await sendMail(relay.port, { to: [ALICE, NOBODY], message });
  await expectArrived(upstream, ["jira@example.com notice", `${NOBODY} notice`]);
  for (const { data, mailFrom, rcptTo } of upstream.transactions) {
    const all = names(data);
    expect(all.filter((name) => /^(?:x-evil|bcc)$/.test(name))).toEqual([]);
    const head = names(data.subarray(0, data.indexOf("\r\n\r\n")));
    for (const name of ["from", "to", "subject", "message-id", "date", "content-type"])
      expect(head.filter((one) => one === name)).toHaveLength(1);
    expect(mailFrom).toBe("");
    expect(rcptTo).toHaveLength(1);
  }
});

describe("FD-44: conflicting headers", () => {
  const twice = {
    From: "jira@example.com\r\nFrom: boss@example.com\r\nFrom : space@example.com",
    To: `${ALICE}\r\nTo: ${NOBODY}`,
    Subject: "[JIRA] (SEC-42) one\r\nSubject: two",
    "Content-Type": "text/plain; charset=utf-8\r\nContent-Type: text/html\r\nthis line has no colon",
  };

  test("a ciphertext has each field once outside, both bodies' types inside, and goes to the envelope's recipients only", async () => {
    const { relay, upstream } = await stage(KEY_STORES);
    for (const to of [ALICE, "joe@example.org"])
      expect(await sendMail(relay.port, { to: [to], message: issueMail("1", { fields: twice }) })).toMatch(/^250 /);
    await expectArrived(upstream, [`${ALICE} smime`, "joe@example.org pgp"]);
    for (const { data, rcptTo } of upstream.transactions) {
      const head = names(data.subarray(0, data.indexOf("\r\n\r\n")));
      for (const name of ["from", "to", "subject", "content-type", "mime-version", "message-id"])
        expect(
          head.filter((one) => one === name),
          name,
        ).toHaveLength(1);
      expect(field(data, "From")).toBe("jira@example.com");
      const inner = rcptTo[0] === ALICE ? await readSmime(data, "alice") : readPgp(data);
      expect(inner).toMatch(/^Content-Type: text\/plain; charset=utf-8\r\nContent-Type: text\/html\r\n/);
      expect(inner).toContain("Joe commented.");
    }
  });

  test("a rule for a project goes by the first subject, the recipients by the envelope alone", async () => {
    const rules = "encryption: { fallback: report, hold: 0, rules: [{ project: OPEN, fallback: allow }] }";
    const { relay, upstream } = await stage(rules, {});
    const message = issueMail("1", { fields: { Subject: "[JIRA] (SEC-42) one\r\nSubject: [JIRA] (OPEN-1) two" } });
    await sendMail(relay.port, { to: [NOBODY], message });
    await expectArrived(upstream, [`${NOBODY} notice`]);
  });
});

describe("FD-45: a loop", () => {
  const isLoop = (event: { event: string }) =>
    event.event === "message.refused" && (event as { reason?: string }).reason === "loop";
  const accepted = (relay: Relay) => relay.events.filter(({ event }) => event === "message.accepted").length;
  /** Until nothing waits in any of them. */
  async function settled(...relays: Relay[]): Promise<string[]> {
    for (;;) {
      const states = (await Promise.all(relays.map(queueStates))).flat();
      if (!states.some((state) => state.endsWith(" queued"))) return states;
      await sleep(100);
    }
  }
  async function loopingRelay(port: number, upstreamPort: number, name: string, yaml: string): Promise<Relay> {
    const relay = await startRelay(
      [
        `hostname: ${name}.example.com\noutbound: { listen: 127.0.0.1:${port} }`,
        `upstream: { host: 127.0.0.1, port: ${upstreamPort}, tls: off }\nretry: { first: 1s, factor: 1, max: 1s }\n${yaml}`,
      ].join("\n"),
      keyStoreFiles(),
    );
    onTestFinished(() => relay.remove());
    return relay;
  }

  test("of a relay into itself ends at the fourth round, for the mail and for its DSN", async () => {
    const port = await freePort();
    const relay = await loopingRelay(port, port, "relay", CLEAR);
    expect(await sendMail(port, { to: [NOBODY], message: issueMail("1", { to: NOBODY }) })).toMatch(/^250 /);
    await relay.event((event) => isLoop(event) && relay.events.filter(isLoop).length === 2);
    const states = await settled(relay);
    expect(states.filter((state) => state.endsWith("failed")).sort()).toEqual([
      "jira@example.com failed",
      `${NOBODY} failed`,
    ]);
    expect(accepted(relay)).toBeLessThanOrEqual(8);
    expect(relay.events.filter(({ event }) => event === "dsn.sent")).toHaveLength(1);
  });

  test("of two relays ends too, and a ciphertext passes unchanged, it is not encrypted anew in each round", async () => {
    const port = await freePortPair();
    const first = await loopingRelay(port, port + 1, "one", KEY_STORES);
    const second = await loopingRelay(port + 1, port, "two", KEY_STORES);
    expect(await sendMail(port, { to: [ALICE], message: issueMail("1") })).toMatch(/^250 /);
    await Promise.race([first.event(isLoop), second.event(isLoop)]);
    await settled(first, second);
    const treatments = [first, second].map((relay) =>
      relay.events
        .filter((event) => event.event === "treatment.decided" && event["recipient"] === ALICE)
        .map((event) => event["treatment"]),
    );
    expect(treatments[0]?.[0]).toBe("smime");
    expect(new Set([...treatments[0]!.slice(1), ...treatments[1]!])).toEqual(new Set(["pass"]));
    expect(accepted(first) + accepted(second)).toBeLessThanOrEqual(20);
  });

  test("of incoming mail into its own listener ends at the fourth round", async () => {
    const port = await freePort();
    const relay = await startRelay(
      [
        "upstream: { host: 127.0.0.1, port: 9, tls: off }",
        `inbound: { listen: 127.0.0.1:${port}, recipients: [jira@example.com], evidence: signature-only, forward: { host: 127.0.0.1, port: ${port}, tls: off } }`,
      ].join("\n"),
    );
    onTestFinished(() => relay.remove());
    expect(await deliver(relay, issueMail("1"))).toMatch(/^250 /);
    await relay.event(isLoop);
    expect(accepted(relay)).toBe(4);
  });

  test.each([
    ["outbound", 30],
    ["inbound", 100],
  ])("of servers that are not ours ends at the limit of Received fields: %s %i", async (way, limit) => {
    const { relay } = await inboundStage({ yaml: CLEAR });
    const hops = (count: number) => {
      const received = Array.from(
        { length: count },
        (_, hop) => `from a by b${hop}.test; Tue, 24 Nov 2026 10:00:00 +0000`,
      );
      return issueMail("1", { fields: { Received: received.join("\r\nReceived: ") } });
    };
    const send = (message: Buffer) =>
      way === "outbound" ? sendMail(relay.port, { to: [NOBODY], message }) : deliver(relay, message);
    expect(await send(hops(limit - 1))).toMatch(/^250 /);
    expect(await send(hops(limit))).toMatch(/^554 5\.4\.6 too many hops/);
  });
});
