// The queue: how fast it takes mail while the upstream is down, and drains, at one queued message and at a million.
import { readFileSync, writeFileSync } from "node:fs";
import { freePort } from "../test/free-port.ts";
import { fixtureBytes } from "../test/fixtures.ts";
import { startRelay, type Relay } from "../test/relay.ts";
import { fill } from "./load/fill.ts";
import { cpuMs } from "./load/process-figures.ts";
import { runSource, startSink } from "./load/processes.ts";
import { warmMemory } from "./load/warm-memory.ts";
import { median, print, type Figure, type Report } from "./report.ts";

const DEPTHS = [1, 10_000, 100_000, 1_000_000];
const ROUNDS = 3;
const TAKEN = 4_000;
/** Twice what a round brings into files. */
const WARM_MIB = 300;
/** Also with one message queued before: 16,000 are taken, and three times so many leave. */
const DRAINED = 2_000;
const WARMING = 500;
const RECIPIENT = "alice@example.com";

type Measured = { readonly rate: number; readonly p99: number; readonly cpu: number };

/** Takes mails of 32 KiB over 16 connections; the medians of the rounds. */
async function taking(relay: Relay, name: string): Promise<Measured> {
  const rounds: Measured[] = [];
  // the first makes the machine code and is not counted
  for (let round = 0; round <= ROUNDS; round++) {
    const pid = relay.process.pid ?? 0;
    warmMemory(relay.folder, WARM_MIB);
    const before = cpuMs(pid);
    const load = { port: relay.port, count: TAKEN, connections: 16, sizeBytes: 32 * 1024, recipient: RECIPIENT };
    const { seconds, p99 } = await runSource({ ...load, name: `${name}.${round}` });
    if (round > 0) rounds.push({ rate: TAKEN / seconds, p99, cpu: ((cpuMs(pid) - before) * 1_000) / TAKEN });
  }
  const of = (part: keyof Measured) => median(rounds.map((one) => one[part]));
  return { rate: of("rate"), p99: of("p99"), cpu: of("cpu") };
}

/** Changes where the upstream is; for the next start. */
function leadTo(relay: Relay, port: number): void {
  writeFileSync(relay.configFile, readFileSync(relay.configFile, "utf8").replace(/port: \d+/, `port: ${port}`));
}

async function readySeconds(relay: Relay): Promise<number> {
  const since = performance.now();
  await relay.start();
  return (performance.now() - since) / 1_000;
}

/** Messages a second that leave for a sink; the median of the rounds, each in a life of its own. */
async function draining(relay: Relay, downPort: number): Promise<number> {
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS; round++) rates.push(await drainingOnce(relay, downPort));
  return median(rates);
}

async function drainingOnce(relay: Relay, downPort: number): Promise<number> {
  const sink = await startSink();
  leadTo(relay, sink.port);
  await relay.start();
  const first = await sink.has(WARMING);
  const last = await sink.has(WARMING + DRAINED);
  await relay.kill();
  sink.stop();
  leadTo(relay, downPort);
  return ((last.messages - first.messages) * 1_000) / (last.lastAt - first.lastAt);
}

export async function queue(depths: readonly number[] = DEPTHS): Promise<Report> {
  const figures: Figure[] = [];
  const downPort = await freePort();
  const relay = await startRelay(
    [
      `upstream: { host: 127.0.0.1, port: ${downPort}, tls: off }`,
      "smime: { keyStore: { file: alice.pem } }",
      "log: { level: info }",
    ].join("\n"),
    { "alice.pem": fixtureBytes("smime/certs/alice.pem") },
    { isLogUnread: true },
  );
  try {
    const rates: number[] = [];
    const drains: number[] = [];
    let queued = 0;
    for (const depth of depths) {
      await relay.stop();
      await fill(relay.folder, Math.max(0, depth - queued), RECIPIENT);
      const ready = await readySeconds(relay);
      const { rate, p99, cpu } = await taking(relay, `d${depth}`);
      queued = depth + (ROUNDS + 1) * TAKEN;
      const at = `${depth.toLocaleString("en")} queued`;
      rates.push(rate);
      figures.push({
        what: `taken, 16 connections, upstream down, ${at}`,
        value: rate,
        goal: { atLeast: 2_000 },
        unit: "/s",
      });
      figures.push({ what: `99 of 100 taken within, ${at}`, value: p99, goal: { atMost: 100 }, unit: "ms" });
      figures.push({ what: `CPU of the relay for a mail taken, ${at}`, value: cpu, unit: "µs" });
      const goal = depth === 100_000 ? { goal: { atMost: 1.5 } } : {};
      figures.push({ what: `from start to ready, ${at}`, value: ready, ...goal, unit: "s" });
      await relay.stop();
      drains.push(await draining(relay, downPort));
      queued -= ROUNDS * (WARMING + DRAINED);
      figures.push({
        what: `drained as S/MIME, ${at} and ${(ROUNDS + 1) * TAKEN} more`,
        value: drains.at(-1) ?? NaN,
        unit: "/s",
      });
      await relay.start();
    }
    const [least = NaN] = rates;
    figures.push({
      what: "taken at the deepest ÷ taken at the first depth",
      value: (rates.at(-1) ?? NaN) / least,
      goal: { atLeast: 0.9 },
      unit: "×",
    });
    figures.push({
      what: "drained at the deepest ÷ at the first depth",
      value: (drains.at(-1) ?? NaN) / (drains[0] ?? NaN),
      goal: { atLeast: 0.9 },
      unit: "×",
    });
  } finally {
    await relay.remove();
  }
  return { title: "Queue, mails of 32 KiB", figures };
}

if (import.meta.main) {
  const depths = process.argv.slice(2).map(Number);
  print(await queue(depths.length > 0 ? depths : DEPTHS));
}
