// Load source, a process of its own: sends so many mails over so many connections as fast as they are taken.
//
// Argument: JSON of SourceOptions. It sends SourceFigures over IPC when all replies are there, and ends.
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

const options = JSON.parse(process.argv[2] ?? "{}") as SourceOptions;
const { port, count, connections, isOneEach = false, tls = false, name = "bench", perSecond } = options;
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;
const envelope = Buffer.from(`MAIL FROM:<jira@bench.test>\r\nRCPT TO:<${options.recipient}>\r\nDATA\r\n`);
const template = notification(options.sizeBytes, options.recipient);
const latencies: number[] = [];
const begun = new Map<string, number>();
const startedAt = nowMs();
let next = 0;

/** The message with an identity of its own, ended by a dot. */
function message(id: string): Buffer {
  return Buffer.concat([Buffer.from(`Message-ID: <${id}>\r\n`), template, Buffer.from(".\r\n")]);
}

class Client {
  readonly #port: number;
  #socket!: Socket;
  #text = "";
  #look: () => void = () => undefined;
  #isOver = false;
  constructor(toPort: number) {
    this.#port = toPort;
  }

  async open(): Promise<void> {
    this.#listen(connect({ port: this.#port, host: "127.0.0.1", noDelay: true }));
    await this.reply("220");
    await this.say("EHLO jira.bench.test", "250");
    if (!tls) return;
    await this.say("STARTTLS", "220");
    this.#socket.removeAllListeners("data");
    this.#listen(connectTls({ socket: this.#socket, rejectUnauthorized: false }));
    await this.say("EHLO jira.bench.test", "250");
  }

  #listen(socket: Socket): void {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#text += chunk.toString("latin1");
      this.#look();
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#isOver = true;
      this.#look();
    });
  }

  /** The next whole reply; throws when it does not begin as expected. */
  reply(expected: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#look = () => {
        const found = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(this.#text)?.[0];
        if (found === undefined && !this.#isOver) return;
        this.#text = this.#text.slice(found?.length);
        this.#look = () => undefined;
        if (found?.startsWith(expected) === true) resolve();
        else reject(new Error(`${expected} was expected, this came: ${found ?? "the end of the connection"}`));
      };
      this.#look();
    });
  }

  say(line: string, expected: string): Promise<void> {
    this.#socket.write(`${line}\r\n`);
    return this.reply(expected);
  }

  async send(id: string): Promise<void> {
    const since = nowMs();
    begun.set(id, since);
    this.#socket.write(envelope);
    await this.reply("250");
    await this.reply("250");
    await this.reply("354");
    this.#socket.write(message(id));
    await this.reply("250");
    latencies.push(nowMs() - since);
  }

  async quit(): Promise<void> {
    await this.say("QUIT", "221");
    this.#socket.destroy();
  }
}

async function work(): Promise<void> {
  let client: Client | undefined;
  while (next < count) {
    const number = next++;
    if (perSecond !== undefined) {
      const waitMs = startedAt + (number * 1_000) / perSecond - nowMs();
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
    if (client === undefined) {
      client = new Client(port);
      await client.open();
    }
    await client.send(`${name}.${number}@bench.test`);
    if (!isOneEach) continue;
    await client.quit();
    client = undefined;
  }
  await client?.quit();
}

await Promise.all(Array.from({ length: connections }, work));
latencies.sort((a, b) => a - b);
const at = (part: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * part))] ?? 0;
const figures: SourceFigures = {
  ...{ seconds: (nowMs() - startedAt) / 1_000, startedAt, p50: at(0.5), p99: at(0.99), max: at(1) },
  begun: Object.fromEntries([...begun].slice(-10_000)),
};
process.send?.(figures, () => process.disconnect?.());
