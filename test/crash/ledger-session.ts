// One connection of the ledger's upstream: the dialog, up to the place where it dies.
import type { Socket } from "node:net";
import type { Arrival, Form } from "./ledger.ts";
import type { Death, Place } from "./deaths.ts";
import { numberOfMessage, numberOfPath } from "./mails.ts";

export type SessionParts = {
  /** Asked once for each transaction; takes care of an outage itself. */
  deathAt(mail: number): Death | undefined;
  died(place: Place): void;
  replyTo(mail: number | undefined, recipient: string): string;
  arrived(arrival: Arrival, data: Buffer): void;
};

type Envelope = {
  readonly reversePath: string;
  readonly mail: number | undefined;
  readonly death: Death | undefined;
  readonly recipients: string[];
};

const END = "\r\n.\r\n";
/** Longer than any header section here. */
const HEAD_OCTETS = 8_192;

export class LedgerSession {
  readonly #socket: Socket;
  readonly #parts: SessionParts;
  #pending: Buffer = Buffer.alloc(0);
  #envelope: Envelope | undefined;
  #isContent = false;

  constructor(socket: Socket, parts: SessionParts) {
    this.#socket = socket;
    this.#parts = parts;
  }

  begin(): void {
    this.#socket.setNoDelay(true);
    this.#socket.on("error", () => undefined);
    this.#socket.on("data", (chunk: Buffer) => this.#read(chunk));
    this.#say("220 upstream.test ESMTP");
  }

  #read(chunk: Buffer): void {
    // an end of content may lie across two chunks
    let from = Math.max(0, this.#pending.length - END.length);
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (!this.#socket.destroyed && this.#next(from)) from = 0;
  }

  /** Takes one line, or one message; false when it has not come whole. */
  #next(from: number): boolean {
    const end = this.#pending.indexOf(this.#isContent ? END : "\r\n", from);
    if (this.#isContent && this.#diesWithin(end >= 0)) return false;
    if (end < 0) return false;
    const taken = this.#pending.subarray(0, end);
    this.#pending = this.#pending.subarray(end + (this.#isContent ? END.length : 2));
    if (this.#isContent) this.#message(Buffer.concat([taken, Buffer.from("\r\n")]));
    else this.#command(taken.toString("latin1"));
    return true;
  }

  #diesWithin(isWhole: boolean): boolean {
    const death = this.#envelope?.death;
    if (death?.place !== "in" || (!isWhole && this.#pending.length < death.octets)) return false;
    this.#die("in");
    return true;
  }

  #command(line: string): void {
    const verb = line.slice(0, 4).toUpperCase();
    switch (verb) {
      case "EHLO": {
        this.#say("250-upstream.test\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250 8BITMIME");
        return;
      }
      case "MAIL":
      case "RCPT": {
        this.#path(verb, line);
        return;
      }
      case "DATA":
        if (this.#diesBefore("DATA")) return;
        this.#isContent = true;
        {
          this.#say("354 go ahead");
          return;
        }
      case "RSET":
        this.#envelope = undefined;
        {
          this.#say("250 2.0.0 reset");
          return;
        }
      case "QUIT":
        this.#socket.end("221 2.0.0 bye\r\n");
        return;
      default: {
        this.#say("500 5.5.1 unknown command");
        return;
      }
    }
  }

  #path(verb: "MAIL" | "RCPT", line: string): void {
    const path = /<([^>]*)>/.exec(line)?.[1] ?? "";
    if (verb === "MAIL") {
      const mail = numberOfPath(path);
      const death = mail === undefined ? undefined : this.#parts.deathAt(mail);
      if (this.#socket.destroyed) return;
      this.#envelope = { reversePath: path, mail, death, recipients: [] };
      if (!this.#diesBefore("MAIL")) this.#say("250 2.1.0 ok");
      return;
    }
    if (this.#diesBefore("RCPT")) return;
    const reply = this.#parts.replyTo(this.#envelope?.mail, path);
    if (reply.startsWith("250")) this.#envelope?.recipients.push(path);
    this.#say(reply);
  }

  #diesBefore(verb: "MAIL" | "RCPT" | "DATA"): boolean {
    const death = this.#envelope?.death;
    if (death?.place !== "before" || death.verb !== verb) return false;
    this.#die("before");
    return true;
  }

  #message(data: Buffer): void {
    const envelope = this.#envelope!;
    this.#isContent = false;
    this.#envelope = undefined;
    this.#parts.arrived(arrivalOf(envelope, data), data);
    switch (envelope.death?.place) {
      case "after": {
        this.#die("after");
        return;
      }
      case "answered":
        this.#parts.died("answered");
        this.#socket.end("250 2.0.0 taken\r\n");
        return;
      default:
        this.#say("250 2.0.0 taken");
    }
  }

  #die(place: Place): void {
    this.#parts.died(place);
    this.#socket.destroy();
  }

  #say(reply: string): void {
    this.#socket.write(`${reply}\r\n`);
  }
}

/** Whose message this is: the reverse-path and the Message-ID must tell of the same mail. */
function arrivalOf({ reversePath, mail, recipients }: Envelope, data: Buffer): Arrival {
  const start = data.subarray(0, HEAD_OCTETS).toString("latin1");
  const head = start.slice(0, start.indexOf("\r\n\r\n") + 2);
  const form = formOf(head, reversePath);
  const own = form === "dsn" ? numberOfPath(recipients[0] ?? "") : numberOfMessage(head);
  return { mail: form === "dsn" || own === mail ? own : undefined, recipients, form };
}

function formOf(head: string, reversePath: string): Form {
  const type = /^Content-Type: ([^;\r]*)/im.exec(head)?.[1]?.toLowerCase();
  if (type === "application/pkcs7-mime") return "smime";
  if (type === "multipart/encrypted") return "pgp";
  if (reversePath !== "" || !/^Auto-Submitted: auto-replied\r$/im.test(head)) return "clear";
  return type === "multipart/report" ? "dsn" : "report";
}
