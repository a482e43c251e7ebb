// One connection to the upstream: command lines out, whole replies in, every wait with its deadline.
import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import type { Clock } from "../clock.ts";
import { ReplyReader, shownReply, type Reply } from "./upstream-reply.ts";

/**
 * Why a connection is over. `lost`: the peer or the network ended it; `closing`: the peer said 421; `late`: a deadline passed;
 * `garbled`: what came is not SMTP; `tls`: the handshake failed. The message is a sentence for the log.
 */
export class ConnectionFault extends Error {
  readonly kind: "lost" | "closing" | "late" | "garbled" | "tls";
  constructor(kind: ConnectionFault["kind"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

const TLS_FAULT = /^(?:ERR_SSL|ERR_TLS|EPROTO)|CERT|SIGNED|UNABLE_TO/;

/** The first fault ends the connection for good; everything that waits or is asked for later rejects with it. */
export class UpstreamConnection {
  readonly #clock: Clock;
  readonly #onEnd: () => void;
  #socket: Socket;
  #reader = new ReplyReader();
  #replies: Reply[] = [];
  /** Replies that the peer still has to give; one more than that is a peer out of step. */
  #owed = 1;
  #fault: ConnectionFault | undefined;
  #wake: (() => void) | undefined;

  private constructor(socket: Socket, clock: Clock, signal: AbortSignal, onEnd: () => void) {
    this.#socket = socket;
    this.#clock = clock;
    const stop = () => this.fail(new ConnectionFault("lost", "the relay is shutting down"));
    signal.addEventListener("abort", stop);
    this.#onEnd = () => {
      signal.removeEventListener("abort", stop);
      onEnd();
    };
    this.#listen(socket);
  }

  /** Connects; with `tls`, speaks TLS from the first octet. The greeting is the first `reply`. `onEnd` is called once. */
  static async open(
    at: { host: string; port: number; tls: ConnectionOptions | undefined; withinMs: number },
    clock: Clock,
    signal: AbortSignal,
    onEnd: () => void,
  ): Promise<UpstreamConnection> {
    const { host, port, tls } = at;
    const socket = tls ? connectTls({ ...tls, host, port }) : connectPlain({ host, port });
    const connection = new UpstreamConnection(socket, clock, signal, onEnd);
    await connection.#handshake(tls ? "secureConnect" : "connect", at.withinMs, "the connection");
    socket.setNoDelay(true);
    return connection;
  }

  /** The address that was really reached. */
  get peerAddress(): string {
    return this.#socket.remoteAddress ?? "";
  }

  get tlsSocket(): TLSSocket | undefined {
    return "encrypted" in this.#socket ? (this.#socket as TLSSocket) : undefined;
  }

  get isOver(): boolean {
    return this.#fault !== undefined;
  }

  /** Sends command lines in one segment; each will be answered by one reply. */
  command(...lines: readonly string[]): void {
    this.#owed += lines.length;
    if (!this.#fault) this.#socket.write(`${lines.join("\r\n")}\r\n`);
  }

  /** The next reply. Rejects with ConnectionFault, also when it is 421: then the peer is closing. */
  async reply(withinMs: number): Promise<Reply> {
    await this.#until(() => this.#replies.length > 0, withinMs, "no reply");
    const reply = this.#replies.shift();
    if (!reply) throw new Error("a reply vanished");
    if (reply.code !== 421) return reply;
    const closing = new ConnectionFault("closing", shownReply(reply));
    this.fail(closing);
    throw closing;
  }

  /** Sends message octets; resolves when the socket takes more. */
  async write(octets: Uint8Array, withinMs: number): Promise<void> {
    if (this.#fault) throw this.#fault;
    if (!this.#socket.write(octets))
      await this.#until(() => !this.#socket.writableNeedDrain, withinMs, "nothing taken");
  }

  /** Sends the last octets of a message, to which one reply is owed. */
  endMessage(last: Uint8Array): void {
    if (this.#fault) throw this.#fault;
    this.#owed++;
    this.#socket.write(last);
  }

  /** TLS over this connection, after 220 to STARTTLS. */
  async secure(options: ConnectionOptions, withinMs: number): Promise<void> {
    if (this.#fault) throw this.#fault;
    // the beginning of a line, said in clear by somebody in between, to be read as if it had come through TLS (RFC 3207 6);
    // a whole line would be one reply too many and has ended the connection already
    if (this.#reader.isMidway) {
      const early = new ConnectionFault(
        "garbled",
        "upstream sent octets between its reply to STARTTLS and the handshake",
      );
      this.fail(early);
      throw early;
    }
    this.#socket = connectTls({ ...options, socket: this.#socket });
    this.#listen(this.#socket);
    await this.#handshake("secureConnect", withinMs, "the TLS handshake");
  }

  /** Ends the connection at once. What was not flushed is never sent. */
  fail(fault: ConnectionFault): void {
    if (this.#fault) return;
    this.#fault = fault;
    this.#socket.destroy();
    this.#wake?.();
    this.#onEnd();
  }

  /** Says QUIT and closes, without waiting for the reply. */
  quit(): void {
    if (this.#fault) return;
    this.#fault = new ConnectionFault("lost", "the connection was closed by us");
    const socket = this.#socket;
    socket.end("QUIT\r\n", () => socket.destroy());
    this.#onEnd();
  }

  async #handshake(event: "connect" | "secureConnect", withinMs: number, what: string): Promise<void> {
    let isDone = false;
    this.#socket.once(event, () => {
      isDone = true;
      this.#wake?.();
    });
    await this.#until(() => isDone, withinMs, `${what} does not come about`);
  }

  async #until(isSo: () => boolean, withinMs: number, what: string): Promise<void> {
    if (isSo()) return;
    const cancel = this.#clock.after(withinMs, () =>
      this.fail(new ConnectionFault("late", `${what} within ${withinMs / 1000} s`)),
    );
    try {
      while (!isSo()) {
        if (this.#fault) throw this.#fault;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      cancel();
    }
  }

  #listen(socket: Socket): void {
    // once TLS stands on it, what happens to the plain socket is told by the TLS socket
    const ifCurrent = (fault: () => ConnectionFault) => {
      if (socket === this.#socket) this.fail(fault());
    };
    const lost = () => ifCurrent(() => new ConnectionFault("lost", "upstream has closed the connection"));
    socket.on("data", (octets: Buffer) => this.#read(octets));
    socket.on("drain", () => this.#wake?.());
    socket.on("error", (cause: NodeJS.ErrnoException) => {
      const kind = TLS_FAULT.test(cause.code ?? "") ? "tls" : "lost";
      ifCurrent(() => new ConnectionFault(kind, cause.message, { cause }));
    });
    socket.on("end", lost);
    socket.on("close", lost);
  }

  #read(octets: Buffer): void {
    try {
      for (const reply of this.#reader.push(octets)) {
        if (this.#owed === 0) {
          const kind = reply.code === 421 ? "closing" : "garbled";
          this.fail(new ConnectionFault(kind, `upstream said without being asked: ${shownReply(reply)}`));
          return;
        }
        this.#owed--;
        this.#replies.push(reply);
      }
    } catch (cause) {
      this.fail(new ConnectionFault("garbled", cause instanceof Error ? cause.message : "unreadable reply", { cause }));
    }
    this.#wake?.();
  }
}
