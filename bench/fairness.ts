// Fairness: how long small mails take from their first octet to the sink, alone, and beside what must not delay them.
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { fixtureBytes } from "../test/fixtures.ts";
import { startRelay, type Relay } from "../test/relay.ts";
import { runSource, startSink, type Sink } from "./load/processes.ts";
import { print, type Figure, type Report } from "./report.ts";

const [ALICE, SLOW] = ["alice@example.com", "quinn@example.com"];
const SMALL_BYTES = 4 * 1024;
const LARGE_BYTES = 25 * 2 ** 20;
const MAILS = 300;
const PER_SECOND = 30;
/** For each small mail there is one for the slow server or recipient every so often. */
const SLOW_PER_SECOND = 2;

type Stage = { readonly relay: Relay; readonly sink: Sink };

async function on<T>(yaml: string, slowMs: number, act: (stage: Stage) => Promise<T>): Promise<T> {
  const sink = await startSink(slowMs > 0 ? { slow: { recipient: SLOW, delayMs: slowMs } } : {});
  const relay = await startRelay(
    `upstream: { host: 127.0.0.1, port: ${sink.port}, tls: off }
smime: { keyStore: { file: people.pem } }
log: { level: info }
${yaml}`,
    { "people.pem": Buffer.concat(["alice", "quinn"].map((name) => fixtureBytes(`smime/certs/${name}.pem`))) },
  );
  try {
    await timesOf({ relay, sink }, "warm");
    return await act({ relay, sink });
  } finally {
    await relay.kill();
    await relay.remove();
    sink.stop();
  }
}

/** From the first octet in to the final dot at the sink, of small mails at an even pace, sorted, in ms. */
async function timesOf({ relay, sink }: Stage, name: string): Promise<number[]> {
  const load = { port: relay.port, recipient: ALICE, sizeBytes: SMALL_BYTES, connections: 2 };
  const { begun } = await runSource({ ...load, name, count: MAILS, perSecond: PER_SECOND });
  const names = Object.keys(begun);
  for (;;) {
    const arrivals = await sink.arrivals();
    const times = names.flatMap((id) => arrivals[`<${id}>`] ?? []);
    if (times.length === names.length)
      return names.map((id) => arrivals[`<${id}>`]! - begun[id]!).sort((a, b) => a - b);
  }
}

const p99 = (times: readonly number[]) => times[Math.floor(times.length * 0.99)] ?? NaN;
const p50 = (times: readonly number[]) => times[Math.floor(times.length * 0.5)] ?? NaN;

/** What the small mails take beside `other`, that goes on as long as they do. */
async function beside(stage: Stage, name: string, other: () => Promise<unknown>): Promise<number[]> {
  const over = new AbortController();
  const others = (async () => {
    while (!over.signal.aborted) await other();
  })();
  const times = await timesOf(stage, name);
  over.abort();
  await others;
  return times;
}

const delay = (what: string, alone: readonly number[], times: readonly number[]): Figure[] => [
  { what: `${what}: delay at p99`, value: p99(times) - p99(alone), goal: { atMost: 50 }, unit: "ms" },
  { what: `${what}: median`, value: p50(times), unit: "ms" },
];

async function besideLarge(): Promise<Figure[]> {
  return on("", 0, async (stage) => {
    const alone = await timesOf(stage, "alone");
    const load = { port: stage.relay.port, recipient: ALICE, sizeBytes: LARGE_BYTES, connections: 1, count: 1 };
    let count = 0;
    const times = await beside(stage, "beside", () => runSource({ ...load, name: `large${count++}` }));
    return [
      { what: "a 4 KiB mail alone: median", value: p50(alone), unit: "ms" },
      { what: "a 4 KiB mail alone: p99", value: p99(alone), unit: "ms" },
      ...delay("a 4 KiB mail beside mails of 25 MiB, one after the other", alone, times),
    ];
  });
}

async function besideSlowRecipient(): Promise<Figure[]> {
  return on("", 5_000, async (stage) => {
    const alone = await timesOf(stage, "alone");
    const load = { port: stage.relay.port, recipient: SLOW, sizeBytes: SMALL_BYTES, connections: 1, count: 4 };
    let count = 0;
    const slow = () => runSource({ ...load, name: `slow${count++}`, perSecond: SLOW_PER_SECOND });
    return delay("beside a recipient for whom the upstream takes 5 s", alone, await beside(stage, "beside", slow));
  });
}

async function besideSlowKeyServer(): Promise<Figure[]> {
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => sockets.add(socket.on("error", () => undefined)));
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as { port: number };
  try {
    return await on(`pgp: { keyServer: { url: "http://127.0.0.1:${port}" } }`, 0, async (stage) => {
      const alone = await timesOf(stage, "alone");
      let count = 0;
      const unknown = () =>
        runSource({
          ...{ port: stage.relay.port, sizeBytes: SMALL_BYTES, connections: 1, count: 4, perSecond: SLOW_PER_SECOND },
          ...{ recipient: `nobody${count++}@example.org`, name: `unknown${count}` },
        });
      return delay("beside mails whose key server never answers", alone, await beside(stage, "beside", unknown));
    });
  } finally {
    for (const socket of sockets) socket.destroy();
    silent.close();
  }
}

export async function fairness(): Promise<Report> {
  const figures = [...(await besideLarge()), ...(await besideSlowRecipient()), ...(await besideSlowKeyServer())];
  return { title: "Fairness, small mails at 30 a second", figures };
}

if (import.meta.main) print(await fairness());
