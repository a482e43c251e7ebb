// Memory of the relay: at rest, with a thousand idle connections, with twenty large mails in work, and with one of 500 MiB.
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { forgetPeak, peakMiB, residentMiB } from "./load/process-figures.ts";
import { runSource, startSink } from "./load/processes.ts";
import { startSealpost } from "./peers/sealpost.ts";
import { print, type Figure, type Report } from "./report.ts";

const MIB = 2 ** 20;
const SETTLE_MS = 3_000;
const WORKED_IN_MAILS = 500;

async function withRelay<T>(
  maxMessageSize: string | undefined,
  act: (port: number, pid: number, arrived: (count: number) => Promise<unknown>) => Promise<T>,
): Promise<T> {
  const sink = await startSink();
  const peer = await startSealpost({
    sinkPort: sink.port,
    treatment: "smime",
    ...(maxMessageSize !== undefined && { maxMessageSize }),
  });
  try {
    return await act(peer.port, peer.relay.process.pid ?? 0, (count) => sink.has(count));
  } finally {
    await peer.stop();
    sink.stop();
  }
}

const idle = () =>
  withRelay(undefined, async (_, pid) => {
    await sleep(SETTLE_MS);
    return residentMiB(pid);
  });

/** From five addresses, as one may open 200 at most. */
const idleConnections = () =>
  withRelay(undefined, async (port, pid) => {
    const sockets: Socket[] = [];
    for (let number = 0; number < 1_000; number++) {
      const socket = connect({ port, host: "127.0.0.1", localAddress: `127.0.0.${2 + (number % 5)}` });
      await once(socket, "data");
      sockets.push(socket);
    }
    await sleep(SETTLE_MS);
    const resident = residentMiB(pid);
    for (const socket of sockets) socket.destroy();
    return resident;
  });

/** Of one mail after the other, in a relay that has worked for a while: else a long mail would pay for the room that work as such takes. */
const peaksOfLater = (sizesMiB: readonly number[]) =>
  withRelay("600MiB", async (port, pid, arrived) => {
    const peaks: number[] = [];
    let sent = 0;
    const send = async (count: number, sizeMiB: number, connections: number) => {
      await runSource({ port, count, connections, sizeBytes: sizeMiB * MIB, recipient: "alice@example.com" });
      await arrived((sent += count));
    };
    await send(WORKED_IN_MAILS, 1, 4);
    for (const sizeMiB of sizesMiB) {
      forgetPeak(pid);
      await send(1, sizeMiB, 1);
      peaks.push(peakMiB(pid));
    }
    return peaks;
  });

const peakWith = (count: number, sizeMiB: number) =>
  withRelay(undefined, async (port, pid, arrived) => {
    const load = { port, count, connections: count, sizeBytes: sizeMiB * MIB, recipient: "alice@example.com" };
    await runSource(load);
    await arrived(count);
    return peakMiB(pid);
  });

export async function memory(): Promise<Report> {
  const twenty = await peakWith(20, 25);
  const [one = NaN, huge = NaN] = await peaksOfLater([25, 500]);
  const figures: Figure[] = [
    {
      what: "a mail of 500 MiB ÷ one of 25 MiB, peak, in a relay that has worked",
      value: huge / one,
      goal: { atMost: 1.15 },
      unit: "×",
    },
    { what: "peak with 20 mails of 25 MiB in work", value: twenty, goal: { atMost: 256 }, unit: "MiB" },
    { what: "peak with one mail of 25 MiB, in a relay that has worked", value: one, unit: "MiB" },
    { what: "peak with one mail of 500 MiB, in a relay that has worked", value: huge, unit: "MiB" },
    { what: "1,000 connections idle", value: await idleConnections(), goal: { atMost: 200 }, unit: "MiB" },
    { what: "idle", value: await idle(), goal: { atMost: 120 }, unit: "MiB" },
  ];
  return { title: "Memory of the relay, resident", figures };
}

if (import.meta.main) print(await memory());
