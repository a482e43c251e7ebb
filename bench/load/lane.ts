// Lane: one relay between a source and a sink of its own; several lanes take turns, so that what else the machine does meets all.
import type { Peer } from "../peers/peer.ts";
import { median } from "../report.ts";
import { runSource, startSink, type Sink } from "./processes.ts";
import type { SourceOptions } from "./source.ts";

export type Lane = {
  readonly peer: Peer;
  readonly sink: Sink;
  sent: number;
  /** Messages a second, the best so far. */
  best: number;
};
export type Load = Pick<SourceOptions, "connections" | "isOneEach" | "tls">;
export type ServerTls = { readonly cert: string; readonly key: string; readonly ca: string };

const ROUNDS = 5;
const MAIL_BYTES = 32 * 1024;
/** Seconds that one run should about take. */
const RUN_SECONDS = 1.2;
const LEAST_MAILS = 64;
/** Until the machine code of a relay in JavaScript is made: between its 5,000th and 15,000th mail ours gains a fifth. */
const WARM_UP_SECONDS = 8;

export async function openLane(open: (sinkPort: number) => Promise<Peer>, tls?: ServerTls): Promise<Lane> {
  const sink = await startSink(tls === undefined ? {} : { certificate: tls });
  try {
    const lane = { peer: await open(sink.port), sink, sent: 0, best: 0 };
    await rate(lane, { connections: 4, tls: tls !== undefined }, LEAST_MAILS);
    await rate(lane, { connections: 4, tls: tls !== undefined }, Math.ceil(lane.best * WARM_UP_SECONDS));
    return lane;
  } catch (cause) {
    sink.stop();
    throw cause;
  }
}

export async function closeLane({ peer, sink }: Lane): Promise<void> {
  await peer.stop();
  sink.stop();
}

/** Messages a second from the first octet sent to the last message at the sink. */
export async function rate(lane: Lane, load: Load, count: number, sizeBytes = MAIL_BYTES): Promise<number> {
  const { port, recipient } = lane.peer;
  const source = await runSource({ ...load, port, recipient, count, sizeBytes, name: `r${lane.sent}` });
  lane.sent += count;
  const { lastAt } = await lane.sink.has(lane.sent);
  const perSecond = (count * 1_000) / (lastAt - source.startedAt);
  lane.best = Math.max(lane.best, perSecond);
  return perSecond;
}

/** The medians of all lanes. */
export async function rates(lanes: readonly Lane[], load: Load): Promise<number[]> {
  const seen = lanes.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round++)
    for (const [index, lane] of lanes.entries()) {
      const count = Math.max(LEAST_MAILS, Math.ceil(lane.best * RUN_SECONDS));
      seen[index]?.push(await rate(lane, load, count));
    }
  return seen.map(median);
}

/** From the first octet that leaves the source to the final dot at the sink, in ms; one mail after the other, each alone. */
export async function alone(lane: Lane): Promise<number> {
  const times: number[] = [];
  const { port, recipient } = lane.peer;
  for (let mail = 0; mail < 60; mail++) {
    const name = `alone${mail}`;
    const { begun } = await runSource({ port, recipient, count: 1, connections: 1, sizeBytes: MAIL_BYTES, name });
    lane.sent++;
    await lane.sink.has(lane.sent);
    const arrivals = await lane.sink.arrivals();
    const id = `${name}.0@bench.test`;
    times.push((arrivals[`<${id}>`] ?? NaN) - (begun[id] ?? NaN));
  }
  return median(times);
}

/** Megabytes a second of large mails. */
export async function megabytes(lane: Lane, sizeBytes: number): Promise<number> {
  const seen: number[] = [];
  await rate(lane, { connections: 1 }, 1, sizeBytes);
  for (let round = 0; round < ROUNDS; round++)
    seen.push(((await rate(lane, { connections: 2 }, 8, sizeBytes)) * sizeBytes) / 1e6);
  return median(seen);
}
