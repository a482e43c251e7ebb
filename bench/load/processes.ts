// The load's processes: a sink behind whatever is measured, and sources before it.
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { FloodFigures, FloodOptions } from "./flood.ts";
import type { Arrivals, SinkFigures, SinkOptions } from "./sink.ts";
import type { SourceFigures, SourceOptions } from "./source.ts";

export type Sink = {
  readonly port: number;
  arrivals(): Promise<Arrivals>;
  /** When so many messages are there; rejects when none comes for 60 s. */
  has(messages: number): Promise<SinkFigures>;
  stop(): void;
};

const POLL_MS = 20;
const STALLED_MS = 60_000;

function start(name: string, options: unknown = {}): ChildProcess {
  return fork(fileURLToPath(new URL(name, import.meta.url)), [JSON.stringify(options)], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
}

export async function startSink(options: SinkOptions = {}): Promise<Sink> {
  const child = start("sink.ts", options);
  const [{ port }] = (await once(child, "message")) as [{ port: number }];
  const ask = async (question: "figures" | "arrivals") => {
    child.send(question);
    const [said] = (await once(child, "message")) as [unknown];
    return said;
  };
  return {
    port,
    arrivals: async () => (await ask("arrivals")) as Arrivals,
    async has(messages) {
      let last = { count: -1, at: performance.now() };
      for (;;) {
        const said = (await ask("figures")) as SinkFigures;
        if (said.messages >= messages) return said;
        if (said.messages > last.count) last = { count: said.messages, at: performance.now() };
        if (performance.now() - last.at > STALLED_MS)
          throw new Error(`only ${said.messages} of ${messages} messages arrived`);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    },
    stop: () => child.disconnect(),
  };
}

/** Those that have nothing to do; they keep nobody from ending. */
const idleSources: ChildProcess[] = [];

/** Sends the whole load; rejects when the relay refuses anything. */
export async function runSource(options: SourceOptions): Promise<SourceFigures> {
  const child = idleSources.pop() ?? start("source.ts");
  child.ref();
  child.channel?.ref();
  const over = new AbortController();
  const ended = once(child, "exit", { signal: over.signal }).then(([code]) => {
    throw new Error(`the source ended with ${String(code)}`);
  });
  ended.catch(() => undefined);
  child.send(options);
  const [figures] = await Promise.race([once(child, "message") as Promise<[SourceFigures]>, ended]);
  over.abort();
  child.unref();
  child.channel?.unref();
  idleSources.push(child);
  return figures;
}

/** Floods a door; the function it gives ends that, and tells how much it was. */
export async function startFlood(options: FloodOptions): Promise<() => Promise<FloodFigures>> {
  const child = start("flood.ts", options);
  await once(child, "message");
  return async () => {
    child.send("end");
    const [figures] = (await once(child, "message")) as [FloodFigures];
    return figures;
  };
}
