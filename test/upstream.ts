// A scriptable SMTP server that records what arrives: the upstream of every end-to-end test.
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import type { Behaviour, Command, RecordedTransaction, Recorder, UpstreamOptions } from "./upstream-script.ts";
import { Session } from "./upstream-session.ts";

export { makeAuthority, type ServerCertificate } from "./authority.ts";
export { DROP, HANG, type Answer, type Behaviour, type Command, type RecordedTransaction } from "./upstream-script.ts";

export type Upstream = {
  readonly port: number;
  readonly behaviour: Behaviour;
  readonly transactions: readonly RecordedTransaction[];
  /** Every command line in order of arrival, for all connections, with its connection's number. */
  readonly commands: readonly Command[];
  /** Faults of the client: pipelined without being allowed to, octets before the 354 or the TLS handshake. */
  readonly violations: readonly string[];
  /** Connections ever accepted, open now, and the most that were open at once. */
  readonly connections: { readonly accepted: number; readonly open: number; readonly peak: number };
  /** Final dots seen, whatever the answer was. */
  readonly finalDots: number;
  /** Every octet received after decryption, for canary hunts. */
  received(): Buffer;
  /** Resolves with the first `count` transactions; rejects after `deadlineMs`, saying how many there are. */
  waitFor(count: number, deadlineMs?: number): Promise<readonly RecordedTransaction[]>;
  /** Resolves as soon as `condition` holds; it is asked again at every event of the server. */
  until(condition: () => boolean, deadlineMs?: number): Promise<void>;
  /** Closes every open connection; the server goes on. */
  dropAll(): void;
  close(): Promise<void>;
};

/** Listens on 127.0.0.1, on a free port unless one is given. */
export async function startUpstream(options: UpstreamOptions = {}): Promise<Upstream> {
  const waiting = new Set<() => void>();
  const recorder: Recorder = {
    options,
    behaviour: {
      ...{ pipelining: true, eightBitMime: true, smtpUtf8: true, dsn: true, sizeLimit: 100 * 1024 * 1024 },
      ...{ starttls: options.certificate !== undefined && options.implicitTls !== true, auth: [] },
      ...{ reply: () => undefined, duringData: undefined },
      ...options,
    },
    ...{ transactions: [], commands: [], violations: [], raw: [], open: new Set() },
    ...{ finalDots: 0, accepted: 0, peak: 0 },
    changed: () => waiting.forEach((look) => look()),
  };
  const onConnection = (socket: Socket) => void new Session(recorder, socket).run();
  const server =
    options.implicitTls === true && options.certificate
      ? createTlsServer({ ...options.certificate }, onConnection)
      : createServer(onConnection);
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");

  const until = (condition: () => boolean, deadlineMs = 10_000, said = () => "the condition does not hold") =>
    new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => settle(new Error(`${said()} after ${deadlineMs} ms`)), deadlineMs);
      const settle = (error?: Error) => {
        clearTimeout(timer);
        waiting.delete(look);
        if (error) reject(error);
        else resolve();
      };
      const look = () => condition() && settle();
      waiting.add(look);
      look();
    });

  const dropAll = () => recorder.open.forEach((socket) => socket.destroy());
  return {
    port: (server.address() as AddressInfo).port,
    behaviour: recorder.behaviour,
    transactions: recorder.transactions,
    commands: recorder.commands,
    violations: recorder.violations,
    get connections() {
      return { accepted: recorder.accepted, open: recorder.open.size, peak: recorder.peak };
    },
    get finalDots() {
      return recorder.finalDots;
    },
    received: () => Buffer.concat(recorder.raw),
    until: (condition, deadlineMs) => until(condition, deadlineMs),
    async waitFor(count, deadlineMs) {
      const said = () => `upstream has ${recorder.transactions.length} of ${count} transactions`;
      await until(() => recorder.transactions.length >= count, deadlineMs, said);
      return recorder.transactions.slice(0, count);
    },
    dropAll,
    async close() {
      dropAll();
      server.close();
      await once(server, "close");
    },
  };
}
