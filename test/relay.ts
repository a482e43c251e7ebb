// A whole relay for end-to-end tests: configuration, data folder and a real `serve` process, all in a folder of its own.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../bin/sealpost.js", import.meta.url));

export type Event = { readonly event: string; readonly level: string } & Record<string, unknown>;

export type Relay = {
  readonly folder: string;
  readonly configFile: string;
  /** Of the running process; changes when it is started again. */
  readonly port: number;
  /** 0 when incoming mail is switched off. */
  readonly inboundPort: number;
  readonly webPort: number;
  readonly metricsPort: number;
  readonly events: readonly Event[];
  /** Everything the process wrote on stdout and stderr, for canary hunts. */
  readonly output: string;
  readonly process: ChildProcess;
  /** The first event for which this holds, past ones included; rejects after 30 s. */
  event(holds: (event: Event) => boolean): Promise<Event>;
  /** SIGKILL; all that the process has written is there afterwards. */
  kill(): Promise<void>;
  /** Starts the process again on the same folder. */
  start(): Promise<void>;
  /** SIGTERM; gives the exit code. */
  stop(): Promise<number | null>;
  /** Runs another command with the same configuration. */
  run(args: readonly string[], input?: Buffer): Promise<{ code: number | null; stdout: Buffer; stderr: string }>;
  /** Gives `output` and begins it and `events` anew: a run of many lives would keep them all. */
  takeOutput(): string;
  /** Stops the process if it runs and removes the folder. */
  remove(): Promise<void>;
};

/** How the process is started: more environment variables, a folder to be in. */
export type Launch = {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Nobody reads the log while the relay runs, for measuring: it goes into a file, and `events` end with the start. */
  readonly isLogUnread?: boolean;
  /** Called before the first start with the folder of the relay; its data folder is `data` in it. */
  readonly prepare?: (folder: string) => void;
  /** Takes back what `prepare` did, when the process has ended and before its folder goes. */
  readonly cleanUp?: () => void;
};

/**
 * Starts `sealpost serve`. `yaml` holds the sections that the test is about; listeners get free ports unless it sets them.
 * `files` are written into the folder first, so that the configuration can name them.
 */
export async function startRelay(
  yaml: string,
  files: Record<string, Buffer | string> = {},
  launch: Launch = {},
): Promise<Relay> {
  const { folder, configFile } = layOut(yaml, files);
  launch.prepare?.(folder);
  const relay = new RelayProcess(folder, configFile, launch);
  await relay.start().catch(async (cause: unknown) => {
    await relay.remove();
    throw cause;
  });
  return relay;
}

export type QueueEntry = {
  readonly id: string;
  readonly recipients: readonly { readonly address: string; readonly state: string; readonly lastReply: string }[];
};

/** What `queue list` says. */
export async function queueEntries(relay: Relay): Promise<readonly QueueEntry[]> {
  const { stdout } = await relay.run(["queue", "list", "--json"]);
  return JSON.parse(stdout.toString()) as readonly QueueEntry[];
}

/** The folder of a relay, not started: configuration and files. Whoever lays it out removes it. */
export function layOut(
  yaml: string,
  files: Record<string, Buffer | string> = {},
): { readonly folder: string; readonly configFile: string } {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-test-"));
  const configFile = join(folder, "sealpost.yaml");
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content, { mode: 0o600 });
  const standard: readonly (readonly [RegExp, string])[] = [
    [/^hostname:/m, "hostname: relay.example.com"],
    [/^dataDir:/m, "dataDir: data"],
    [/^secretKeyFile:/m, "secretKeyFile: secret.key"],
    [/^outbound:/m, "outbound: { listen: 127.0.0.1:0 }"],
    [/^web:/m, "web: { listen: 127.0.0.1:0 }"],
    [/^metrics:/m, "metrics: { listen: 127.0.0.1:0 }"],
    [/^log:/m, "log: { level: debug }"],
  ];
  const own = standard.filter(([section]) => !section.test(yaml)).map(([, text]) => text);
  writeFileSync(configFile, `${[...own, yaml].join("\n")}\n`);
  return { folder, configFile };
}

/** The lines of a log up to the one that tells of the start; none when the process ends without. */
async function untilStarted(file: string, child: ChildProcess): Promise<string[]> {
  while (child.exitCode === null && child.signalCode === null) {
    const [, lines] = /^(.*"service\.started".*)\n/s.exec(readFileSync(file, "utf8")) ?? [];
    if (lines !== undefined) return lines.split("\n");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return [];
}

class RelayProcess implements Relay {
  readonly folder: string;
  readonly configFile: string;
  readonly events: Event[] = [];
  output = "";
  port = 0;
  inboundPort = 0;
  webPort = 0;
  metricsPort = 0;
  process!: ChildProcess;
  readonly #launch: Launch;
  readonly #waiting = new Set<() => void>();
  #closed: Promise<unknown> = Promise.resolve();

  constructor(folder: string, configFile: string, launch: Launch) {
    this.folder = folder;
    this.configFile = configFile;
    this.#launch = launch;
  }

  async start(): Promise<void> {
    const { env = {}, cwd, isLogUnread = false } = this.#launch;
    const logFile = join(this.folder, "relay.log");
    const log = isLogUnread ? openSync(logFile, "w") : undefined;
    const child = spawn(process.execPath, [program, "serve", "--config", this.configFile], {
      stdio: ["ignore", log ?? "pipe", "pipe"],
      env: { ...process.env, ...env },
      ...(cwd === undefined ? {} : { cwd }),
    });
    this.process = child;
    if (log !== undefined) closeSync(log);
    this.#closed = once(child, "close");
    const from = this.events.length;
    child.stderr?.on("data", (chunk: Buffer) => (this.output += chunk.toString()));
    const read = (line: string) => {
      this.output += `${line}\n`;
      this.events.push(JSON.parse(line) as Event);
      for (const look of this.#waiting) look();
    };
    if (child.stdout === null) void untilStarted(logFile, child).then((lines) => lines.forEach(read));
    else createInterface({ input: child.stdout }).on("line", read);
    const ended = new AbortController();
    child.once("exit", (code) => ended.abort(new Error(`serve ended with ${String(code)}:\n${this.output}`)));
    const started = await this.event((event) => event.event === "service.started", from, ended.signal);
    this.port = started["outbound"] as number;
    this.inboundPort = (started["inbound"] as number | undefined) ?? 0;
    this.webPort = started["web"] as number;
    this.metricsPort = started["metrics"] as number;
  }

  event(holds: (event: Event) => boolean, from = 0, signal?: AbortSignal): Promise<Event> {
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        signal?.removeEventListener("abort", stop);
      };
      const fail = (cause: Error) => {
        end();
        reject(cause);
      };
      const look = () => {
        const found = this.events.slice(from).find(holds);
        if (found === undefined) return;
        end();
        resolve(found);
      };
      const stop = () => fail(signal?.reason as Error);
      const timer = setTimeout(() => fail(new Error(`the event did not come:\n${this.output}`)), 30_000);
      signal?.addEventListener("abort", stop);
      this.#waiting.add(look);
      look();
    });
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.#closed;
  }

  takeOutput(): string {
    const { output } = this;
    this.output = "";
    this.events.length = 0;
    return output;
  }

  async stop(): Promise<number | null> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return this.process.exitCode;
    const exited = once(this.process, "exit");
    this.process.kill("SIGTERM");
    await exited;
    return this.process.exitCode;
  }

  async run(
    args: readonly string[],
    input = Buffer.alloc(0),
  ): Promise<{ code: number | null; stdout: Buffer; stderr: string }> {
    const child = spawn(process.execPath, [program, ...args, "--config", this.configFile], { stdio: "pipe" });
    const stdout: Buffer[] = [];
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    const [code] = (await once(child, "close")) as [number | null];
    return { code, stdout: Buffer.concat(stdout), stderr };
  }

  async remove(): Promise<void> {
    // a test that has failed may have stopped the process in the middle, and it may say that it has started a little later
    if (this.process.exitCode === null && this.process.signalCode === null) await this.kill();
    this.#launch.cleanUp?.();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
