// Load source, a process of its own: sends so many mails over so many connections as fast as they are taken. It shares the machine
// with what is measured, so it does as little as it can for each mail, and goes on to live, with its machine code made.
//
// Over IPC it gets SourceOptions, again and again, and answers SourceFigures when all replies are there.
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { notification } from "./notification.ts";

export type SourceOptions = {
  readonly port: number;
  readonly count: number;
  readonly connections: number;
  /** A new connection for each mail. */
  readonly isOneEach?: boolean;
  readonly sizeBytes: number;
  readonly recipient: string;
  readonly tls?: boolean;
  /** In the Message-IDs, so that several sources can be told apart. */
  readonly name?: string;
  /** Not faster than so many a second in all. */
  readonly perSecond?: number;
};
export type SourceFigures = {
  readonly seconds: number;
  readonly startedAt: number;
  /** From the first octet of a mail to its 250, in ms. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** When each mail's first octet left, by Message-ID; of the last 10,000. */
  readonly begun: Readonly<Record<string, number>>;
};

const nowMs = () => Number(process.hrtime.bigint()) / 1e6;
const LF = 10;

class Client {
  #socket!: Socket;
  #text = "";
  /** What the next replies are to begin with. */
  #expected: readonly string[] = [];
  #settle: ((fault?: Error) => void) | undefined;

  async open(port: number, tls: boolean): Promise<void> {
    this.#listen(connect({ port, host: "127.0.0.1", noDelay: true }));
    await this.#replies("220");
    await this.#say("EHLO jira.bench.test", "250");
    if (!tls) return;
    await this.#say("STARTTLS", "220");
    this.#socket.removeAllListeners("data");
    this.#listen(connectTls({ socket: this.#socket, rejectUnauthorized: false }));
    await this.#say("EHLO jira.bench.test", "250");
  }

  async send(envelope: Buffer, head: string, rest: Buffer): Promise<void> {
    this.#socket.write(envelope);
    await this.#replies("250", "250", "354");
    // both in one system call, without a copy
    this.#socket.cork();
    this.#socket.write(head, "latin1");
    this.#socket.write(rest);
    this.#socket.uncork();
    await this.#replies("250");
  }

  async quit(): Promise<void> {
    await this.#say("QUIT", "221");
    this.#socket.destroy();
  }

  #listen(socket: Socket): void {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#text += chunk.toString("latin1");
      if (chunk.at(-1) === LF) this.#read();
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#settle?.(new Error("the relay has closed the connection")));
  }

  #read(): void {
    const lines = this.#text.split("\r\n");
    this.#text = "";
    for (const line of lines) {
      // the lines of a reply before its last one
      if (line === "" || line[3] === "-") continue;
      const [expected = "nothing", ...more] = this.#expected;
      this.#expected = more;
      if (!line.startsWith(expected)) this.#settle?.(new Error(`${expected} was expected, this came: ${line}`));
    }
    if (this.#expected.length === 0) this.#settle?.();
  }

  #replies(...expected: readonly string[]): Promise<void> {
    this.#expected = expected;
    return new Promise((resolve, reject) => {
      this.#settle = (fault) => {
        this.#settle = undefined;
        if (fault === undefined) resolve();
        else reject(fault);
      };
      if (this.#socket.destroyed) this.#settle(new Error("the relay has closed the connection before"));
    });
  }

  #say(line: string, expected: string): Promise<void> {
    this.#socket.write(`${line}\r\n`);
    return this.#replies(expected);
  }
}

async function run(options: SourceOptions): Promise<SourceFigures> {
  const { port, count, connections, isOneEach = false, tls = false, name = "bench", perSecond } = options;
  const envelope = Buffer.from(`MAIL FROM:<jira@bench.test>\r\nRCPT TO:<${options.recipient}>\r\nDATA\r\n`);
  const rest = Buffer.concat([notification(options.sizeBytes, options.recipient), Buffer.from(".\r\n")]);
  const latencies: number[] = [];
  const begun = new Map<string, number>();
  const startedAt = nowMs();
  let next = 0;

  const work = async () => {
    let client: Client | undefined;
    while (next < count) {
      const number = next++;
      if (perSecond !== undefined) {
        const waitMs = startedAt + (number * 1_000) / perSecond - nowMs();
        if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
      if (client === undefined) {
        client = new Client();
        await client.open(port, tls);
      }
      const id = `${name}.${number}@bench.test`;
      const since = nowMs();
      begun.set(id, since);
      await client.send(envelope, `Message-ID: <${id}>\r\n`, rest);
      latencies.push(nowMs() - since);
      if (!isOneEach) continue;
      await client.quit();
      client = undefined;
    }
    await client?.quit();
  };

  await Promise.all(Array.from({ length: connections }, work));
  latencies.sort((a, b) => a - b);
  const at = (part: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * part))] ?? 0;
  return {
    ...{ seconds: (nowMs() - startedAt) / 1_000, startedAt, p50: at(0.5), p99: at(0.99), max: at(1) },
    begun: Object.fromEntries([...begun].slice(-10_000)),
  };
}

process.on("message", (options: SourceOptions) => void run(options).then((figures) => process.send?.(figures)));
process.on("disconnect", () => process.exit(0));
