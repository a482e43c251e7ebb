// The flow: load, relay, sink on loopback, all relays side by side in each round; medians of the rounds.
import { makeAuthority } from "../test/authority.ts";
import { runSource, startSink, type Sink } from "./load/processes.ts";
import type { SourceOptions } from "./load/source.ts";
import type { Peer } from "./peers/peer.ts";
import { startPassThrough } from "./peers/pass-through.ts";
import { startPostfixRelay } from "./peers/postfix.ts";
import { startSealpost } from "./peers/sealpost.ts";
import { median, print, type Figure, type Report } from "./report.ts";

const ROUNDS = 3;
const MAIL_BYTES = 32 * 1024;
const LARGE_BYTES = 25 * 1024 * 1024;
/** Seconds that one run should about take. */
const RUN_SECONDS = 3;

type Lane = { readonly peer: Peer; readonly sink: Sink; sent: number };
type Load = Pick<SourceOptions, "connections" | "isOneEach" | "tls">;

async function lane(open: (sinkPort: number) => Promise<Peer>, sinkTls?: { cert: string; key: string }): Promise<Lane> {
  const sink = await startSink(sinkTls === undefined ? {} : { certificate: sinkTls });
  return { peer: await open(sink.port), sink, sent: 0 };
}

async function close({ peer, sink }: Lane): Promise<void> {
  await peer.stop();
  sink.stop();
}

/** Messages a second from the first octet sent to the last message at the sink. */
async function rate(lane: Lane, load: Load, count: number, sizeBytes = MAIL_BYTES): Promise<number> {
  const { port, recipient } = lane.peer;
  const source = await runSource({ ...load, port, recipient, count, sizeBytes, name: `r${lane.sent}` });
  lane.sent += count;
  const { lastAt } = await lane.sink.has(lane.sent);
  return (count * 1_000) / (lastAt - source.startedAt);
}

/** The medians of all lanes, which take turns in each round, so that what else the machine does meets all of them. */
async function rates(lanes: readonly Lane[], load: Load): Promise<number[]> {
  const counts: number[] = [];
  // a first run warms up and tells how many mails make a run
  for (const lane of lanes) counts.push(Math.ceil((await rate(lane, load, 64)) * RUN_SECONDS));
  const seen = lanes.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round++)
    for (const [index, lane] of lanes.entries()) seen[index]?.push(await rate(lane, load, counts[index] ?? 0));
  return seen.map(median);
}

async function alone(lane: Lane): Promise<number> {
  const times: number[] = [];
  for (let mail = 0; mail < 60; mail++) {
    const name = `alone${mail}`;
    const { port, recipient } = lane.peer;
    const load = { port, recipient, count: 1, connections: 1, sizeBytes: MAIL_BYTES, name };
    const { begun } = await runSource(load);
    lane.sent++;
    const { arrivals } = await lane.sink.has(lane.sent);
    const id = `${name}.0@bench.test`;
    times.push((arrivals[`<${id}>`] ?? NaN) - (begun[id] ?? NaN));
  }
  return median(times);
}

async function large(lane: Lane): Promise<number> {
  const megabytes: number[] = [];
  await rate(lane, { connections: 1 }, 1, LARGE_BYTES);
  for (let round = 0; round < ROUNDS; round++)
    megabytes.push(((await rate(lane, { connections: 2 }, 8, LARGE_BYTES)) * LARGE_BYTES) / 1e6);
  return median(megabytes);
}

async function inClear(figures: Figure[]): Promise<void> {
  const lanes = [
    await lane((sinkPort) => startSealpost({ sinkPort, treatment: "clear" })),
    await lane((sinkPort) => startSealpost({ sinkPort, treatment: "smime" })),
    await lane((sinkPort) => startSealpost({ sinkPort, treatment: "pgp" })),
    await lane((sinkPort) => startPostfixRelay(sinkPort, false)),
    await lane((sinkPort) => startPostfixRelay(sinkPort, true)),
    await lane(startPassThrough),
  ];
  try {
    for (const connections of [1, 8, 32]) {
      for (const isOneEach of [false, true]) {
        const how = `${connections} connection${connections > 1 ? "s" : ""}, ${isOneEach ? "one for each mail" : "kept open"}`;
        const all = await rates(lanes, { connections, isOneEach });
        const [clear = NaN, smime = NaN, pgp = NaN, postfix = NaN, filter = NaN] = all;
        for (const [index, { peer }] of lanes.entries())
          figures.push({ what: `${peer.name}, ${how}`, value: all[index] ?? NaN, unit: "/s" });
        if (!isOneEach) {
          figures.push({
            what: `S/MIME ÷ own clear, ${how}`,
            value: smime / clear,
            goal: { atLeast: 0.75 },
            unit: "×",
          });
          figures.push({ what: `PGP ÷ own clear, ${how}`, value: pgp / clear, goal: { atLeast: 0.6 }, unit: "×" });
        }
        if (!isOneEach && connections === 8) {
          figures.push({
            what: `S/MIME ÷ pipe filter, ${how}`,
            value: smime / filter,
            goal: { atLeast: 20 },
            unit: "×",
          });
          figures.push({
            what: `S/MIME ÷ Postfix alone, ${how}`,
            value: smime / postfix,
            goal: { atLeast: 2 },
            unit: "×",
          });
        }
        if (!isOneEach && connections === 1)
          figures.push({
            what: `S/MIME ÷ Postfix alone, ${how}`,
            value: smime / postfix,
            goal: { atLeast: 1 },
            unit: "×",
          });
      }
    }
    const smime = lanes[1];
    if (smime === undefined) return;
    const oneMail = await alone(smime);
    figures.push({
      what: "one S/MIME mail alone, first octet in to last at the sink",
      value: oneMail,
      goal: { atMost: 15 },
      unit: "ms",
    });
    figures.push({
      what: "25 MiB S/MIME through the whole relay",
      value: await large(smime),
      goal: { atLeast: 40 },
      unit: "MB/s",
    });
  } finally {
    for (const one of lanes) await close(one);
  }
}

async function withStartTls(figures: Figure[]): Promise<void> {
  const authority = await makeAuthority();
  const { cert, key } = await authority.issue(["DNS:localhost", "IP:127.0.0.1"]);
  const tls = { cert, key, ca: authority.ca };
  const lanes = [
    await lane((sinkPort) => startSealpost({ sinkPort, treatment: "clear", tls }), tls),
    await lane((sinkPort) => startSealpost({ sinkPort, treatment: "smime", tls }), tls),
    await lane((sinkPort) => startSealpost({ sinkPort, treatment: "pgp", tls }), tls),
  ];
  try {
    for (const load of [{ connections: 8 }, { connections: 8, isOneEach: true }]) {
      const all = await rates(lanes, { ...load, tls: true });
      const how = `8 connections${"isOneEach" in load ? ", one for each mail" : ", kept open"}, STARTTLS`;
      for (const [index, { peer }] of lanes.entries())
        figures.push({ what: `${peer.name}, ${how}`, value: all[index] ?? NaN, unit: "/s" });
    }
  } finally {
    for (const one of lanes) await close(one);
  }
}

export async function flow(): Promise<Report> {
  const figures: Figure[] = [];
  await inClear(figures);
  await withStartTls(figures);
  return { title: `Flow, mails of ${MAIL_BYTES / 1024} KiB`, figures };
}

if (import.meta.main) print(await flow());
