// ServerSession: one client's connection; moves bytes between socket, reader, dialog and intake, and waits where they wait.
//
// Rules:
// 1. Nothing is decided here: the dialog and the reception decide, this file obeys.
// 2. While anything is awaited (intake, delay, a client that does not read) the socket is paused: memory stays bounded.
// 3. Every state has a moment when it is over (`SessionTimer`); the listener looks once a second.
// 4. Once closing, no further byte of the client is executed.
// 5. In one turn of the event loop a client gets at most one large piece stored or a hundred lines answered: libuv hands over
//    32 pieces of 64 KiB in a row, for which all others would wait.
import { setImmediate } from "node:timers/promises";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { answer } from "./dialog.ts";
import { afterMessage, introduced, openingState, type Step } from "./dialog-state.ts";
import type { Envelope, Session } from "./intake.ts";
import { drained } from "./drained.ts";
import { MessageReception, refusalFor, type Reception } from "./reception.ts";
import { reply } from "./server-reply.ts";
import type { SessionHost } from "./session-host.ts";
import { SessionTimer } from "./session-timer.ts";
import { WireReader } from "./wire-reader.ts";

const LARGE_PIECE_BYTES = 32_768;
/** Lines, and small pieces of content. */
const STEPS_IN_A_TURN = 100;

type Phase = "handshake" | "greeting" | "open" | "closing" | "closed";

export class ServerSession {
  readonly id: string;
  readonly #peerAddress: string;
  readonly #host: SessionHost;
  readonly #reader = new WireReader();
  readonly #openedAt: number;
  readonly #timer: SessionTimer;
  readonly #gone = new AbortController();
  #socket: Socket;
  #state = openingState(false);
  #phase: Phase = "greeting";
  #tls: Session["tls"];
  #reception: MessageReception | undefined;
  #isWaiting = false;
  #hasClientEnded = false;
  #isLastMessage = false;
  #replies = "";

  constructor(socket: Socket, id: string, peerAddress: string, host: SessionHost) {
    this.id = id;
    this.#socket = socket;
    this.#peerAddress = peerAddress;
    this.#host = host;
    this.#openedAt = host.clock.monotonic();
    this.#timer = new SessionTimer(host.deadlines, () => host.clock.monotonic());
    host.observer.onSessionOpened({ sessionId: id, peerAddress });
    this.#watchEnd(socket);
    if (host.dialog.tlsMode === "implicit") this.#secure();
    else {
      socket.on("data", this.#onBytes).on("end", this.#onEnd);
      void this.#greet();
    }
  }

  /** Ends what has taken too long. */
  expire(now: number): void {
    if (!this.#timer.isOver(now)) return;
    if (this.#phase === "open" && !this.#socket.writableNeedDrain) this.#close(reply(421, "4.4.2", "timeout"));
    else this.#socket.destroy();
  }

  /** For shutdown: ends at once, or behind the message that is arriving. */
  shutDown(): void {
    this.#isLastMessage = true;
    if (this.#phase === "handshake") this.#socket.destroy();
    else if (this.#reception === undefined) this.#close(SHUTTING_DOWN);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Of the connection and of TLS above it: whichever goes down first ends the session. */
  #watchEnd(socket: Socket): void {
    socket.on("close", this.#onClose);
    // what goes wrong on the way to a client is the client's to repeat; "close" follows
    socket.on("error", () => {
      if (this.#phase === "handshake") {
        this.#phase = "closing";
        this.#host.observer.onSessionRefused({ peerAddress: this.#peerAddress, reason: "tls-handshake" });
      }
      socket.destroy();
    });
  }

  /** 220, unless the client speaks before it: a client that does not listen sends somebody else's commands. */
  async #greet(): Promise<void> {
    this.#timer.allow("idleMs");
    // what had come in with the connection is read between the two
    await setImmediate();
    await setImmediate();
    if (this.#phase !== "greeting") return;
    this.#phase = "open";
    this.#replies = reply(220, "", `${this.#host.dialog.hostname} ESMTP Sealpost`);
    this.#advance();
  }

  readonly #onBytes = (bytes: Buffer): void => {
    if (this.#phase === "closing" || this.#phase === "closed") return;
    if (this.#phase === "greeting") {
      this.#host.observer.onSessionRefused({ peerAddress: this.#peerAddress, reason: "early-talker" });
      this.#close(reply(554, "5.5.0", "wait for the greeting"));
      return;
    }
    this.#reader.push(bytes);
    if (!this.#isWaiting) this.#advance();
  };

  readonly #onEnd = (): void => {
    this.#hasClientEnded = true;
    if (!this.#isWaiting) this.#close("");
  };

  readonly #onClose = (): void => {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#gone.abort();
    if (!this.#isWaiting) void this.#reception?.abandon();
    const durationMs = this.#host.clock.monotonic() - this.#openedAt;
    this.#host.observer.onSessionClosed({ sessionId: this.id, peerAddress: this.#peerAddress, durationMs });
    this.#host.closed();
  };

  /** Does all that can be done with what has come in; then sends the replies in one write. */
  #advance(): void {
    try {
      for (let steps = 0; this.#phase === "open" && !this.#isWaiting; steps++) {
        if (steps === STEPS_IN_A_TURN) {
          this.#awaitLine();
          this.#wait(this.#nextTurn(), () => undefined);
        } else if (!(this.#reception === undefined ? this.#readLine() : this.#readContent(this.#reception))) break;
      }
      this.#flush();
      if (this.#phase !== "open" || this.#isWaiting) return;
      this.#awaitLine();
      if (this.#hasClientEnded) this.#close("");
      else if (this.#socket.writableNeedDrain) this.#wait(this.#nextTurn(), () => undefined);
    } catch (error) {
      this.#fail(error);
    }
  }

  #awaitLine(): void {
    if (this.#reception === undefined)
      this.#timer.awaitLine(this.#reader.unreadBytes > 0, this.#state.transaction !== undefined);
  }

  #readLine(): boolean {
    const event = this.#reader.nextLine(this.#state.exchange !== undefined);
    if (event === undefined) return false;
    this.#timer.lineRead();
    this.#obey(answer(this.#state, event, this.#reader.unreadBytes > 0, this.#host.dialog));
    return true;
  }

  #obey(step: Step): void {
    const { effect } = step;
    this.#state = step.state;
    if (step.refused !== undefined) this.#host.observer.onMessageRefused({ sessionId: this.id, ...step.refused });
    switch (effect.kind) {
      case "none":
        this.#replies += step.reply;
        return;
      case "close":
        this.#close(step.reply);
        return;
      case "receive":
        this.#begin(effect.envelope, step.reply);
        return;
      case "auth-succeeded":
        this.#host.authSucceeded();
        this.#replies += step.reply;
        return;
      case "auth-failed": {
        const { user, isLast } = effect;
        this.#host.observer.onAuthFailed({ sessionId: this.id, peerAddress: this.#peerAddress, user });
        this.#wait(this.#host.clock.sleep(this.#host.authFailed(), this.#gone.signal), () => {
          if (isLast) this.#close(step.reply);
          else this.#replies += step.reply;
        });
        return;
      }
      case "start-tls":
        // what arrives from here on belongs to TLS: it stays in the socket's buffer until TLS takes it over
        this.#socket.off("data", this.#onBytes).off("end", this.#onEnd).pause();
        this.#phase = "handshake";
        this.#timer.allow("tlsHandshakeMs");
        this.#socket.write(this.#replies + step.reply, () => this.#secure());
        this.#replies = "";
    }
  }

  #begin(envelope: Envelope, goAhead: string): void {
    try {
      const intake = this.#host.begin(this.#session(), envelope);
      this.#reception = new MessageReception(envelope, intake, this.#host.reception);
    } catch (error) {
      this.#conclude({ kind: "refused", refusal: refusalFor(error), mustClose: false, cause: error }, envelope);
      return;
    }
    this.#reader.beginContent();
    this.#replies += goAhead;
    this.#timer.awaitContent();
  }

  #readContent(reception: MessageReception): boolean {
    const event = this.#reader.nextContent();
    if (event === undefined) return false;
    const written = reception.write(event.content, this.#reader.findings);
    if (event.isEnd || reception.isHopeless) {
      this.#timer.stop();
      const { envelope } = reception;
      this.#wait(reception.finish(written), (outcome) => this.#conclude(outcome, envelope));
    } else if (event.content.length >= LARGE_PIECE_BYTES) this.#wait(inNextTurn(written), () => undefined);
    else if (written !== undefined) this.#wait(written, () => undefined);
    return true;
  }

  /** The final reply of a message. */
  #conclude(outcome: Reception, envelope: Envelope): void {
    const sessionId = this.id;
    this.#reception = undefined;
    this.#state = afterMessage(this.#state, outcome.kind === "accepted");
    if (outcome.kind === "accepted") {
      const { id: queueId, sizeBytes } = outcome;
      this.#timer.messageAccepted();
      this.#replies += reply(250, "2.0.0", `queued as ${queueId}`);
      this.#host.observer.onMessageAccepted({ sessionId, queueId, envelope, sizeBytes });
    } else {
      const { code, status, text, reason } = outcome.refusal;
      this.#replies += reply(code, status, text);
      this.#host.observer.onMessageRefused({ sessionId, code, reason, cause: outcome.cause });
      if (outcome.mustClose) this.#close("");
    }
    if (this.#isLastMessage) this.#close(SHUTTING_DOWN);
  }

  /** Reads nothing more until `promise` has settled and `then` has dealt with its value. */
  #wait<T>(promise: Promise<T>, then: (value: T) => void): void {
    this.#isWaiting = true;
    this.#socket.pause();
    this.#flush();
    promise
      .then((value) => {
        this.#isWaiting = false;
        // first: what follows may lead to the next wait
        this.#socket.resume();
        then(value);
        if (this.#phase === "open") this.#advance();
        else void this.#reception?.abandon();
      })
      .catch((error: unknown) => this.#fail(error));
  }

  /** A client that does not read its replies is not answered further either. */
  #nextTurn(): Promise<void> {
    this.#flush();
    return this.#socket.writableNeedDrain ? drained(this.#socket) : setImmediate();
  }

  #flush(): void {
    if (this.#replies === "" || this.#phase !== "open") return;
    this.#socket.write(this.#replies);
    this.#replies = "";
  }

  #fail(error: unknown): void {
    this.#host.observer.onFault(error);
    this.#close(reply(421, "4.3.0", "fault in the server"));
  }

  /** Says the last word. The connection is read on, for nothing, until the client closes it: else it would lose the reply. */
  #close(lastReply: string): void {
    if (this.#phase === "closing" || this.#phase === "closed") return;
    this.#phase = "closing";
    if (!this.#isWaiting) void this.#reception?.abandon();
    this.#socket.end(this.#replies + lastReply);
    this.#replies = "";
    this.#timer.allow("lingerMs");
    this.#socket.resume();
  }

  /** Begins TLS on the connection; its own timer is the deadline. */
  #secure(): void {
    if (this.#phase === "closed" || this.#host.secureContext === undefined) return;
    this.#phase = "handshake";
    this.#timer.allow("tlsHandshakeMs");
    const socket = new TLSSocket(this.#socket, { isServer: true, secureContext: this.#host.secureContext });
    this.#socket = socket;
    this.#watchEnd(socket);
    socket.on("data", this.#onBytes).on("end", this.#onEnd);
    socket.once("secure", () => {
      this.#tls = { protocol: socket.getProtocol() ?? "", cipher: socket.getCipher().name };
      this.#state = openingState(true);
      if (this.#host.dialog.tlsMode === "implicit") {
        this.#phase = "greeting";
        void this.#greet();
      } else {
        this.#phase = "open";
        this.#advance();
      }
    });
  }

  #session(): Session {
    return { id: this.id, peerAddress: this.#peerAddress, tls: this.#tls, ...introduced(this.#state) };
  }
}

const SHUTTING_DOWN = reply(421, "4.3.2", "shutting down");

async function inNextTurn(written: Promise<void> | undefined): Promise<void> {
  await written;
  await setImmediate();
}
