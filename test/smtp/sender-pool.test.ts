// The sender's connections: kept and used again, never more than configured, never with the rest of another transaction.
import { expect, test } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { manualClock } from "../manual-clock.ts";
import { DROP, HANG } from "../upstream.ts";
import { mailTo, newUpstream, senderTo, shown } from "./sending.ts";

const DELIVERED = ["bob@b.test delivered 250 2.0.0 queued"];
const MAIL = mailTo(["bob@b.test"]);

test("messages one after the other share one connection", async () => {
  const upstream = await newUpstream();
  const sender = senderTo(upstream, { connections: 4 });
  for (let i = 0; i < 5; i++) expect(shown(await sender.send(MAIL))).toEqual(DELIVERED);
  expect(upstream.connections.accepted).toBe(1);
  expect(upstream.commands.filter(({ verb }) => verb === "EHLO" || verb === "RSET")).toHaveLength(1);
});

test("there are never more connections than configured, and whoever waits has its turn", async () => {
  const upstream = await newUpstream();
  const sender = senderTo(upstream, { connections: 3 });
  const results = await Promise.all(Array.from({ length: 40 }, () => sender.send(MAIL)));
  expect(results.map(shown)).toEqual(results.map(() => DELIVERED));
  expect(upstream.connections.peak).toBe(3);
  expect(upstream.connections.accepted).toBe(3);
});

test("a failure gives its place back to those who wait", async () => {
  const upstream = await newUpstream({ reply: ({ line }) => (line.includes("drop") ? DROP : undefined) });
  const sender = senderTo(upstream, { connections: 1 });
  const results = await Promise.all(
    ["drop@b.test", "bob@b.test", "drop@b.test", "bob@b.test"].map((to) => sender.send(mailTo([to]))),
  );
  expect(results.map((result) => shown(result)[0]?.split(" ")[1])).toEqual([
    "deferred",
    "delivered",
    "deferred",
    "delivered",
  ]);
  expect(upstream.connections.peak).toBe(1);
});

test.each([
  ["MAIL", "451 4.3.0 no"],
  ["RCPT", "550 5.1.1 no"],
  ["DATA", "451 4.3.0 no"],
  ["DOT", "554 5.6.0 no"],
])("REL-12: behind a message that failed at %s the next one begins with RSET", async (verb, reply) => {
  let isFirst = true;
  const upstream = await newUpstream({
    reply: (command) => {
      if (command.verb !== verb || !isFirst) return undefined;
      isFirst = false;
      return reply;
    },
  });
  const sender = senderTo(upstream, { connections: 1 });
  await sender.send(mailTo(["first@b.test"]));
  expect(shown(await sender.send(MAIL))).toEqual(DELIVERED);
  expect(upstream.transactions.map(({ rcptTo }) => rcptTo)).toEqual([["bob@b.test"]]);
  const verbs = upstream.commands.map((command) => command.verb);
  expect(verbs.slice(verbs.indexOf("RSET"))).toEqual(["RSET", "MAIL", "RCPT", "DATA"]);
  expect(upstream.connections.accepted).toBe(1);
});

test.each(["500 5.5.1 what", "451 4.3.0 no"])(
  "REL-12: when RSET is answered %s the next message has a new connection",
  async (reply) => {
    const upstream = await newUpstream({
      reply: ({ verb, line }) => (verb === "RSET" ? reply : line.includes("first") ? "550 5.1.1 no" : undefined),
    });
    const sender = senderTo(upstream, { connections: 1 });
    await sender.send(mailTo(["first@b.test"]));
    expect(shown(await sender.send(MAIL))).toEqual(DELIVERED);
    expect(upstream.transactions).toMatchObject([{ session: 2 }]);
  },
);

test("the result does not wait for RSET", async () => {
  const upstream = await newUpstream({
    reply: ({ verb, line }) => (verb === "RSET" ? HANG : line.includes("bob") ? "550 5.1.1 no" : undefined),
  });
  const result = await senderTo(upstream, { connections: 1 }).send(MAIL);
  expect(shown(result)).toEqual(["bob@b.test refused (5.1.1) 550 5.1.1 no"]);
});

test("a kept connection that upstream has closed meanwhile costs nothing: the message goes over a fresh one", async () => {
  const upstream = await newUpstream();
  const sender = senderTo(upstream);
  await sender.send(MAIL);
  upstream.dropAll();
  expect(shown(await sender.send(MAIL))).toEqual(DELIVERED);
  expect(upstream.transactions.map(({ session }) => session)).toEqual([1, 2]);
});

test.each([
  ["breaks off", DROP],
  ["says 421", "421 4.4.2 timed out"],
] as const)(
  "a kept connection that %s at MAIL is replaced once; a fresh one that does is believed",
  async (_, answer) => {
    const upstream = await newUpstream();
    const sender = senderTo(upstream);
    await sender.send(MAIL);
    upstream.behaviour.reply = ({ verb, session }) => (verb === "MAIL" && session === 1 ? answer : undefined);
    expect(shown(await sender.send(MAIL))).toEqual(DELIVERED);
    expect(upstream.transactions.map(({ session }) => session)).toEqual([1, 2]);
    upstream.behaviour.reply = ({ verb }) => (verb === "MAIL" ? answer : undefined);
    expect(shown(await sender.send(MAIL))[0]).toMatch(/^bob@b\.test deferred/);
    expect(upstream.connections.accepted).toBe(3);
  },
);

test("a kept connection that breaks off behind MAIL is not replaced: something may have happened", async () => {
  const upstream = await newUpstream({ pipelining: false });
  const sender = senderTo(upstream);
  await sender.send(MAIL);
  upstream.behaviour.reply = ({ verb }) => (verb === "RCPT" ? DROP : undefined);
  expect(shown(await sender.send(MAIL))[0]).toMatch(/^bob@b\.test deferred/);
  expect(upstream.connections.accepted).toBe(1);
});

test("an unused connection is closed with QUIT after its time and not before", async () => {
  const upstream = await newUpstream();
  const clock = manualClock();
  const sender = senderTo(upstream, { timeouts: { idleMs: 30_000 } }, clock);
  await sender.send(MAIL);
  await clock.whenSleeping(30_000);
  clock.advance(29_999);
  expect(shown(await sender.send(MAIL))).toEqual(DELIVERED);
  await clock.whenSleeping(30_000);
  expect(upstream.connections.accepted).toBe(1);
  clock.advance(30_000);
  await upstream.until(() => upstream.connections.open === 0);
  expect(upstream.commands.at(-1)?.verb).toBe("QUIT");
  expect(shown(await sender.send(MAIL))).toEqual(DELIVERED);
  expect(upstream.connections.accepted).toBe(2);
});

test("close ends idle connections with QUIT, busy ones at once, and lets nobody wait", async () => {
  const upstream = await newUpstream({ reply: ({ line }) => (line.includes("slow") ? HANG : undefined) });
  const sender = senderTo(upstream, { connections: 2 });
  const [, busy] = [await sender.send(MAIL), sender.send(mailTo(["slow@b.test"]))];
  await upstream.until(() => upstream.commands.some(({ line }) => line.includes("slow")));
  const alsoBusy = sender.send(mailTo(["slow@c.test"]));
  await upstream.until(() => upstream.commands.some(({ line }) => line.includes("slow@c.test")));
  const waiting = sender.send(MAIL);
  await sender.close();
  expect(shown(await busy)).toEqual(["slow@b.test deferred the relay is shutting down"]);
  expect(shown(await alsoBusy)).toEqual(["slow@c.test deferred the relay is shutting down"]);
  expect(shown(await waiting)).toEqual(["unreachable the relay is shutting down"]);
  expect(shown(await sender.send(MAIL))).toEqual(["unreachable the relay is shutting down"]);
  await upstream.until(() => upstream.connections.open === 0);
  await sender.close();
});

test("a connection that ends right behind the reply to RSET is not kept, and no timer waits for it", async () => {
  const clock = manualClock();
  let asleep = 0;
  const counting: Clock = {
    ...clock,
    async sleep(delayMs, signal) {
      asleep++;
      await clock.sleep(delayMs, signal);
      asleep--;
    },
  };
  const raw = "250 2.0.0 reset\r\n421 4.3.2 shutting down\r\n";
  const upstream = await newUpstream({
    reply: ({ verb }) => (verb === "DOT" ? "554 5.6.0 no" : verb === "RSET" ? { raw } : undefined),
  });
  const sender = senderTo(upstream, { connections: 1 }, counting);
  await sender.send(MAIL);
  await upstream.until(() => upstream.connections.open === 0);
  await sender.close();
  expect(asleep).toBe(0);
});

test("close while a connection is being made ends that too", async () => {
  const upstream = await newUpstream({ reply: () => HANG });
  const sender = senderTo(upstream);
  const sending = sender.send(MAIL);
  await upstream.until(() => upstream.connections.open === 1);
  await sender.close();
  expect(shown(await sending)[0]).toContain("the relay is shutting down");
});
