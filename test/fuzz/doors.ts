// Two doors for fuzzing: the real session over a connection in memory, and the real listener over sockets.
import { duplexPair } from "node:stream";
import { connect, type Socket } from "node:net";
import { createSecureContext } from "node:tls";
import { setImmediate, setTimeout } from "node:timers/promises";
import type { Clock } from "../../src/clock.ts";
import type { AddressFault, Mailbox } from "../../src/mail/address.ts";
import { Secret } from "../../src/secret.ts";
import type { Envelope, Intake } from "../../src/smtp/intake.ts";
import { DEFAULT_LIMITS } from "../../src/smtp/listener.ts";
import { ServerSession } from "../../src/smtp/session.ts";
import type { SessionHost } from "../../src/smtp/session-host.ts";
import type { ServerCertificate } from "../authority.ts";
import { openDoor, type Door } from "../smtp/recording-door.ts";
import { MAX_MESSAGE_BYTES, MAX_RECIPIENTS, USER, type FuzzDialog, type Setup } from "./fuzz-dialog.ts";
import type { StoredMessage } from "./referee.ts";

/** What came of a conversation. `output` is all that the server said, `heard` how much of it behind each segment. */
export type Outcome = {
  readonly output: string;
  readonly heard: readonly number[];
  readonly stored: readonly StoredMessage[];
  /** Messages begun that were neither committed nor aborted, faults of the server, a session that did not end. */
  readonly faults: readonly string[];
};
/** The pieces in which a segment is sent. */
export type Cutter = (segment: string, offset: number) => readonly string[];

export const whole: Cutter = (segment) => [segment];

/**
 * Odd cuts are behind a CR, LF, NUL or dot, even ones anywhere; none is between a command that nothing may stand behind (RFC 2920
 * 3.1) and what does stand behind it: a client that waits there is another client.
 */
export function cutAt(cuts: readonly number[], octets: string): Cutter {
  const telling = [...octets.matchAll(/[\r\n\0.]/g)].map(({ index }) => index + 1);
  const places = new Set(
    cuts.map((cut) => (cut % 2 === 1 && telling[(cut >> 1) % telling.length]) || cut % octets.length),
  );
  return (segment, offset) => {
    const inside = [...places].filter((place) => place > offset && place < offset + segment.length);
    const edges = inside.map((place) => place - offset).filter((edge) => !WAITS.test(segment.slice(0, edge)));
    return pieces(
      segment,
      edges.sort((a, b) => a - b),
    );
  };
}

export const octetByOctet: Cutter = (segment) => {
  const edges = Array.from({ length: segment.length - 1 }, (_, index) => index + 1);
  return pieces(
    segment,
    edges.filter((edge) => !WAITS.test(segment.slice(Math.max(0, edge - 20), edge))),
  );
};

const WAITS = /(?:DATA|STARTTLS)[^\r\n]{0,4}\r\n$/i;

function pieces(segment: string, edges: readonly number[]): string[] {
  return [0, ...edges].map((edge, index) => segment.slice(edge, edges[index]));
}

// a login that fails and a commit take one each
const TURNS_OF_SILENCE = 3;

/** The conversation with a session of its own, in memory; nothing in it takes time. */
export async function converseInMemory(dialog: FuzzDialog, cutter: Cutter, tls: ServerCertificate): Promise<Outcome> {
  const [client, server] = duplexPair();
  const { host, ...recorded } = hostFor(dialog.setup, tls);
  let output = "";
  client.on("data", (bytes: Buffer) => (output += bytes.toString("latin1")));
  client.on("error", () => undefined);
  const fallSilent = async () => {
    for (let [turns, before] = [0, -1]; turns < TURNS_OF_SILENCE; turns++) {
      await setImmediate();
      const now = output.length + recorded.steps();
      if (now !== before) [turns, before] = [0, now];
    }
  };
  new ServerSession(server as unknown as Socket, "fuzz", "127.0.0.1", host);
  if (!dialog.setup.isEarly) await fallSilent();
  const heard: number[] = [];
  let offset = 0;
  for (const segment of dialog.segments) {
    for (const piece of cutter(segment, offset)) {
      if (client.writable) client.write(piece, "latin1");
      await setImmediate();
    }
    offset += segment.length;
    await fallSilent();
    heard.push(output.length);
  }
  if (dialog.setup.end === "break") {
    client.destroy();
    server.destroy();
  } else client.end();
  await fallSilent();
  client.destroy();
  return { output, heard, stored: recorded.stored, faults: recorded.faults() };
}

function hostFor(setup: Setup, tls: ServerCertificate) {
  const stored: StoredMessage[] = [];
  const faults: string[] = [];
  let [steps, begun, settled, isClosed] = [0, 0, 0, false];
  const nothing = () => {
    steps++;
  };
  const closed = () => {
    steps++;
    isClosed = true;
  };
  const begin = (): Intake => {
    steps++;
    if (setup.fault === "begin") throw new Error("told to fail");
    begun++;
    const chunks: Buffer[] = [];
    return {
      write: (chunk) => {
        chunks.push(Buffer.from(chunk));
        return Promise.resolve();
      },
      async commit(envelope) {
        await setImmediate();
        settled++;
        if (setup.fault === "commit") throw new Error("told to fail");
        stored.push(shown(envelope, Buffer.concat(chunks).toString("latin1")));
        return { id: `id${stored.length}` };
      },
      abort: () => {
        settled++;
        return Promise.resolve();
      },
    };
  };
  const host: SessionHost = {
    dialog: { hostname: "relay.example.com", isLoopback: true, tlsMode: setup.tls, ...doorSettings(setup), mayReceive },
    reception: { maxMessageBytes: MAX_MESSAGE_BYTES, lineEndings: setup.lineEndings },
    deadlines: DEFAULT_LIMITS,
    secureContext: setup.tls === "off" ? undefined : secureContext(tls),
    clock: { now: () => 0, monotonic: () => 0, sleep: () => setImmediate(), after: () => () => undefined },
    observer: {
      ...{ onSessionOpened: nothing, onSessionClosed: nothing, onSessionRefused: nothing, onAuthFailed: nothing },
      ...{ onMessageAccepted: nothing, onMessageRefused: nothing },
      onFault: (error) => void faults.push(`fault: ${String(error)}`),
    },
    ...{ begin, authFailed: () => 1, authSucceeded: nothing, closed },
  };
  return {
    host,
    stored,
    steps: () => steps + begun + settled,
    faults: () => [
      ...faults,
      ...(begun === settled ? [] : [`${begun} messages begun, ${settled} ended`]),
      ...(isClosed ? [] : ["the session is still open"]),
    ],
  };
}

let context: ReturnType<typeof createSecureContext> | undefined;
const secureContext = (tls: ServerCertificate) => (context ??= createSecureContext(tls));

const doorSettings = (setup: Setup) => ({
  users: setup.isLoginRequired ? [{ name: USER.name, password: new Secret(USER.password) }] : [],
  maxMessageBytes: MAX_MESSAGE_BYTES,
  maxRecipients: MAX_RECIPIENTS,
});

const mayReceive = ({ domain }: Mailbox): AddressFault | undefined =>
  domain === "refused.test" ? { code: 550, status: "5.7.1", text: "not ours" } : undefined;

function shown(envelope: Envelope, content: string): StoredMessage {
  const to = envelope.recipients.map(({ mailbox }) => mailbox.address);
  return { from: envelope.reversePath?.address ?? "", to, content };
}

/** Listeners on real ports, one for each setup; delays of logins are short. */
export class Sockets {
  readonly #doors = new Map<string, Promise<Door>>();
  readonly #tls: ServerCertificate;

  constructor(tls: ServerCertificate) {
    this.#tls = tls;
  }

  /** The same conversation over a socket: it waits for as much as was heard in memory. */
  async converse(dialog: FuzzDialog, cutter: Cutter, model: Outcome): Promise<Outcome> {
    const door = await this.#door(dialog.setup);
    // numbers of messages begin anew, as in memory
    door.stored.splice(0);
    door.seen.splice(0);
    const socket = connect({ port: door.port, host: "127.0.0.1", noDelay: true });
    let [output, isClosed] = ["", false];
    let wake: () => void = () => undefined;
    socket.on("data", (bytes: Buffer) => {
      output += bytes.toString("latin1");
      wake();
    });
    for (const event of ["end", "close", "error"])
      socket.on(event, () => {
        isClosed = true;
        wake();
      });
    const hear = async (length: number) => {
      while (output.length < length && !isClosed) await new Promise<void>((resolve) => (wake = resolve));
    };
    if (!dialog.setup.isEarly) await hear(1);
    let offset = 0;
    for (const [index, segment] of dialog.segments.entries()) {
      for (const piece of cutter(segment, offset)) {
        if (socket.writable && !isClosed) socket.write(piece, "latin1");
        await setImmediate();
      }
      offset += segment.length;
      await hear(withoutTls(model.output.slice(0, model.heard[index])).length);
    }
    if (dialog.setup.end === "break" && !isClosed) socket.destroy();
    else socket.end();
    while (door.listener.connections > 0) await setImmediate();
    const stored = door.stored.map(({ envelope, content }) => shown(envelope, content));
    const faults = door.seen.filter(([name]) => name === "fault").map(([, error]) => String(error));
    return { output, heard: [], stored, faults };
  }

  async close(): Promise<void> {
    for (const door of this.#doors.values()) await (await door).listener.close(0);
  }

  #door({ lineEndings, tls, isLoginRequired, fault }: Setup): Promise<Door> {
    const setup = { lineEndings, tls, isLoginRequired, fault };
    const key = JSON.stringify(setup);
    const clock: Clock = {
      now: () => 0,
      monotonic: () => 0,
      sleep: (_delayMs, signal) => setTimeout(10, undefined, { signal }).catch(() => undefined),
      after: () => () => undefined,
    };
    const fail = () => Promise.reject(new Error("told to fail"));
    const door =
      this.#doors.get(key) ??
      openDoor(
        { ...doorSettings(setup as Setup), lineEndings, tls: tls === "off" ? { mode: "off" } : certified(this.#tls) },
        {
          mayReceive,
          intake: () => (fault === "commit" ? { commit: fail } : {}),
          ...(fault === "begin" && {
            begin: () => {
              throw new Error("told to fail");
            },
          }),
        },
        clock,
      );
    this.#doors.set(key, door);
    return door;
  }
}

const certified = ({ cert, key }: ServerCertificate) => ({
  ...{ mode: "starttls" as const, cert: Buffer.from(cert), key: Buffer.from(key) },
});

/** What was said before a TLS handshake began; alerts of one that fails are not compared. */
export function withoutTls(output: string): string {
  return output.replace(/(220 2\.0\.0 ready for TLS\r\n).*$/s, "$1");
}
