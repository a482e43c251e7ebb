// One connection of the test upstream: the dialog, as RFC 5321 has it or as the test wants it.
import type { Socket } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";
import { DROP, HANG, type Command, type Login, type Recorder } from "./upstream-script.ts";

type Envelope = { mailFrom: string; mailParams: string; rcptTo: string[]; rcptParams: string[] };
const END = Buffer.from("\r\n.\r\n");

/** One connection: reads octets as they come, answers one command after the other. */
export class Session {
  readonly #recorder: Recorder;
  readonly #number: number;
  #socket: Socket;
  #isTls: boolean;
  #pending: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;
  #isClosed = false;
  #login: Login | undefined;
  #envelope: Envelope | undefined;

  constructor(recorder: Recorder, socket: Socket) {
    this.#recorder = recorder;
    this.#socket = socket;
    this.#isTls = socket instanceof TLSSocket;
    this.#number = ++recorder.accepted;
    this.#listen(socket);
  }

  async run(): Promise<void> {
    if (!(await this.#answer("CONNECT", "", "220 upstream.test ESMTP"))) return;
    for (;;) {
      const line = await this.#line();
      if (line === undefined) return;
      const verb = (/^[A-Za-z0-9]*/.exec(line)?.[0] ?? "").toUpperCase();
      if (!this.#recorder.behaviour.pipelining && this.#pending.length > 0) this.#violation(`pipelined after ${verb}`);
      if (!(await this.#command(verb, line))) return;
    }
  }

  /** false when the connection is over or to be left hanging. */
  async #command(verb: string, line: string): Promise<boolean> {
    switch (verb) {
      case "EHLO":
        this.#envelope = undefined;
        return this.#answer(verb, line, this.#greeting());
      case "STARTTLS":
        return this.#startTls(line);
      case "AUTH":
        return this.#auth(line);
      case "MAIL":
      case "RCPT":
        return this.#path(verb, line);
      case "DATA":
        return this.#data(line);
      case "RSET":
        this.#envelope = undefined;
        return this.#answer(verb, line, "250 2.0.0 reset");
      case "NOOP":
        return this.#answer(verb, line, "250 2.0.0 ok");
      case "QUIT":
        if (await this.#answer(verb, line, "221 2.0.0 bye")) this.#socket.end();
        return false;
      default:
        return this.#answer(verb, line, "500 5.5.1 unknown command");
    }
  }

  #greeting(): string {
    const { behaviour, options } = this.#recorder;
    const lines = ["upstream.test", "ENHANCEDSTATUSCODES"];
    if (behaviour.pipelining) lines.push("PIPELINING");
    if (behaviour.eightBitMime) lines.push("8BITMIME");
    if (behaviour.smtpUtf8) lines.push("SMTPUTF8");
    if (behaviour.dsn) lines.push("DSN");
    if (behaviour.sizeLimit !== undefined) lines.push(`SIZE ${behaviour.sizeLimit}`);
    if (behaviour.starttls && !this.#isTls && options.implicitTls !== true) lines.push("STARTTLS");
    if (behaviour.auth.length > 0) lines.push(`AUTH ${behaviour.auth.join(" ")}`);
    return lines.map((line, i) => `250${i === lines.length - 1 ? " " : "-"}${line}`).join("\r\n");
  }

  async #startTls(line: string): Promise<boolean> {
    const { certificate } = this.#recorder.options;
    let reply = "";
    const usual = certificate && !this.#isTls ? "220 2.0.0 go ahead" : "454 4.7.0 TLS not available";
    if (this.#pending.length > 0) this.#violation("octets after STARTTLS before the handshake");
    if (!(await this.#answer("STARTTLS", line, usual, (sent) => (reply = sent)))) return false;
    if (!reply.startsWith("220") || !certificate) return true;
    const plain = this.#socket;
    plain.removeAllListeners("data");
    this.#recorder.open.delete(plain);
    const secure = new TLSSocket(plain, { isServer: true, secureContext: createSecureContext(certificate) });
    this.#pending = Buffer.alloc(0);
    this.#socket = secure;
    this.#isTls = true;
    this.#envelope = undefined;
    this.#listen(secure);
    return true;
  }

  async #auth(line: string): Promise<boolean> {
    const [, mechanism = "", initial] = line.split(" ");
    const decoded = (text: string | undefined) => Buffer.from(text ?? "", "base64").toString();
    const ask = async (prompt: string) => {
      this.#socket.write(`334 ${prompt}\r\n`);
      return decoded(await this.#line());
    };
    let login: Login | undefined;
    if (mechanism === "PLAIN") {
      const [, user = "", password = ""] = (initial === undefined ? await ask("") : decoded(initial)).split("\0");
      login = { mechanism, user, password };
    } else if (mechanism === "LOGIN") {
      const user = initial === undefined ? await ask("VXNlcm5hbWU6") : decoded(initial);
      login = { mechanism, user, password: await ask("UGFzc3dvcmQ6") };
    } else if (mechanism === "XOAUTH2") {
      const [, user = "", password = ""] =
        /^user=(.*?)\|auth=Bearer (.*?)\|\|$/.exec(decoded(initial).replaceAll("\x01", "|")) ?? [];
      login = { mechanism, user, password };
    }
    if (!login || !this.#recorder.behaviour.auth.includes(mechanism))
      return this.#answer("AUTH", line, "504 5.5.4 mechanism not offered");
    const accept = (reply: string) => {
      if (reply.startsWith("2")) this.#login = login;
    };
    return this.#answer("LOGIN", line, "235 2.7.0 welcome", accept, login);
  }

  #path(verb: "MAIL" | "RCPT", line: string): Promise<boolean> {
    const match = /^(?:MAIL FROM|RCPT TO):<([^>]*)>(?: (.*))?$/i.exec(line);
    if (!match) return this.#answer(verb, line, "501 5.5.4 syntax");
    const [, address = "", params = ""] = match;
    if (verb === "RCPT" && !this.#envelope) return this.#answer(verb, line, "503 5.5.1 MAIL first");
    return this.#answer(verb, line, "250 2.1.0 ok", (reply) => {
      if (!reply.startsWith("2")) return;
      if (verb === "MAIL") this.#envelope = { mailFrom: address, mailParams: params, rcptTo: [], rcptParams: [] };
      else {
        this.#envelope?.rcptTo.push(address);
        this.#envelope?.rcptParams.push(params);
      }
    });
  }

  async #data(line: string): Promise<boolean> {
    const envelope = this.#envelope;
    let reply = "";
    const usual = envelope?.rcptTo.length ? "354 go ahead" : "503 5.5.1 RCPT first";
    if (this.#pending.length > 0) this.#violation("octets after DATA before the 354");
    if (!(await this.#answer("DATA", line, usual, (sent) => (reply = sent)))) return false;
    if (!reply.startsWith("3")) return true;
    const stuffed = await this.#content();
    if (stuffed === undefined) return false;
    const { keep } = this.#recorder.options;
    const data = keep === false ? Buffer.alloc(0) : destuffed(stuffed);
    this.#envelope = undefined;
    this.#recorder.finalDots++;
    const goesOn = await this.#answer("DOT", ".", "250 2.0.0 queued", (reply) => {
      if (!reply.startsWith("2") || !envelope) return;
      const { transactions } = this.#recorder;
      transactions.push({ ...envelope, data, tls: this.#isTls, auth: this.#login, session: this.#number });
    });
    this.#recorder.changed();
    return goesOn;
  }

  /** Message octets, still stuffed, with the CRLF before the final dot; undefined when the client went away. */
  async #content(): Promise<Buffer | undefined> {
    // a virtual CRLF in front: the first line may be the dot already
    const parts: Buffer[] = [];
    let tail: Buffer = Buffer.from("\r\n");
    let octets = 0;
    for (;;) {
      if (this.#pending.length === 0 && !(await this.#more())) return undefined;
      const chunk = this.#pending;
      this.#pending = Buffer.alloc(0);
      const window = Buffer.concat([tail, chunk]);
      const end = window.indexOf(END);
      if (end >= 0) {
        parts.push(window.subarray(0, end + 2));
        this.#pending = window.subarray(end + END.length);
        return Buffer.concat(parts).subarray(2);
      }
      octets += chunk.length;
      const keep = Math.min(END.length - 1, window.length);
      parts.push(window.subarray(0, window.length - keep));
      tail = window.subarray(window.length - keep);
      const wish = this.#recorder.behaviour.duringData?.(octets);
      if (wish === "drop") this.#socket.destroy();
      if (wish === "stall") this.#socket.pause();
    }
  }

  /** Sends the usual reply, or what the test wants instead; false when the conversation cannot go on. */
  async #answer(
    verb: string,
    line: string,
    usual: string,
    onReply: (reply: string) => void = () => undefined,
    login?: Login,
  ): Promise<boolean> {
    const command: Command = { verb, line, session: this.#number, tls: this.#isTls, ...(login && { login }) };
    if (verb !== "CONNECT" && verb !== "DOT") this.#recorder.commands.push(command);
    this.#recorder.changed();
    const answer = (await this.#recorder.behaviour.reply(command)) ?? usual;
    if (answer === HANG) return false;
    if (answer === DROP || this.#isClosed) {
      this.#socket.destroy();
      return false;
    }
    onReply(typeof answer === "string" ? answer : answer.raw.toString());
    this.#socket.write(typeof answer === "string" ? `${answer}\r\n` : answer.raw);
    return true;
  }

  async #line(): Promise<string | undefined> {
    for (;;) {
      const end = this.#pending.indexOf("\r\n");
      if (end >= 0) {
        const line = this.#pending.toString("utf8", 0, end);
        this.#pending = this.#pending.subarray(end + 2);
        return line;
      }
      if (!(await this.#more())) return undefined;
    }
  }

  /** Waits for more octets; false when there will be none. */
  async #more(): Promise<boolean> {
    const before = this.#pending.length;
    while (this.#pending.length === before && !this.#isClosed)
      await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.#pending.length > before;
  }

  #listen(socket: Socket): void {
    const { open } = this.#recorder;
    open.add(socket);
    this.#recorder.peak = Math.max(this.#recorder.peak, open.size);
    socket.setNoDelay(true);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      if (this.#recorder.options.keep !== false) this.#recorder.raw.push(chunk);
      this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
      this.#wake?.();
    });
    socket.on("close", () => {
      open.delete(socket);
      if (socket === this.#socket) this.#isClosed = true;
      this.#wake?.();
      this.#recorder.changed();
    });
  }

  #violation(text: string): void {
    this.#recorder.violations.push(text);
  }
}

/** Removes the dot that RFC 5321 4.5.2 puts before a line that begins with one. */
function destuffed(stuffed: Buffer): Buffer {
  const parts: Buffer[] = [];
  let from = stuffed[0] === 0x2e ? 1 : 0;
  for (let at = stuffed.indexOf("\r\n.", from); at >= 0; at = stuffed.indexOf("\r\n.", from)) {
    parts.push(stuffed.subarray(from, at + 2));
    from = at + 3;
  }
  parts.push(stuffed.subarray(from));
  return Buffer.concat(parts);
}
