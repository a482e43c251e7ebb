// The listener at its edges: networks, limits, deadlines, storage that fails, shutdown.
import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { SpoolFull } from "../../src/spool/spool.ts";
import { MessageRefused } from "../../src/smtp/intake.ts";
import { networkMatcher } from "../../src/smtp/networks.ts";
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

const refusals = (door: Door) => door.seen.filter(([name]) => /refused|fault/.test(name)).map(([, what]) => what);
const HEADER = "Subject: x\r\n\r\n";

async function greeted(door: Door): Promise<Client> {
  const client = await Client.open(door.port);
  await client.say("EHLO jira.example.com");
  return client;
}

/** A client that has said DATA and may send content. */
async function sending(door: Door): Promise<Client> {
  const client = await greeted(door);
  for (const line of ["MAIL FROM:<jira@example.com>", "RCPT TO:<alice@example.com>", "DATA"]) await client.say(line);
  return client;
}

describe("networks", () => {
  test.each([
    ["10.1.2.3", ["10.0.0.0/8"], true],
    ["::ffff:10.1.2.3", ["10.0.0.0/8"], true],
    ["11.1.2.3", ["10.0.0.0/8"], false],
    ["192.0.2.7", ["192.0.2.7"], true],
    ["::1", ["127.0.0.0/8"], false],
    ["::1", ["127.0.0.0/8", "::1/128"], true],
    ["fe80::1%eth0", ["fe80::/10"], true],
    ["127.0.0.1", [], false],
  ])("%s against %j is %s", (address, networks, expected) => {
    expect(networkMatcher(networks)(address)).toBe(expected);
  });

  test.each(["10.0.0.0/33", "::1/129", "10.0.0/8", "10.0.0.0/8/8", "10.0.0.0/", "example.com"])(
    "%s is no network",
    (network) => expect(() => networkMatcher([network])).toThrow(/is not a network; see allowNetworks/),
  );

  test("FD-06: a peer outside is refused instead of greeted, and only the operator hears which setting it was", async () => {
    const door = await openDoor({ allowNetworks: ["127.0.0.1/32"] });
    const socket = connect({ port: door.port, host: "127.0.0.1", localAddress: "127.0.0.2" });
    const stranger = new Client(socket);
    expect(await stranger.rest()).toBe("554 5.7.1 you may not connect to this server\n");
    expect(refusals(door)).toEqual([
      { peerAddress: "127.0.0.2", reason: "network", setting: "outbound.allowNetworks" },
    ]);
    expect(await (await greeted(door)).send(HEADER)).toBe("250 2.0.0 queued as id1");
  });
});

describe("connections", () => {
  test("FD-36: beyond the total are turned away with 421, and one that ends makes room", async () => {
    const door = await openDoor({ limits: { connections: 2 } });
    const first = await greeted(door);
    await greeted(door);
    const third = new Client(connect(door.port, "127.0.0.1"));
    expect(await third.rest()).toMatch(/^421 4\.7\.0 too many connections/);
    await first.say("QUIT");
    first.socket.end();
    await vi.waitUntil(() => door.listener.connections === 1);
    expect(await (await greeted(door)).send(HEADER)).toMatch(/^250 /);
  });

  test("FD-36: of one address beyond its share are turned away, others come in", async () => {
    const door = await openDoor({ limits: { connectionsPerAddress: 2 } });
    await greeted(door);
    await greeted(door);
    const third = new Client(connect(door.port, "127.0.0.1"));
    expect(await third.rest()).toMatch(/^421 4\.7\.0 too many connections/);
    expect(refusals(door)).toEqual([{ peerAddress: "127.0.0.1", reason: "connections-per-address" }]);
    const other = new Client(connect({ port: door.port, host: "127.0.0.1", localAddress: "127.0.0.2" }));
    expect(await other.reply()).toMatch(/^220 /);
  });

  test("FD-37: a client that speaks before the greeting is refused", async () => {
    const door = await openDoor();
    const socket = connect(door.port, "127.0.0.1");
    socket.write("EHLO early\r\nMAIL FROM:<a@b.test>\r\n");
    expect(await new Client(socket).rest()).toBe("554 5.5.0 wait for the greeting\n");
    expect(refusals(door)).toEqual([{ peerAddress: "127.0.0.1", reason: "early-talker" }]);
  });

  test("that the client closes for sending still give it all replies", async () => {
    const door = await openDoor();
    const client = await sending(door);
    client.socket.end("Subject: x\r\n.\r\nNOOP\r\n");
    expect(await client.rest()).toBe("250 2.0.0 queued as id1\n250 2.0.0 ok\n");
  });

  test("SMUG-20: a megabyte of 0xff is cut off at the first line", async () => {
    const door = await openDoor();
    const client = await Client.open(door.port);
    client.socket.write(Buffer.alloc(1 << 20, 0xff));
    expect(await client.rest()).toBe("500 5.5.6 the command line is too long\n");
  });

  test("a client that never reads its replies does not make the server remember them all", async () => {
    const door = await openDoor({ maxRecipients: 1 });
    const client = await greeted(door);
    client.socket.pause();
    client.write("MAIL FROM:<a@b.test>\r\n");
    const lines = Buffer.from("RCPT TO:<other@b.test>\r\n".repeat(2_000));
    let pushed = 0;
    const push = () => {
      pushed += lines.length;
      client.socket.write(lines, (error) => error ?? push());
    };
    push();
    // it stops reading once its replies go nowhere: what can be pushed is bounded by the buffers of the kernel
    let stillAt = -1;
    while (stillAt !== pushed && pushed < 100e6) {
      stillAt = pushed;
      for (let round = 0; round < 500; round++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(pushed).toBeLessThan(50e6);
    client.socket.destroy();
  });
});

describe("a message", () => {
  test("that is larger than the limit is read to its end, not stored, and the session goes on", async () => {
    const door = await openDoor({ maxMessageBytes: 10_000 });
    const client = await greeted(door);
    expect(await client.send(HEADER + "x".repeat(10_000))).toBe("552 5.3.4 the message is too large");
    expect(await client.send(HEADER + "x".repeat(5_000))).toBe("250 2.0.0 queued as id1");
    expect(door.stored).toHaveLength(1);
    expect(door.aborted).toHaveLength(1);
    expect(refusals(door)).toEqual([expect.objectContaining({ code: 552, reason: "size" })]);
  });

  test("that goes on beyond twice the limit ends the session", async () => {
    const door = await openDoor({ maxMessageBytes: 10_000 });
    const client = await sending(door);
    client.write(HEADER + `${"x".repeat(98)}\r\n`.repeat(201));
    expect(await client.rest()).toBe("552 5.3.4 the message is too large\n");
  });

  test.each([
    ["a header field of 64 KiB", `X: ${"y".repeat(65_536)}\r\n\r\nbody`, 250],
    ["a header of 255,000 octets", `${`X: ${"y".repeat(995)}\r\n`.repeat(255)}\r\nbody`, 250],
    ["a header of 20 MB in one field", `X: ${"y".repeat(20_000_000)}\r\n\r\nbody`, 552],
    ["a header of 263,000 octets", `${`X: ${"y".repeat(995)}\r\n`.repeat(263)}\r\nbody`, 552],
    ["1,000 header fields", `${"X: y\r\n".repeat(1_000)}\r\nbody`, 250],
    ["1,001 header fields", `${"X: y\r\n".repeat(1_001)}\r\nbody`, 554],
    ["one header field of 2,000 lines", `X: y\r\n${" z\r\n".repeat(2_000)}\r\nbody`, 250],
    ["100,000 header fields", "X: y\r\n".repeat(100_000), 554],
    ["100,000 lines of body", `${HEADER}${"X: y\r\n".repeat(100_000)}`, 250],
  ])("FD-31: with %s is answered as the limits say", async (_what, content, code) => {
    const door = await openDoor({ maxMessageBytes: 30_000_000 });
    expect(await (await greeted(door)).send(content)).toMatch(new RegExp(`^${code} `));
    expect(door.stored).toHaveLength(code === 250 ? 1 : 0);
    expect(door.aborted).toHaveLength(code === 250 ? 0 : 1);
  });

  test("is acknowledged only when commit has resolved", async () => {
    let finish: () => void = () => undefined;
    let hasBegunCommit = false;
    const door = await openDoor(
      {},
      {
        intake: () => ({
          commit: () =>
            new Promise((resolve) => {
              hasBegunCommit = true;
              finish = () => resolve({ id: "late" });
            }),
        }),
      },
    );
    const client = await sending(door);
    client.write(`${HEADER}.\r\nNOOP\r\n`);
    await vi.waitUntil(() => hasBegunCommit);
    const reply = client.reply();
    expect(await Promise.race([reply, new Promise((resolve) => setImmediate(resolve, "nothing yet"))])).toBe(
      "nothing yet",
    );
    finish();
    expect(await reply).toBe("250 2.0.0 queued as late");
    expect(await client.reply()).toBe("250 2.0.0 ok");
  });

  test.each([
    ["when it begins", "begin"],
    ["while it arrives", "write"],
    ["when it is made durable", "commit"],
  ] as const)(
    "that finds the spool full %s gets 452, an unknown fault 451, a refusal of the owner its own words",
    async (_when, where) => {
      const faults = [
        new SpoolFull("full"),
        new Error("disk on fire at /var/lib"),
        new MessageRefused({ code: 554, status: "5.4.6", text: "too many hops", reason: "loop" }),
      ];
      for (const [index, reply] of [
        "452 4.3.1 no room",
        "451 4.3.0 the message cannot",
        "554 5.4.6 too many hops",
      ].entries()) {
        const fail = () => {
          throw faults[index]!;
        };
        const intake = { [where]: () => Promise.reject(faults[index]!) };
        const door = await openDoor({}, where === "begin" ? { begin: fail } : { intake: () => intake });
        const client = await greeted(door);
        expect(await client.send(HEADER)).toContain(reply);
        expect(await client.say("NOOP")).toBe("250 2.0.0 ok");
        expect(door.stored).toEqual([]);
        expect(door.aborted).toHaveLength(where === "write" ? 1 : 0);
        expect(refusals(door)).toEqual([expect.objectContaining({ cause: faults[index] })]);
      }
    },
  );

  test("whose client vanishes in the middle is aborted", async () => {
    const door = await openDoor();
    const client = await sending(door);
    client.write(HEADER);
    client.socket.destroy();
    await vi.waitUntil(() => door.aborted.length === 1);
    expect(door.stored).toEqual([]);
  });

  test("is not read faster than it can be stored", async () => {
    let mayGoOn: () => void = () => undefined;
    let written = 0;
    const write = (chunk: Uint8Array) => {
      written += chunk.length;
      return new Promise<void>((resolve) => (mayGoOn = resolve));
    };
    const door = await openDoor({ maxMessageBytes: 1e9 }, { intake: () => ({ write }) });
    const client = await sending(door);
    client.write(HEADER + "x".repeat(50_000_000));
    await vi.waitUntil(() => written > 0);
    const first = written;
    for (let round = 0; round < 50; round++) await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBe(first);
    expect(client.socket.writableLength).toBeGreaterThan(20_000_000);
    mayGoOn();
    await vi.waitUntil(() => written > first);
    // nor behind the second piece, to which the first one's end has led
    for (let round = 0; round < 300; round++) await new Promise((resolve) => setImmediate(resolve));
    expect(client.socket.writableLength).toBeGreaterThan(20_000_000);
    client.socket.destroy();
  });
});

describe("time", () => {
  test("FD-34: ten idle minutes are allowed, then the session ends", async () => {
    const clock = new FakeClock();
    const door = await openDoor({}, {}, clock);
    const client = await greeted(door);
    await passSeconds(clock, 598);
    expect(await client.say("NOOP")).toBe("250 2.0.0 ok");
    await passSeconds(clock, 601);
    expect(await client.rest()).toBe("421 4.4.2 timeout\n");
  });

  test("FD-34: a command line that never ends is cut off after five minutes however it trickles", async () => {
    const clock = new FakeClock();
    const door = await openDoor({}, {}, clock);
    const client = await greeted(door);
    client.write("N");
    let cutAt = Infinity;
    client.socket.on("end", () => (cutAt = Math.min(cutAt, clock.now())));
    const start = clock.now();
    await passSeconds(clock, 400, (second) => second % 5 === 0 && client.write("O"));
    expect(await client.rest()).toBe("421 4.4.2 timeout\n");
    expect((cutAt - start) / 1_000).toBeLessThan(320);
    expect((cutAt - start) / 1_000).toBeGreaterThan(290);
  });

  test("FD-34: content that trickles is cut off after ten minutes and leaves nothing behind", async () => {
    const clock = new FakeClock();
    const door = await openDoor({}, {}, clock);
    const client = await sending(door);
    await passSeconds(clock, 605, (second) => second % 50 === 0 && client.write("X: y\r\n"));
    expect(await client.rest()).toBe("421 4.4.2 timeout\n");
    await vi.waitUntil(() => door.aborted.length === 1);
    expect(door.stored).toEqual([]);
  });

  test("FD-05: the reply to a wrong password waits longer each time, over sessions too", async () => {
    const clock = new FakeClock();
    const users = [{ name: "jira", password: new Secret("secret") }];
    const door = await openDoor({ users }, {}, clock);
    const wrong = `AUTH PLAIN ${Buffer.from("\0jira\0wrong").toString("base64")}`;
    const waits: number[] = [];
    const replies: string[] = [];
    for (let session = 0; session < 2; session++) {
      const client = await greeted(door);
      for (let attempt = 0; attempt < 3; attempt++) {
        const failures = door.seen.filter(([name]) => name === "auth-failed").length;
        const start = clock.now();
        const reply = client.say(wrong);
        await vi.waitUntil(() => door.seen.filter(([name]) => name === "auth-failed").length > failures);
        const answered = new AbortController();
        void reply.then(() => answered.abort());
        while (!answered.signal.aborted) await passSeconds(clock, 1);
        // a reply takes a turn or two to come back
        waits.push(Math.floor((clock.now() - start) / 1_000));
        replies.push((await reply).slice(0, 3));
      }
      expect(await client.rest()).toBe("");
    }
    expect(replies).toEqual(["535", "535", "421", "535", "535", "421"]);
    for (const [index, least] of [1, 2, 4, 8, 8, 8].entries()) expect(waits[index]).toBeGreaterThanOrEqual(least);
    expect(JSON.stringify(door.seen)).not.toContain("wrong");
  });
});

describe("shutdown", () => {
  test("ends idle sessions at once with 421 and takes no new ones", async () => {
    const door = await openDoor();
    const client = await greeted(door);
    const closed = door.listener.close(10_000);
    expect(await client.rest()).toBe("421 4.3.2 shutting down\n");
    client.socket.end();
    await closed;
    const late = connect(door.port, "127.0.0.1");
    await expect(once(late, "connect")).rejects.toThrow(/ECONNREFUSED/);
  });

  test("lets a message that is arriving come to its end", async () => {
    const door = await openDoor();
    const client = await sending(door);
    client.write("Subject: last\r\n");
    const closed = door.listener.close(10_000);
    client.write(".\r\n");
    expect(await client.rest()).toBe("250 2.0.0 queued as id1\n421 4.3.2 shutting down\n");
    client.socket.end();
    await closed;
    expect(door.stored[0]?.content).toBe("Subject: last\r\n");
  });

  test("does not wait longer than the grace it is given", async () => {
    const clock = new FakeClock();
    const door = await openDoor({}, {}, clock);
    const client = await sending(door);
    client.write("Subject: never\r\n");
    const closed = door.listener.close(5_000);
    clock.advance(5_000);
    await closed;
    expect(await client.rest()).toBe("");
    expect(door.stored).toEqual([]);
  });
});

test("replies to pipelined commands come in one piece", async () => {
  const door = await openDoor();
  const client = await greeted(door);
  const pieces: string[] = [];
  client.socket.on("data", (bytes: Buffer) => pieces.push(bytes.toString()));
  client.write("MAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n");
  for (let index = 0; index < 4; index++) await client.reply();
  expect(pieces).toEqual(["250 2.1.0 ok\r\n250 2.1.5 ok\r\n250 2.1.5 ok\r\n354 end with CRLF.CRLF\r\n"]);
});

test("a session tells its owner who speaks", async () => {
  const door = await openDoor();
  await (await greeted(door)).send(HEADER);
  expect(door.stored[0]?.session).toMatchObject({
    peerAddress: "127.0.0.1",
    heloName: "jira.example.com",
    isExtended: true,
    tls: undefined,
    user: undefined,
  });
  expect(door.seen.map(([name]) => name)).toEqual(["opened", "accepted"]);
});

test("two listeners cannot have the same port", async () => {
  const door = await openDoor();
  await expect(open({ port: door.port })).rejects.toThrow(/EADDRINUSE/);
});
