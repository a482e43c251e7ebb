// The real relay under load, killed with SIGKILL again and again: all that it acknowledged arrives.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { issueMail, JiraSession } from "../e2e/jira.ts";
import { fixtureBytes } from "../fixtures.ts";
import { startRelay, type Relay } from "../relay.ts";
import { startUpstream } from "../upstream.ts";

const KILLS = 20;
const SENDERS = 6;
const UPSTREAM_CONNECTIONS = 4;
/** Larger than a row of the store takes: these bodies are files. */
const LARGE_TEXT = `${"x".repeat(76)}\r\n`.repeat(4_000);

/** mulberry32: the same kills for the same seed, as far as the machine allows. */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Sends one mail after the other for as long as the relay takes them; a broken connection ends it. */
async function sendUntilBroken(
  relay: Relay,
  name: string,
  random: () => number,
  acknowledged: Set<string>,
): Promise<void> {
  const session = await JiraSession.open(relay.port).catch(() => undefined);
  if (session === undefined) return;
  try {
    for (let number = 1; ; number++) {
      const id = `${name}.${number}`;
      const message = issueMail(id, random() < 0.1 ? { text: LARGE_TEXT } : {});
      const reply = await session.send({ to: ["alice@example.com"], message });
      if (!reply.startsWith("250")) throw new Error(`the relay said ${reply}`);
      acknowledged.add(id);
    }
  } catch (cause) {
    if (cause instanceof Error && cause.message.startsWith("the relay said")) throw cause;
  } finally {
    session.socket.destroy();
  }
}

const idOf = (message: Buffer) =>
  /^Message-ID: <JIRA\.10042\.(.*)@jira\.example\.com>\r$/im.exec(message.subarray(0, 4096).toString("latin1"))?.[1] ??
  "";

test(`killed ${KILLS} times under load, the relay loses no acknowledged message`, { timeout: 120_000 }, async () => {
  const seed = Number(process.env["CRASH_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`CRASH_SEED=${seed}`);
  const random = seededRandom(seed);
  const upstream = await startUpstream();
  const relay = await startRelay(
    [
      `upstream: { host: 127.0.0.1, port: ${upstream.port}, tls: off, connections: ${UPSTREAM_CONNECTIONS} }`,
      "smime: { keyStore: { file: alice.pem } }",
      "log: { level: info }",
    ].join("\n"),
    { "alice.pem": fixtureBytes("smime/certs/alice.pem") },
  );
  const acknowledged = new Set<string>();
  try {
    for (let kill = 1; kill <= KILLS; kill++) {
      // half of the kills come early, when the queue of the last life is still being worked on
      const before = acknowledged.size;
      const enough = before + Math.floor(random() * (kill % 2 === 0 ? 10 : 80));
      const senders = Array.from({ length: SENDERS }, (_, sender) =>
        sendUntilBroken(relay, `${kill}.${sender}`, random, acknowledged),
      );
      const ended = Promise.all(senders);
      for (let turns = Math.floor(random() * 30); acknowledged.size < enough || turns > 0;) {
        await Promise.race([setImmediate(), ended]);
        if (acknowledged.size >= enough) turns--;
      }
      await relay.kill();
      await ended;
      await relay.start();
    }
    const hasAll = () => isSubset(acknowledged, new Set(upstream.transactions.map(({ data }) => idOf(data))));
    // what is missing is named below, with the figures
    await upstream.until(hasAll, 30_000).catch(() => undefined);
    const count = async () => {
      const metrics = await (await fetch(`http://127.0.0.1:${relay.metricsPort}/metrics`)).text();
      return Number(/^sealpost_queue_recipients\{state="queued"\} (\d+)$/m.exec(metrics)?.[1]);
    };
    await expect.poll(count, { timeout: 30_000 }).toBe(0);

    const arrived = upstream.transactions.map(({ data }) => idOf(data));
    const distinct = new Set(arrived);
    const duplicates = arrived.length - distinct.size;
    const lost = [...acknowledged].filter((id) => !distinct.has(id));
    const large = upstream.transactions.filter(({ data }) => data.length > 300_000).length;
    console.log(
      `${KILLS} kills: ${acknowledged.size} acknowledged, ${lost.length} lost, ${arrived.length} transactions ` +
        `(${large} large), ${duplicates} duplicates, ${distinct.size - acknowledged.size} delivered but not acknowledged`,
    );
    expect(lost).toEqual([]);
    expect(distinct.has("")).toBe(false);
    expect(duplicates).toBeLessThanOrEqual(KILLS * UPSTREAM_CONNECTIONS);
    // the load was a load: many were acknowledged, large ones too
    expect(acknowledged.size).toBeGreaterThan(KILLS * 5);
    expect(large).toBeGreaterThan(0);
    expect(upstream.transactions.every(({ data }) => data.includes("application/pkcs7-mime"))).toBe(true);
    await relay.stop();
    const bodies = readdirSync(join(relay.folder, "data", "bodies"), { recursive: true, withFileTypes: true });
    // the last life had no crash: every body went with its message
    expect(bodies.filter((entry) => entry.isFile())).toEqual([]);
  } finally {
    await relay.remove();
    await upstream.close();
  }
});

const isSubset = (part: ReadonlySet<string>, whole: ReadonlySet<string>) => [...part].every((id) => whole.has(id));
