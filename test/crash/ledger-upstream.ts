// The upstream of the ledger: takes messages, remembers what came for whom and not the octets, and dies where it is told to.
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import type { Arrival } from "./ledger.ts";
import type { Death, Place } from "./deaths.ts";
import type { LedgerMail } from "./mails.ts";
import { LedgerSession } from "./ledger-session.ts";

export type UpstreamParts = {
  mail(number: number): LedgerMail;
  /** What happens when it sees this mail for the first time. */
  death(number: number): Death | undefined;
  /** A message was taken; its octets are gone afterwards. */
  arrived(arrival: Arrival, data: Buffer): void;
};

export type LedgerUpstream = {
  readonly port: number;
  /** How often it died at each place. */
  readonly deaths: Readonly<Record<Place, number>>;
  close(): Promise<void>;
};

export async function startLedgerUpstream(parts: UpstreamParts): Promise<LedgerUpstream> {
  const upstream = new Upstream(parts);
  await upstream.listen();
  return upstream;
}

class Upstream implements LedgerUpstream {
  readonly #parts: UpstreamParts;
  readonly #sockets = new Set<Socket>();
  readonly #seen = new Set<number>();
  readonly #deferred = new Set<number>();
  #server: Server | undefined;
  #back: NodeJS.Timeout | undefined;
  port = 0;
  readonly deaths: Record<Place, number> = { before: 0, in: 0, after: 0, answered: 0, outage: 0 };

  constructor(parts: UpstreamParts) {
    this.#parts = parts;
  }

  async listen(): Promise<void> {
    const server = createServer((socket) => this.#serve(socket));
    this.#server = server;
    server.listen(this.port, "127.0.0.1");
    await once(server, "listening");
    this.port = (server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    clearTimeout(this.#back);
    const server = this.#stop();
    if (server?.listening === true) await once(server, "close");
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    const session = new LedgerSession(socket, {
      deathAt: (number) => this.#deathAt(number),
      died: (place) => this.deaths[place]++,
      replyTo: (number, recipient) => this.#replyTo(number, recipient),
      arrived: (arrival, data) => this.#parts.arrived(arrival, data),
    });
    session.begin();
  }

  #deathAt(number: number): Death | undefined {
    if (this.#seen.has(number)) return undefined;
    this.#seen.add(number);
    const death = this.#parts.death(number);
    if (death?.place !== "outage") return death;
    // one at a time: it cannot go away while it is away
    if (this.#server === undefined) return undefined;
    this.deaths.outage++;
    this.#stop();
    this.#back = setTimeout(() => void this.listen(), death.delayMs);
    return death;
  }

  #replyTo(number: number | undefined, recipient: string): string {
    if (number === undefined) return "250 2.1.5 ok";
    const { recipients, deferred } = this.#parts.mail(number);
    const person = recipients.find(({ address }) => address === recipient);
    if (person?.ending === "dsn") return "550 5.1.1 no such user";
    if (deferred !== person || person === undefined || this.#deferred.has(number)) return "250 2.1.5 ok";
    this.#deferred.add(number);
    return "450 4.2.1 come again";
  }

  #stop(): Server | undefined {
    const server = this.#server;
    this.#server = undefined;
    server?.close();
    for (const socket of this.#sockets) socket.destroy();
    return server;
  }
}
