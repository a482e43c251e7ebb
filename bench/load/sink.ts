// Load sink, a process of its own: an SMTP server that counts what arrives and keeps nothing.
//
// Argument: JSON of SinkOptions. Over IPC it says `{ port }`, and answers "figures" with SinkFigures, "arrivals" with Arrivals.
import { createServer, type Socket } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";

export type SinkOptions = {
  /** With it STARTTLS is offered. */
  readonly certificate?: { readonly cert: string; readonly key: string };
  /** The replies to final dots of mails for this forward-path wait so long. */
  readonly slow?: { readonly recipient: string; readonly delayMs: number };
};
export type SinkFigures = {
  readonly messages: number;
  readonly bytes: number;
  /** Of process.hrtime, in ms: comparable with other processes of this machine. */
  readonly lastAt: number;
  readonly cpuMicroseconds: number;
};
/** When the final dots of the last 10,000 messages came, by Message-ID; as `lastAt`. */
export type Arrivals = Readonly<Record<string, number>>;

const END = Buffer.from("\r\n.\r\n");
const ID_FIELD = Buffer.from("\r\nMessage-ID: ");
const KEPT_ARRIVALS = 10_000;
/** Message-ID stands within these. */
const HEAD_BYTES = 8_192;
const NOTHING: Buffer = Buffer.alloc(0);
const options = JSON.parse(process.argv[2] ?? "{}") as SinkOptions;
const { slow } = options;
const secureContext = options.certificate && createSecureContext(options.certificate);
let [messages, bytes, lastAt] = [0, 0, 0];
const arrivals = new Map<string, number>();

const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

function took(head: Buffer): void {
  messages++;
  lastAt = nowMs();
  const start = head.indexOf(ID_FIELD);
  if (start < 0) return;
  const id = head.toString("latin1", start + ID_FIELD.length, head.indexOf(13, start + ID_FIELD.length)).trim();
  arrivals.set(id, lastAt);
  if (arrivals.size > KEPT_ARRIVALS) arrivals.delete(arrivals.keys().next().value ?? "");
}

class Connection {
  readonly #isTls: boolean;
  readonly #socket: Socket;
  #rest: Buffer = NOTHING;
  #head: Buffer = NOTHING;
  #isContent = false;
  #isSlow = false;
  #replies = "";

  constructor(socket: Socket, isTls: boolean) {
    this.#socket = socket;
    this.#isTls = isTls;
    socket.on("error", () => socket.destroy());
    socket.on("data", this.#onData);
  }

  readonly #onData = (chunk: Buffer): void => {
    bytes += chunk.length;
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (this.#isContent ? this.#content() : this.#line()) continue;
    if (this.#replies !== "" && !this.#socket.writableEnded) this.#socket.write(this.#replies);
    this.#replies = "";
  };

  /** False until more comes. */
  #content(): boolean {
    const end = this.#rest.indexOf(END);
    if (this.#head.length < HEAD_BYTES) this.#head = Buffer.concat([this.#head, this.#rest.subarray(0, HEAD_BYTES)]);
    if (end < 0) {
      // the end may come in two pieces
      this.#rest = Buffer.from(this.#rest.subarray(Math.max(0, this.#rest.length - END.length + 1)));
      return false;
    }
    this.#rest = this.#rest.subarray(end + END.length);
    this.#isContent = false;
    took(this.#head);
    this.#head = NOTHING;
    if (slow !== undefined && this.#isSlow) setTimeout(() => this.#socket.write("250 2.0.0 queued\r\n"), slow.delayMs);
    else this.#replies += "250 2.0.0 queued\r\n";
    return true;
  }

  /** False until more comes, and when this connection speaks no more. */
  #line(): boolean {
    const end = this.#rest.indexOf(10);
    if (end < 0) return false;
    const line = this.#rest.toString("latin1", 0, end);
    const verb = line.slice(0, 4).toUpperCase();
    this.#rest = this.#rest.subarray(end + 1);
    const mayStartTls = secureContext !== undefined && !this.#isTls;
    switch (verb) {
      case "EHLO":
        this.#replies += `250-sink.test\r\n250-PIPELINING\r\n${mayStartTls ? "250-STARTTLS\r\n" : ""}250 8BITMIME\r\n`;
        return true;
      case "STAR":
        this.#startTls();
        return false;
      case "MAIL":
        this.#isSlow = false;
        this.#replies += "250 2.1.0 ok\r\n";
        return true;
      case "RCPT":
        if (slow !== undefined) this.#isSlow ||= line.includes(`<${slow.recipient}>`);
        this.#replies += "250 2.1.5 ok\r\n";
        return true;
      case "DATA":
        this.#replies += "354 go ahead\r\n";
        this.#isContent = true;
        return true;
      case "QUIT":
        this.#socket.end(`${this.#replies}221 2.0.0 bye\r\n`);
        return false;
      default:
        this.#replies += "250 2.0.0 ok\r\n";
        return true;
    }
  }

  #startTls(): void {
    if (secureContext === undefined) return;
    this.#socket.write("220 2.0.0 go ahead\r\n");
    this.#socket.off("data", this.#onData);
    new Connection(new TLSSocket(this.#socket, { isServer: true, secureContext }), true);
  }
}

const server = createServer({ noDelay: true }, (socket) => {
  socket.write("220 sink.test ESMTP\r\n");
  new Connection(socket, false);
});
server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as { port: number }).port }));
process.on("message", (asked) => {
  const { user, system } = process.cpuUsage();
  const figures: SinkFigures = { messages, bytes, lastAt, cpuMicroseconds: user + system };
  process.send?.(asked === "arrivals" ? (Object.fromEntries(arrivals) satisfies Arrivals) : figures);
});
process.on("disconnect", () => process.exit(0));
