// A listener with an owner that keeps what it is given in memory, for tests.
import { connect, type Socket } from "node:net";
import { systemClock, type Clock } from "../../src/clock.ts";
import type { Envelope, Intake, Session } from "../../src/smtp/intake.ts";
import { Listener, type ListenerOwner, type ListenerSettings } from "../../src/smtp/listener.ts";
import type { ListenerObserver } from "../../src/smtp/observer.ts";

export type Stored = { readonly session: Session; readonly envelope: Envelope; readonly content: string };

/** What was committed, how many were aborted, and every observer call as `[name, argument]`. */
export type Door = {
  readonly listener: Listener;
  readonly port: number;
  readonly stored: Stored[];
  readonly aborted: number[];
  readonly seen: [string, unknown][];
};

export const SETTINGS: ListenerSettings = {
  section: "outbound",
  hostname: "relay.example.com",
  host: "127.0.0.1",
  port: 0,
  tls: { mode: "off" },
  allowNetworks: ["127.0.0.0/8", "::1/128"],
  users: [],
  maxMessageBytes: 1_000_000,
  maxRecipients: 100,
  lineEndings: "strict",
};

export async function openDoor(
  settings: Partial<ListenerSettings> = {},
  owner: Partial<ListenerOwner> & { readonly intake?: (intake: Intake) => Partial<Intake> } = {},
  clock: Clock = systemClock,
): Promise<Door> {
  const stored: Stored[] = [];
  const aborted: number[] = [];
  const seen: [string, unknown][] = [];
  const note = (name: string) => (argument: unknown) => void seen.push([name, argument]);
  const observer: ListenerObserver = {
    onSessionOpened: note("opened"),
    onSessionClosed: note("closed"),
    onSessionRefused: note("refused"),
    onAuthFailed: note("auth-failed"),
    onMessageAccepted: note("accepted"),
    onMessageRefused: note("message-refused"),
    onFault: note("fault"),
  };
  const begin = (session: Session): Intake => {
    const pieces: Buffer[] = [];
    const kept: Intake = {
      write: (chunk) => Promise.resolve(void pieces.push(Buffer.from(chunk))),
      commit: (envelope) => {
        stored.push({ session, envelope, content: Buffer.concat(pieces).toString("latin1") });
        return Promise.resolve({ id: `id${stored.length}` });
      },
      abort: () => Promise.resolve(void aborted.push(pieces.length)),
    };
    return { ...kept, ...owner.intake?.(kept) };
  };
  const listener = new Listener({ ...SETTINGS, ...settings }, { begin, observer, ...owner }, clock);
  return { listener, port: await listener.listen(), stored, aborted, seen };
}

/** A client that says what it is told and waits for replies; replies keep their line ends' place only. */
export class Client {
  readonly socket: Socket;
  #received = "";
  #hasClosed = false;
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes: Buffer) => {
      this.#received += bytes.toString("latin1");
      this.#wake();
    });
    for (const event of ["end", "close", "error"] as const)
      socket.on(event, () => {
        this.#hasClosed = true;
        this.#wake();
      });
  }

  static async open(port: number, host = "127.0.0.1", localAddress?: string): Promise<Client> {
    const client = new Client(
      connect({ port, host, noDelay: true, ...(localAddress !== undefined && { localAddress }) }),
    );
    await client.reply();
    return client;
  }

  write(text: string): void {
    if (this.socket.writable) this.socket.write(text, "latin1");
  }

  /** The next whole reply (all lines of it), `""` when the server has closed the connection. */
  async reply(): Promise<string> {
    for (;;) {
      const match = /^(?:\d{3}-[^\r\n]*\r\n)*\d{3}(?: [^\r\n]*)?\r\n/.exec(this.#received);
      if (match !== null) {
        this.#received = this.#received.slice(match[0].length);
        return match[0].trimEnd();
      }
      if (this.#hasClosed) return this.#received;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async say(line: string): Promise<string> {
    this.write(`${line}\r\n`);
    return this.reply();
  }

  /** One whole message; the final reply. */
  async send(content: string, from = "jira@example.com", to = "alice@example.com"): Promise<string> {
    for (const line of [`MAIL FROM:<${from}>`, `RCPT TO:<${to}>`, "DATA"]) {
      const reply = await this.say(line);
      if (!/^[23]/.test(reply)) return reply;
    }
    this.write(`${content}\r\n.\r\n`);
    return this.reply();
  }

  /** Everything until the server closes. */
  async rest(): Promise<string> {
    let all = "";
    for (let reply = await this.reply(); reply !== ""; reply = await this.reply()) all += `${reply}\n`;
    return all;
  }
}

/** Time that only moves when told to. */
export class FakeClock implements Clock {
  #now = 1_000_000;
  readonly #sleepers = new Map<() => void, number>();
  now(): number {
    return this.#now;
  }
  monotonic(): number {
    return this.#now;
  }
  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const cancel = this.after(delayMs, resolve);
      const cancelled = () => {
        cancel();
        resolve();
      };
      signal?.addEventListener("abort", cancelled, { once: true });
    });
  }
  after(delayMs: number, act: () => void): () => void {
    const wake = () => {
      this.#sleepers.delete(wake);
      act();
    };
    this.#sleepers.set(wake, this.#now + delayMs);
    return () => this.#sleepers.delete(wake);
  }
  /** Moves on and wakes whoever is due. */
  advance(byMs: number): void {
    this.#now += byMs;
    for (const [wake, until] of [...this.#sleepers]) if (until <= this.#now) wake();
  }
}

/** Seconds pass one by one, as the listener looks once a second. */
export async function passSeconds(
  clock: FakeClock,
  seconds: number,
  eachSecond: (second: number) => void = () => undefined,
) {
  for (let second = 0; second < seconds; second++) {
    clock.advance(1_000);
    eachSecond(second);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
