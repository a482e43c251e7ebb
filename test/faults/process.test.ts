// The process itself: ended, killed, reloaded, started twice, with a bug, with nobody who reads its log. Nothing acknowledged is lost.
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { JiraSession, sendMail } from "../e2e/jira.ts";
import { canaryMail } from "../e2e/canary.ts";
import { preloaded } from "../e2e/preloaded.ts";
import { ALICE, faultStage, idOf, LARGE_BYTES, QUINN, type FaultStage } from "./fault-stage.ts";

/** Sends by so many sessions at once for as long as `goesOn` holds and the relay answers; small mails and now and then a large one. */
async function load(stage: FaultStage, sessions: number, goesOn: () => boolean): Promise<void> {
  const one = async () => {
    try {
      const session = await JiraSession.open(stage.relay.port);
      for (let number = 1; goesOn(); number++)
        await stage.send({
          session,
          to: number % 2 === 0 ? [ALICE] : [QUINN],
          sizeBytes: number % 10 === 5 ? LARGE_BYTES : 0,
        });
    } catch {
      // the process has ended: what it had not acknowledged is no loss
    }
  };
  await Promise.all(Array.from({ length: sessions }, one));
}

const encrypted = ({ upstream }: FaultStage) =>
  upstream.transactions.every(({ data }) => data.includes("application/pkcs7-mime"));

test("SIGTERM under load ends with 0, and all that was acknowledged arrives once, before it or after the next start", async () => {
  const stage = await faultStage({ upstreamYaml: "tls: off, connections: 2" });
  const { relay, upstream, ledger } = stage;
  upstream.behaviour.reply = ({ verb }) =>
    verb === "DOT" ? new Promise((resolve) => setTimeout(() => resolve(undefined), 30)) : undefined;
  const loaded = load(stage, 4, () => true);
  await expect.poll(() => ledger.size, { timeout: 20_000 }).toBeGreaterThan(80);
  expect(await relay.stop()).toBe(0);
  await loaded;
  expect(ledger.missing([upstream]).length).toBeGreaterThan(0);
  await stage.expectNoCanary();
  upstream.behaviour.reply = () => undefined;
  await relay.start();
  await stage.expectGoodEnd({ isSample: true });
  expect(encrypted(stage)).toBe(true);
});

test("REL-22: a second process on the same data folder is refused with a sentence, and the first goes on", async () => {
  const stage = await faultStage();
  const second = await stage.relay.run(["serve"]);
  expect(second.code).toBe(1);
  expect(second.stderr).toMatch(/another sealpost serve works on .*data; stop it first, or set dataDir/);
  expect(await stage.send()).toMatch(/^250 /);
  await stage.expectGoodEnd();
});

test("REL-23: 100 reloads while mail flows lose nothing, send nothing twice and nothing in clear", async () => {
  const stage = await faultStage();
  const { relay, ledger } = stage;
  let isReloading = true;
  const loaded = load(stage, 2, () => isReloading);
  const text = readFileSync(relay.configFile, "utf8");
  const reloads = () => relay.events.filter(({ event }) => event.startsWith("config.")).length;
  for (let number = 1; number <= 100; number++) {
    writeFileSync(relay.configFile, text.replace("first: 1s", `first: ${(number % 2) + 1}s`));
    relay.process.kill("SIGHUP");
    await expect.poll(reloads, { timeout: 20_000, interval: 5 }).toBe(number);
  }
  isReloading = false;
  await loaded;
  expect(relay.events.filter(({ event }) => event === "config.refused")).toEqual([]);
  expect(ledger.size).toBeGreaterThan(20);
  await stage.expectGoodEnd({ isSample: true });
  expect(encrypted(stage)).toBe(true);
});

test("REL-03: killed after the upstream took a mail and before that was written down, the relay repeats that one and no other", async () => {
  const stage = await faultStage();
  const { relay, upstream } = stage;
  expect(await stage.send()).toMatch(/^250 /);
  await relay.event(({ event }) => event === "delivery.delivered");
  // the upstream takes it, and its reply comes too late
  const reply = Promise.withResolvers<undefined>();
  upstream.behaviour.reply = ({ verb }) => (verb === "DOT" ? reply.promise : undefined);
  expect(await stage.send({ to: [QUINN] })).toMatch(/^250 /);
  await upstream.until(() => upstream.finalDots === 2);
  await relay.kill();
  reply.resolve(undefined);
  await relay.start();
  await stage.expectGoodEnd();
  // the content came twice, the second time with the same Message-ID and to the same reader
  expect(upstream.finalDots).toBe(3);
  expect(upstream.received().toString("latin1").split("Message-ID: <JIRA.10042.fault-2@")).toHaveLength(3);
  expect(upstream.transactions.map(idOf)).toEqual(["fault-1", "fault-2"]);
});

describe("REL-33: a bug that nobody catches", () => {
  const bugs = {
    "a promise that rejects": "void Promise.reject(new Error('a bug'))",
    "an exception in a timer": "setTimeout(() => { throw new Error('a bug'); }, 0)",
  };
  test.each(Object.entries(bugs))(
    "%s ends the process with 1 under load, is told, and loses nothing",
    async (_, bug) => {
      const stage = await faultStage({ launch: preloaded(`process.on("SIGUSR2", () => { ${bug}; });`) });
      const { relay, ledger } = stage;
      const loaded = load(stage, 3, () => true);
      await expect.poll(() => ledger.size, { timeout: 20_000 }).toBeGreaterThan(20);
      const exited = once(relay.process, "exit");
      relay.process.kill("SIGUSR2");
      expect(await exited).toEqual([1, null]);
      await loaded;
      await expect.poll(() => stage.faults()).toEqual(["a bug"]);
      await stage.expectNoCanary();
      await relay.start();
      // what was on its way may be sent twice: two messages for each of 8 connections
      await stage.expectGoodEnd({ isSample: true, mayRepeat: 16 });
    },
  );
});

test("REL-34: with nobody who reads its log the relay takes and sends mail, ends in time, and goes on with the log", async () => {
  const stage = await faultStage();
  const { relay, ledger } = stage;
  relay.process.stdout?.pause();
  // a pipe holds 64 KiB and a mail tells more than 1
  const session = await JiraSession.open(relay.port);
  for (let number = 0; number < 80; number++) expect(await stage.send({ session })).toMatch(/^250 /);
  await ledger.expectAllArrived([stage.upstream], { isSample: true });
  relay.process.stdout?.resume();
  const delivered = () => relay.events.filter(({ event }) => event === "delivery.delivered");
  await expect.poll(() => delivered().length, { timeout: 20_000 }).toBe(80);
  await stage.expectNoCanary();
  relay.process.stdout?.pause();
  for (let number = 0; number < 80; number++) expect(await stage.send({ session })).toMatch(/^250 /);
  const exited = once(relay.process, "exit");
  relay.process.kill("SIGTERM");
  expect(await exited).toEqual([0, null]);
  relay.process.stdout?.resume();
  await relay.start();
  await stage.expectGoodEnd({ isSample: true });
});

test("a log that was closed ends the process with 1, so that a service manager starts it with a new one", async () => {
  const stage = await faultStage();
  const exited = once(stage.relay.process, "exit");
  stage.relay.process.stdout?.destroy();
  const reply = await stage.send().catch(() => "no reply");
  expect(reply).toMatch(/^250 |^no reply$/);
  expect(await exited).toEqual([1, null]);
  await stage.relay.start();
  await stage.expectGoodEnd({ mayRepeat: 1 });
});

test("REL-35, REL-30: a key source that never answers delays no 250 and no mail of others", async () => {
  const asked: Socket[] = [];
  const silent = createServer((socket) => asked.push(socket.on("error", () => undefined)));
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  onTestFinished(() => {
    for (const socket of asked) socket.destroy();
    silent.close();
  });
  const { port } = silent.address() as { port: number };
  const stage = await faultStage({
    yaml: `pgp: { keyServer: { url: "http://127.0.0.1:${port}" } }`,
    upstreamYaml: "tls: off, connections: 4",
  });
  const { relay, upstream } = stage;
  const replies: number[] = [];
  for (let number = 0; number < 200; number++) {
    const to = `person-${number}@slow.example`;
    const since = performance.now();
    expect(await sendMail(relay.port, { to: [to], message: canaryMail(`slow-${number}`, to) })).toMatch(/^250 /);
    replies.push(performance.now() - since);
    if (number % 4 === 0) expect(await stage.send()).toMatch(/^250 /);
  }
  // Jira waits 10 s; a look-up that is not answered takes 8 s, and no mail of others waits for one
  expect(Math.max(...replies)).toBeLessThan(5_000);
  await upstream.waitFor(50, 5_000);
  expect(asked.length).toBeGreaterThan(0);
  await stage.expectAllArrived({ isSample: true });
  expect(upstream.transactions).toHaveLength(50);
  await stage.expectNoCanary();
});
