// Departures on a thread of their own: the real thread, to an upstream of ours.
import { EventEmitter, once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSecretKey, randomBytes } from "node:crypto";
import { Worker } from "node:worker_threads";
import { expect, onTestFinished, test } from "vitest";
import { systemClock, type Clock } from "../../src/clock.ts";
import { departuresOnThread } from "../../src/delivery/departures-on-thread.ts";
import type { Departed } from "../../src/delivery/departures.ts";
import type { PgpReader } from "../../src/keys/recipient-key.ts";
import { mailbox } from "../../src/mail/address.ts";
import { sizedBytes } from "../../src/mail/chunks.ts";
import type { Departure, Manner } from "../../src/outbound/departure.ts";
import { sealWhole } from "../../src/spool/seal.ts";
import { openedFile } from "../../src/spool/sealed-file.ts";
import type { ThreadData } from "../../src/wiring/departure-thread.ts";
import { certificateOf, pgpKeyOf } from "../keys-of.ts";
import { manualClock } from "../manual-clock.ts";
import { newUpstream, shown } from "../smtp/sending.ts";
import { HANG } from "../upstream.ts";

const ENTRY = new URL("../../bin/departure-thread.js", import.meta.url);
const TEXT = "From: jira@example.com\r\nTo: bob@b.test\r\nBcc: eve@b.test\r\nSubject: secret\r\n\r\ntext\r\n";
const IN_CLEAR: Manner = { kind: "clear", rule: "fallback-allow", isWithoutPrivateFields: true };

/** With the threads that were begun. */
function onThread({ port }: { readonly port: number }, clock: Clock = systemClock) {
  const upstream: ThreadData["upstream"] = {
    ...{ section: "upstream", host: "127.0.0.1", port, tls: "off", ca: undefined, hostname: "relay.test" },
    ...{ login: undefined, connections: 2, connectionsEach: 2 },
  };
  const workerData: ThreadData = { upstream, smime: { contentEncryption: "aes256-cbc", keyTransport: "rsa-pkcs1" } };
  const threads: Worker[] = [];
  const begin = () => {
    const thread = new Worker(ENTRY, { workerData });
    threads.push(thread);
    return thread;
  };
  const departures = departuresOnThread(begin, clock);
  onTestFinished(() => departures.close());
  return { departures, threads };
}

function departure(manner: Manner, content: Departure["content"] = sizedBytes(Buffer.from(TEXT))): Departure {
  const recipients = [{ mailbox: mailbox("bob@b.test") }];
  return { content, manner, envelope: { reversePath: undefined, recipients, smtpUtf8: false, is8bit: false } };
}
const outcome = (departed: Departed) =>
  departed.kind === "sent" ? shown(departed.result) : [`${departed.kind}: ${departed.cause.message}`];
const DELIVERED = [expect.stringMatching(/^bob@b\.test delivered 250/)];

test("each manner of leaving arrives as it should, and what was read from a file as what was in memory", async () => {
  const upstream = await newUpstream();
  const { departures, threads } = onThread(upstream);
  expect([departures.isUp, threads.length]).toEqual([undefined, 0]);
  const folder = mkdtempSync(join(tmpdir(), "sealpost-thread-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const secretKey = createSecretKey(randomBytes(32));
  const sealed = sealWhole(secretKey, "m1", Buffer.from(TEXT.replace("text", "text".repeat(100_000))));
  const path = join(folder, "m1");
  writeFileSync(path, sealed);
  const file = openedFile({ path, id: "m1", size: sealed.length, secretKey });
  const cases: [Departure, RegExp][] = [
    [departure({ kind: "smime", readers: [certificateOf("alice")], subject: "hide" }), /^MIAG|\r\n\r\nMII/],
    [departure({ kind: "pgp", readers: [await pgpKeyOf("peter")], subject: "hide" }), /-----BEGIN PGP MESSAGE-----/],
    [departure(IN_CLEAR), /^From: jira@example\.com\r\nTo: bob@b\.test\r\nSubject: secret\r\n\r\ntext\r\n$/],
    [departure(IN_CLEAR, file), /\r\n\r\n(?:text){100000}\r\n$/],
  ];
  for (const [one, expected] of cases) {
    expect(outcome(await departures.depart(one))).toEqual(DELIVERED);
    const data = upstream.transactions.at(-1)!.data.toString("latin1");
    expect(data).toMatch(expected);
    expect(data).not.toContain("eve@");
    expect(data.includes("secret")).toBe(one.manner.kind === "clear");
  }
  expect([departures.isUp, threads.length]).toEqual([true, 1]);
});

test("what cannot leave is told in the words of its causes, and nothing is sent", async () => {
  const upstream = await newUpstream();
  const { departures } = onThread(upstream);
  const peter = await pgpKeyOf("peter");
  const encryption = { usable: false, reason: "revoked", detail: "revoked in 2025" } as const;
  const revoked: PgpReader = { ...peter, certificate: { readsSeipd2: false, encryption } };
  const unencryptable = await departures.depart(departure({ kind: "pgp", readers: [revoked], subject: "hide" }));
  expect(outcome(unencryptable)).toEqual([expect.stringMatching(/^unencryptable: .*revoked in 2025/)]);
  const stopped = await departures.depart(departure({ kind: "pass", encrypted: "smime", readerIds: ["1"] }));
  expect(outcome(stopped)).toEqual(["not-let-through: planned to pass, but the message is not ciphertext alone"]);
  const file = { path: "/nowhere/m1", id: "m1", size: 1_000_000, secretKey: createSecretKey(randomBytes(32)) };
  const fault = await departures.depart(departure(IN_CLEAR, openedFile(file)));
  expect(outcome(fault)).toEqual(["fault: the stored body of message m1 is missing"]);
  expect(fault.kind === "sent" ? undefined : fault.cause.cause).toMatchObject({
    message: expect.stringContaining("ENOENT") as string,
  });
  expect(upstream.transactions).toEqual([]);
});

test("a thread that had nothing to do for five minutes ends, and the next mail begins another", async () => {
  const upstream = await newUpstream();
  const clock = manualClock();
  const { departures, threads } = onThread(upstream, clock);
  await departures.depart(departure(IN_CLEAR));
  clock.advance(5 * 60_000 - 1);
  expect(outcome(await departures.depart(departure(IN_CLEAR)))).toEqual(DELIVERED);
  // it says that it is there whenever it is asked
  for (let asked = 0; asked < 10; asked++) {
    const answer = once(threads[0]!, "message");
    clock.advance(10_000);
    expect(await answer).toEqual(["there"]);
  }
  await departures.depart(departure(IN_CLEAR));
  const ended = new Promise((resolve) => threads[0]!.once("exit", resolve));
  clock.advance(5 * 60_000 - 1);
  await new Promise((resolve) => setImmediate(resolve));
  expect(threads[0]!.threadId).toBeGreaterThan(0);
  clock.advance(1);
  expect(await ended).toBe(0);
  expect(outcome(await departures.depart(departure(IN_CLEAR)))).toEqual(DELIVERED);
  expect(threads.length).toBe(2);
});

test("at the end what is under way ends deferred, and what comes later is not sent", async () => {
  const dot = Promise.withResolvers<undefined>();
  const upstream = await newUpstream({
    reply({ verb }) {
      if (verb !== "DOT") return undefined;
      dot.resolve(undefined);
      return HANG;
    },
  });
  const timers = new Set<number>();
  const clock: Clock = {
    ...systemClock,
    after(delayMs) {
      timers.add(delayMs);
      return () => timers.delete(delayMs);
    },
  };
  const { departures } = onThread(upstream, clock);
  const underWay = departures.depart(departure(IN_CLEAR));
  await dot.promise;
  await departures.close();
  expect(outcome(await underWay)).toEqual([expect.stringMatching(/^bob@b\.test deferred /)]);
  expect(outcome(await departures.depart(departure(IN_CLEAR)))).toEqual(["unreachable the relay is shutting down"]);
  // a timer would keep the process from its end
  expect([...timers]).toEqual([]);
});

test("a thread that does not answer for a minute while it is asked six times is a fault of its own; one that answers is left alone", async () => {
  const clock = manualClock();
  let isThere = true;
  const asked: unknown[] = [];
  const thread = Object.assign(new EventEmitter(), {
    postMessage(told: unknown) {
      if (told !== "there?") return;
      asked.push(told);
      if (isThere) thread.emit("message", "there");
    },
  });
  const departures = departuresOnThread(() => thread as unknown as Worker, clock);
  void departures.depart(departure(IN_CLEAR));
  await new Promise((resolve) => setImmediate(resolve));
  for (let second = 0; second < 100; second += 10) clock.advance(10_000);
  isThere = false;
  for (let second = 0; second < 60; second += 10) clock.advance(10_000);
  expect(asked.length).toBe(16);
  expect(() => clock.advance(10_000)).toThrow("the thread that sends hangs");
});

test("what nobody has caught on the thread, or its end unasked, is thrown here", async () => {
  const thread = Object.assign(new EventEmitter(), { postMessage: () => undefined });
  const departures = departuresOnThread(() => thread as unknown as Worker, manualClock());
  void departures.depart(departure(IN_CLEAR));
  await new Promise((resolve) => setImmediate(resolve));
  expect(() => thread.emit("error", new Error("a bug"))).toThrow("a bug");
  expect(() => thread.emit("exit", 1)).toThrow("the thread that sends has ended");
});
