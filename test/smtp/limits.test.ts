// What one client may take from the others: whole transactions and sessions, tries of passwords, connections, and lines without end.
import { connect } from "node:net";
import { afterEach, expect, test, vi } from "vitest";
import { Secret } from "../../src/secret.ts";
import { Client, FakeClock, openDoor as open, passSeconds, type Door } from "./recording-door.ts";

const doors: Door[] = [];
const openDoor: typeof open = async (...wishes) => {
  const door = await open(...wishes);
  doors.push(door);
  return door;
};
afterEach(async () => {
  for (const door of doors.splice(0)) await door.listener.close(0);
});

const HEADER = "Subject: x\r\n\r\n";

async function greeted(door: Door): Promise<Client> {
  const client = await Client.open(door.port);
  await client.say("EHLO jira.example.com");
  return client;
}

test("FD-34: a transaction ends half an hour after MAIL, however often the client says something", async () => {
  const clock = new FakeClock();
  const door = await openDoor({}, {}, clock);
  const client = await greeted(door);
  await client.say("MAIL FROM:<jira@example.com>");
  for (let minute = 0; minute < 27; minute += 9) {
    await passSeconds(clock, 540);
    expect(await client.say(`RCPT TO:<u${minute}@example.com>`)).toBe("250 2.1.5 ok");
  }
  // DATA and content that trickles change nothing of it
  expect(await client.say("DATA")).toMatch(/^354/);
  client.write("X: y\r\n");
  await passSeconds(clock, 182);
  expect(await client.rest()).toBe("421 4.4.2 timeout\n");
  await vi.waitUntil(() => door.aborted.length === 1);
});

test("FD-34: a session without an accepted message ends after an hour, or with the transaction begun before", async () => {
  const clock = new FakeClock();
  const door = await openDoor({}, {}, clock);
  const [idler, restarter, sender] = [await greeted(door), await greeted(door), await greeted(door)];
  const beginAnew = async () => {
    expect(await restarter.say("RSET")).toBe("250 2.0.0 ok");
    expect(await restarter.say("MAIL FROM:<jira@example.com>")).toBe("250 2.1.0 ok");
  };
  let minutes = 0;
  for (; minutes < 54; minutes += 9) {
    await passSeconds(clock, 540);
    expect(await idler.say("NOOP")).toBe("250 2.0.0 ok");
    await beginAnew();
    expect(await sender.send(HEADER)).toMatch(/^250 /);
  }
  await passSeconds(clock, 361);
  expect(await idler.rest()).toBe("421 4.4.2 timeout\n");
  for (minutes = 60; minutes < 87; minutes += 9) {
    await beginAnew();
    expect(await sender.send(HEADER)).toMatch(/^250 /);
    await passSeconds(clock, 540);
  }
  expect(await sender.send(HEADER)).toMatch(/^250 /);
  await passSeconds(clock, 200);
  expect(await restarter.rest()).toBe("421 4.4.2 timeout\n");
});

test("FD-05: many sessions of one address try passwords no faster than one", async () => {
  const clock = new FakeClock();
  const door = await openDoor({ users: [{ name: "jira", password: new Secret("secret") }] }, {}, clock);
  const wrong = `AUTH PLAIN ${Buffer.from("\0jira\0wrong").toString("base64")}`;
  const start = clock.now();
  const answeredAt: number[] = [];
  const clients = await Promise.all(Array.from({ length: 6 }, () => greeted(door)));
  for (const client of clients) void client.say(wrong).then(() => answeredAt.push(clock.now() - start));
  await vi.waitUntil(() => door.seen.filter(([name]) => name === "auth-failed").length === 6);
  const owner = await greeted(door);
  expect(await owner.say(`AUTH PLAIN ${Buffer.from("\0jira\0secret").toString("base64")}`)).toMatch(/^235 /);
  await passSeconds(clock, 40);
  await vi.waitUntil(() => answeredAt.length === 6);
  for (const [index, least] of [1, 3, 7, 15, 23, 31].entries())
    expect(answeredAt[index]).toBeGreaterThanOrEqual(least * 1_000);
});

test("FD-36: a tenth more is for addresses that have only a few connections: a flood from others leaves room for Jira", async () => {
  const door = await openDoor({ limits: { connections: 20, connectionsPerAddress: 15 } });
  const from = (localAddress: string) => new Client(connect({ port: door.port, host: "127.0.0.1", localAddress }));
  for (let count = 0; count < 10; count++) expect(await from("127.0.0.2").reply()).toMatch(/^220 /);
  for (let count = 0; count < 10; count++) expect(await from("127.0.0.3").reply()).toMatch(/^220 /);
  for (const flooder of ["127.0.0.2", "127.0.0.3"]) expect(await from(flooder).reply()).toMatch(/^421 /);
  expect(await (await greeted(door)).send(HEADER)).toMatch(/^250 /);
  expect(await from("127.0.0.1").reply()).toMatch(/^220 /);
  expect(await from("127.0.0.1").reply()).toMatch(/^421 /);
});

test("FD-33: a command line without end is cut off at 4 KiB, and what still comes is thrown away until the client goes", async () => {
  const clock = new FakeClock();
  const door = await openDoor({}, {}, clock);
  const client = await Client.open(door.port);
  client.write(`EHLO ${"a".repeat(20_000)}`);
  expect(await client.reply()).toBe("500 5.5.6 the command line is too long");
  const before = process.memoryUsage().arrayBuffers;
  // a gigabyte, unless the connection ends before
  const block = Buffer.alloc(1 << 20, "a");
  let pushed = 0;
  while (pushed < 1 << 30 && client.socket.writable && !client.socket.destroyed) {
    pushed += block.length;
    if (pushed === 100 << 20) clock.advance(3_000);
    await new Promise<void>((resolve) => client.socket.write(block, () => resolve()));
  }
  expect(pushed).toBeLessThan(1 << 30);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 << 20);
  await vi.waitUntil(() => door.listener.connections === 0);
});
