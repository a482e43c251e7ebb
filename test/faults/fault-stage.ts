// The stage of a fault: a real relay, mail with canaries in it, and a ledger of what was acknowledged against what arrived.
import { expect, onTestFinished } from "vitest";
import { readSmime } from "../e2e/arrived.ts";
import { CANARIES, canaryMail, expectNoCanary } from "../e2e/canary.ts";
import { filesIn, hunt } from "../e2e/hunt.ts";
import type { JiraSession } from "../e2e/jira.ts";
import { sendMail } from "../e2e/jira.ts";
import { fixtureBytes } from "../fixtures.ts";
import { startRelay, type Launch, type Relay } from "../relay.ts";
import { startUpstream, type RecordedTransaction, type Upstream } from "../upstream.ts";
import type { UpstreamOptions } from "../upstream-script.ts";

/** Both have a certificate; a fault that is one recipient's is quinn's. */
export const [ALICE, QUINN] = ["alice@example.com", "quinn@example.com"];
/** Bodies of this size are files beside the database. */
export const LARGE_BYTES = 300_000;

export type FaultStage = {
  readonly relay: Relay;
  readonly upstream: Upstream;
  readonly ledger: Ledger;
  /** Sends one mail with canaries as Jira does, by a session of its own or by the one given; gives the last reply. */
  send(mail?: { to?: readonly string[]; sizeBytes?: number; session?: JiraSession }): Promise<string>;
  /** The faults that the log tells of, from `from` on. */
  faults(from?: number): string[];
  /** Waits until all that was acknowledged has arrived, then looks at every mail. */
  expectAllArrived(options?: { mayRepeat?: number; isSample?: boolean }): Promise<void>;
  /** In the folder, in the log, at the upstream, and on the pages of a relay that runs; `inAll` asks the commands too, which takes long. */
  expectNoCanary(inAll?: "in all"): Promise<void>;
  /** The last words of a test: all has arrived, the relay ends as it should and has left no canary anywhere. */
  expectGoodEnd(options?: { mayRepeat?: number; isSample?: boolean }): Promise<void>;
};

export type FaultOptions = {
  /** Sections beside upstream, retry and key stores. */
  readonly yaml?: string;
  /** Settings of the upstream section beside host and port. */
  readonly upstreamYaml?: string;
  readonly upstream?: UpstreamOptions;
  readonly files?: Record<string, Buffer | string>;
  readonly launch?: Launch;
};

export async function faultStage(options: FaultOptions = {}): Promise<FaultStage> {
  const { yaml = "", upstreamYaml = "tls: off", files = {}, launch = {} } = options;
  const upstream = await startUpstream(options.upstream);
  onTestFinished(() => upstream.close());
  const people = [fixtureBytes("smime/certs/alice.pem"), fixtureBytes("smime/certs/quinn.pem")];
  const relay = await startRelay(
    [
      `upstream: { host: 127.0.0.1, port: ${upstream.port}, ${upstreamYaml} }`,
      "smime: { keyStore: { file: people.pem } }",
      ...(/^retry:/m.test(yaml) ? [] : ["retry: { first: 1s, max: 2s }"]),
      ...(/^encryption:/m.test(yaml) ? [] : ["encryption: { subject: hide }"]),
      yaml,
    ].join("\n"),
    { "people.pem": Buffer.concat(people), ...files },
    launch,
  );
  onTestFinished(() => relay.remove());
  return stageOf(relay, upstream);
}

function stageOf(relay: Relay, upstream: Upstream): FaultStage {
  const ledger = new Ledger();
  let count = 0;
  return {
    relay,
    upstream,
    ledger,
    async send({ to = [ALICE], sizeBytes = 0, session } = {}) {
      const id = `fault-${++count}`;
      const mail = { to, message: canaryMail(id, to.join(", "), sizeBytes) };
      ledger.send(id, to, mail.message);
      const reply = await (session === undefined ? sendMail(relay.port, mail) : session.send(mail));
      if (reply.startsWith("250")) ledger.acknowledge(id, to);
      return reply;
    },
    faults: (from = 0) =>
      relay.events.slice(from).flatMap(({ event, fault }) => (event === "service.fault" ? [String(fault)] : [])),
    expectAllArrived: (arrived) => ledger.expectAllArrived([upstream], arrived),
    expectNoCanary: (inAll) => (inAll ? expectNoCanary(relay, [upstream]) : huntQuickly(relay, upstream)),
    async expectGoodEnd(arrived) {
      await ledger.expectAllArrived([upstream], arrived);
      expect(await relay.stop()).toBe(0);
      await expectNoCanary(relay, [upstream]);
    },
  };
}

/** The name of a file that does nothing but take room. */
export const BALLAST = "ballast";

async function huntQuickly(relay: Relay, upstream: Upstream): Promise<void> {
  const isRunning = relay.process.exitCode === null && relay.process.signalCode === null;
  const ports = { readyz: relay.webPort, metrics: relay.metricsPort };
  const pages = await Promise.all(
    Object.entries(isRunning ? ports : {}).map(async ([page, port]) => {
      const answer = await fetch(`http://127.0.0.1:${port}/${page}`);
      return [page, Buffer.from(await answer.arrayBuffer())] as const;
    }),
  );
  const files = Object.entries(filesIn(relay.folder)).filter(([name]) => !name.endsWith(BALLAST));
  const places = { ...Object.fromEntries(files), ...Object.fromEntries(pages), log: Buffer.from(relay.output) };
  expect(hunt({ ...places, upstream: upstream.received() }, CANARIES)).toEqual([]);
}

export const idOf = ({ data }: Pick<RecordedTransaction, "data">) =>
  /^Message-ID: <JIRA\.10042\.(.*)@jira\.example\.com>\r$/im.exec(data.subarray(0, 4096).toString("latin1"))?.[1] ?? "";

/** What was sent to the relay, and what of it it has promised: every acknowledged message for every recipient. */
export class Ledger {
  readonly #sent = new Map<string, { readonly to: readonly string[]; readonly content: string }>();
  readonly #promised = new Set<string>();

  send(id: string, to: readonly string[], message: Buffer): void {
    this.#sent.set(id, { to, content: message.subarray(message.indexOf("\r\n\r\n") + 4).toString("latin1") });
  }

  acknowledge(id: string, to: readonly string[]): void {
    for (const one of to) this.#promised.add(`${id} ${one}`);
  }

  get size(): number {
    return this.#promised.size;
  }

  /** Promised, and not arrived at any of these. */
  missing(upstreams: readonly Upstream[]): string[] {
    const arrived = new Set(arrivedAt(upstreams));
    return [...this.#promised].filter((one) => !arrived.has(one));
  }

  /**
   * Everything promised arrives at its reader, encrypted and whole, and nothing else at anybody; at most `mayRepeat` of it twice.
   * `isSample` decrypts but twenty.
   */
  async expectAllArrived(
    upstreams: readonly Upstream[],
    { mayRepeat = 0, deadlineMs = 30_000, isSample = false } = {},
  ): Promise<void> {
    const isComplete = () => this.missing(upstreams).length === 0;
    await upstreams
      .at(-1)
      ?.until(isComplete, deadlineMs)
      .catch(() => undefined);
    expect(this.missing(upstreams)).toEqual([]);
    const all = upstreams.flatMap(({ transactions }) => transactions);
    const arrived = arrivedAt(upstreams).filter((one) => this.#promised.has(one));
    expect(arrived.length - new Set(arrived).size).toBeLessThanOrEqual(mayRepeat);
    for (const transaction of all) this.#expectMeant(transaction);
    for (const transaction of isSample ? all.slice(-20) : all) await this.#expectWhole(transaction);
  }

  /** What arrived is ciphertext of something that was sent, at people it was sent to. */
  #expectMeant(transaction: RecordedTransaction): void {
    const id = idOf(transaction);
    const sent = this.#sent.get(id);
    expect(sent, `"${id}" was sent`).toBeDefined();
    expect(sent?.to, id).toEqual(expect.arrayContaining([...transaction.rcptTo]));
    expect(transaction.data.subarray(0, 4096).toString("latin1"), id).toMatch(
      /^Content-Type: application\/pkcs7-mime;/m,
    );
  }

  async #expectWhole(transaction: RecordedTransaction): Promise<void> {
    const id = idOf(transaction);
    const { content = "" } = this.#sent.get(id) ?? {};
    for (const reader of transaction.rcptTo) {
      const clear = await readSmime(transaction.data, reader.slice(0, reader.indexOf("@")));
      expect(clear.includes(content), `${id} is whole for ${reader}`).toBe(true);
      expect(hunt({ clear: Buffer.from(clear.slice(0, 4096), "latin1") }, CANARIES.slice(1, 2))).not.toEqual([]);
    }
  }
}

function arrivedAt(upstreams: readonly Upstream[]): string[] {
  return upstreams.flatMap(({ transactions }) =>
    transactions.flatMap((one) => one.rcptTo.map((to) => `${idOf(one)} ${to}`)),
  );
}
