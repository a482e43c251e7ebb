// The sender against an upstream that hangs, drips, breaks off or talks nonsense: deferred, and the connection is gone.
import { describe, expect, test } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { manualClock } from "../manual-clock.ts";
import { DROP, HANG, type Answer } from "../upstream.ts";
import { MESSAGE, mailTo, newUpstream, senderTo, shown } from "./sending.ts";

// each phase has a length of its own, so that a test sees which one was meant
const TIMEOUTS = {
  ...{ connectMs: 1_000, greetingMs: 2_000, mailMs: 3_000, rcptMs: 4_000 },
  ...{ dataMs: 5_000, blockMs: 6_000, dotMs: 7_000, idleMs: 8_000 },
};
const DELIVERED = ["bob@b.test delivered 250 2.0.0 queued"];

describe("an upstream that hangs (REL-09)", () => {
  test.each([
    ["CONNECT", TIMEOUTS.greetingMs, /^unreachable .*no reply within 2 s; see upstream\.host/],
    ["EHLO", TIMEOUTS.mailMs, /^unreachable .*no reply within 3 s/],
    ["MAIL", TIMEOUTS.mailMs, /^bob@b\.test deferred no reply within 3 s$/],
    ["RCPT", TIMEOUTS.rcptMs, /^bob@b\.test deferred no reply within 4 s$/],
    ["DATA", TIMEOUTS.dataMs, /^bob@b\.test deferred no reply within 5 s$/],
    ["DOT", TIMEOUTS.dotMs, /^bob@b\.test deferred no reply within 7 s$/],
  ])("at %s is given up after that phase's time-out and not before", async (verb, timeoutMs, outcome) => {
    const upstream = await newUpstream({ reply: (command) => (command.verb === verb ? HANG : undefined) });
    const clock = manualClock();
    const result = senderTo(upstream, { timeouts: TIMEOUTS }, clock).send(mailTo(["bob@b.test"]));
    const isThere = () => (verb === "DOT" ? upstream.finalDots === 1 : upstream.commands.at(-1)?.verb === verb);
    if (verb !== "CONNECT") await upstream.until(isThere);
    await clock.whenSleeping(timeoutMs);
    let isGivenUp = false;
    void result.then(() => (isGivenUp = true));
    clock.advance(timeoutMs - 1);
    await new Promise(setImmediate);
    expect(isGivenUp).toBe(false);
    clock.advance(1);
    expect(shown(await result)).toEqual([expect.stringMatching(outcome)]);
    await upstream.until(() => upstream.connections.open === 0);
  });

  test("within the content, by taking nothing more, is given up after the block time-out and gets no final dot", async () => {
    const upstream = await newUpstream({ duringData: () => "stall" });
    const clock = manualClock();
    const content = "x\r\n".repeat(10_000_000);
    const result = senderTo(upstream, { timeouts: TIMEOUTS }, clock).send(mailTo(["bob@b.test"], content));
    // while the socket still takes octets each block sleeps anew: time moves in small steps
    const ended = result.then(() => true);
    const stalled = async () => {
      await clock.whenSleeping(TIMEOUTS.blockMs);
      await new Promise(setImmediate);
      clock.advance(TIMEOUTS.blockMs / 100);
      return false;
    };
    while (!(await Promise.race([ended, stalled()])));
    expect(shown(await result)).toEqual(["bob@b.test deferred nothing taken within 6 s"]);
    expect(upstream.finalDots).toBe(0);
  });

  test("by dripping one octet at a time is late all the same", async () => {
    const upstream = await newUpstream({ reply: ({ verb }) => (verb === "DATA" ? { raw: "3" } : undefined) });
    const clock = manualClock();
    const result = senderTo(upstream, { timeouts: TIMEOUTS }, clock).send(mailTo(["bob@b.test"]));
    await clock.whenSleeping(TIMEOUTS.dataMs);
    clock.advance(TIMEOUTS.dataMs);
    expect(shown(await result)).toEqual(["bob@b.test deferred no reply within 5 s"]);
  });

  test("at one message does not hold up the others", async () => {
    const upstream = await newUpstream({ reply: ({ line }) => (line.includes("slow") ? HANG : undefined) });
    const sender = senderTo(upstream, { connections: 2 });
    const slow = sender.send(mailTo(["slow@b.test"]));
    for (let i = 0; i < 3; i++) expect(shown(await sender.send(mailTo(["bob@b.test"])))).toEqual(DELIVERED);
    await sender.close();
    expect(shown(await slow)).toEqual(["slow@b.test deferred the relay is shutting down"]);
  });
});

describe("an upstream that breaks off", () => {
  test.each(["MAIL", "RCPT", "DATA", "DOT"])("at %s leaves the message deferred (REL-04)", async (verb) => {
    const upstream = await newUpstream({ reply: (command) => (command.verb === verb ? DROP : undefined) });
    const [line] = shown(await senderTo(upstream).send(mailTo(["bob@b.test"])));
    expect(line).toMatch(/^bob@b\.test deferred (?:upstream has closed the connection|read ECONNRESET|write E)/);
    expect(upstream.transactions).toEqual([]);
  });

  test.each(["CONNECT", "EHLO"])("at %s is unreachable", async (verb) => {
    const upstream = await newUpstream({ reply: (command) => (command.verb === verb ? DROP : undefined) });
    const sender = senderTo(upstream);
    expect(shown(await sender.send(mailTo(["bob@b.test"])))[0]).toMatch(/^unreachable .*see upstream\.host/);
    expect(sender.isUp).toBe(false);
  });

  test("within the content leaves the message deferred", async () => {
    const upstream = await newUpstream({ duringData: (octets) => (octets > 500_000 ? "drop" : undefined) });
    const result = await senderTo(upstream).send(mailTo(["bob@b.test"], "x\r\n".repeat(2_000_000)));
    expect(shown(result)[0]).toMatch(/^bob@b\.test deferred /);
    expect(upstream.finalDots).toBe(0);
  });

  test("by refusing the connection is unreachable, and up again when it listens", async () => {
    const first = await newUpstream();
    const { port } = first;
    await first.close().catch(() => undefined);
    const sender = senderTo({ port });
    expect(sender.isUp).toBeUndefined();
    expect(shown(await sender.send(mailTo(["bob@b.test"])))[0]).toMatch(
      new RegExp(`^unreachable upstream 127\\.0\\.0\\.1:${port} cannot be reached: connect ECONNREFUSED`),
    );
    expect(sender.isUp).toBe(false);
    await newUpstream({ port });
    expect(shown(await sender.send(mailTo(["bob@b.test"])))).toEqual(DELIVERED);
    expect(sender.isUp).toBe(true);
  });
});

describe("an upstream that talks nonsense (REL-11)", () => {
  const nonsense: [string, Answer][] = [
    ["a short code", { raw: "25\r\n" }],
    ["a code that no reply has", { raw: "999 ok\r\n" }],
    ["a code without a separator", { raw: "250ok\r\n" }],
    ["binary", { raw: Buffer.from([0xff, 0xfe, 0x00, 0x0a]) }],
    ["two codes in one reply", { raw: "250-ok\r\n550 no\r\n" }],
    ["a line of 2,049 octets", { raw: `250 ${"x".repeat(2045)}\r\n` }],
    ["a megabyte without a line end", { raw: "2".repeat(1_000_000) }],
    ["101 lines", { raw: `${"250-and\r\n".repeat(100)}250 done\r\n` }],
    ["two replies at once", { raw: "250 ok\r\n250 and more\r\n" }],
    ["an intermediate reply", { raw: "354 again?\r\n" }],
    ["a preliminary reply", { raw: "150 wait\r\n" }],
  ];
  test.each(nonsense.flatMap(([what, answer]) => ["MAIL", "DOT"].map((verb) => [verb, what, answer] as const)))(
    "%s answered with %s defers the message and ends the connection",
    async (verb, what, answer) => {
      const upstream = await newUpstream({
        pipelining: false,
        reply: (command) => (command.verb === verb ? answer : undefined),
      });
      const [line] = shown(await senderTo(upstream).send(mailTo(["bob@b.test"])));
      // the second reply comes behind a good one: it is seen at the next command or, behind the dot, too late to matter
      if (verb === "DOT" && what === "two replies at once") expect(line).toBe("bob@b.test delivered 250 ok");
      else expect(line).toMatch(/^bob@b\.test deferred /);
      await upstream.until(() => upstream.connections.open === 0);
    },
  );

  test("a reply of 100 lines with one of 2,048 octets is still a reply", async () => {
    const longest = `250-${"x".repeat(2044)}\r\n${"250-and\r\n".repeat(98)}250 done\r\n`;
    const upstream = await newUpstream({ reply: ({ verb }) => (verb === "MAIL" ? { raw: longest } : undefined) });
    expect(shown(await senderTo(upstream).send(mailTo(["bob@b.test"])))).toEqual(DELIVERED);
  });

  test("2xx instead of 354 to DATA is no leave to send the content", async () => {
    const upstream = await newUpstream({ reply: ({ verb }) => (verb === "DATA" ? "250 fine" : undefined) });
    const [line] = shown(await senderTo(upstream).send(mailTo(["bob@b.test"])));
    expect(line).toBe("bob@b.test deferred upstream gives a reply that has no place here: 250 fine");
    expect(upstream.received().includes(MESSAGE)).toBe(false);
  });
});

test("what greets or answers EHLO with 4xx or 5xx is unreachable and bounces nothing", async () => {
  const upstream = await newUpstream();
  const sender = senderTo(upstream);
  for (const [verb, reply] of [
    ["CONNECT", "554 5.7.1 no service"],
    ["CONNECT", "421 4.3.2 too busy"],
    ["CONNECT", "450 4.3.2 not now"],
    ["EHLO", "550 5.7.1 bad name"],
    ["EHLO", "451 4.3.0 not now"],
  ] as const) {
    upstream.behaviour.reply = (command) => (command.verb === verb ? reply : undefined);
    const [line] = shown(await sender.send(mailTo(["bob@b.test"])));
    expect(line).toContain("unreachable upstream 127.0.0.1:");
    expect(line).toContain(reply);
  }
});

test("a clock that never wakes anybody is not needed for mail to flow", async () => {
  const never: Clock = {
    now: () => 0,
    monotonic: () => 0,
    sleep: () => new Promise(() => undefined),
    after: () => () => undefined,
  };
  const upstream = await newUpstream();
  expect(shown(await senderTo(upstream, {}, never).send(mailTo(["bob@b.test"])))).toEqual(DELIVERED);
});
