// A run of the ledger: mails from many connections, a real relay that is killed again and again, an upstream that dies; then the verdict.
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setImmediate, setTimeout } from "node:timers/promises";
import { fixture } from "../fixtures.ts";
import { startRelay, type Relay } from "../relay.ts";
import { deathAt, type Chances } from "./deaths.ts";
import type { Figures } from "./figures.ts";
import { killPlan, type Kill } from "./kill-plan.ts";
import { isAgain, verdict, type Arrival } from "./ledger.ts";
import { startLedgerUpstream, type LedgerUpstream } from "./ledger-upstream.ts";
import { countFiles, huntLeftBehind } from "./left-behind.ts";
import { KEY_STORES, keyStoreFiles, ledgerMail, MIA, type LedgerMail } from "./mails.ts";
import { stateOf, type ProcessState } from "../process-state.ts";
import { Readings } from "./readings.ts";
import { sendFromAll } from "./senders.ts";

export type RunOptions = {
  readonly seed: number;
  readonly mails: number;
  readonly kills: number;
  readonly chances: Chances;
  readonly senders: number;
  readonly upstreamConnections: number;
  /** After so many kills the canary hunt goes over what is left; it always does at the end. */
  readonly huntEvery: number;
  /** Of so many mails one is decrypted, and every duplicate. */
  readonly readEvery: number;
  /** No more mails and no more kills: what was sent is delivered and judged. */
  readonly signal?: AbortSignal;
};

/** All mail is due, and nothing arrives for so long: then it never will. */
const STANDSTILL_MS = 60_000;
const SAMPLE_EVERY_MAILS = 100;
const FAULTS = new Set(["service.fault", "guard.stopped"]);
/** What was in work at three deaths by chance; that it arrives all the same, the ledger sees. */
const RESTS = /has ended 3 times or more while this message was worked on/;

/** `say` is told of each kill and of the end. */
export async function runLedger(
  options: RunOptions,
  say: (line: string, kill: number) => void = () => undefined,
): Promise<Figures> {
  const run = new Run(options);
  try {
    await run.begin();
    for (const [index, kill] of killPlan(options.seed, options.mails, options.kills).entries()) {
      if (options.signal?.aborted === true) break;
      await run.untilKilled(kill, index + 1);
      say(run.shown(), index + 1);
    }
    return await run.end();
  } finally {
    await run.remove();
  }
}

class Run {
  readonly #options: RunOptions;
  readonly #sent = new Map<number, LedgerMail>();
  readonly #acknowledged = new Set<number>();
  readonly #arrivals = new Map<number | undefined, Arrival[]>();
  readonly #readings = new Readings((number) => this.#mail(number));
  readonly #lives: ProcessState[] = [];
  readonly #lastLife: { mails: number; rssMiB: number }[] = [];
  readonly #relayFaults: string[] = [];
  readonly #findings: string[] = [];
  readonly #begun = performance.now();
  #relay!: Relay;
  #upstream!: LedgerUpstream;
  #atStart!: ProcessState;
  #isCalm = false;
  #transactions = 0;
  #kills = 0;
  #hunts = 0;
  /** What the processes have written since the last hunt. */
  #log = "";
  #onAcknowledged: () => void = () => undefined;

  constructor(options: RunOptions) {
    this.#options = options;
  }

  async begin(): Promise<void> {
    const { seed, chances, upstreamConnections } = this.#options;
    this.#upstream = await startLedgerUpstream({
      mail: (number) => this.#mail(number),
      death: (number) => (this.#isCalm ? undefined : deathAt(seed, number, chances)),
      arrived: (arrival, data) => this.#arrived(arrival, data),
    });
    const yaml = [
      `upstream: { host: 127.0.0.1, port: ${this.#upstream.port}, tls: off, connections: ${upstreamConnections} }`,
      "encryption: { subject: hide }",
      "retry: { first: 1s, max: 2s }",
      "log: { level: info }",
      KEY_STORES,
    ];
    this.#relay = await startRelay(yaml.join("\n"), keyStoreFiles());
    this.#atStart = this.#state();
  }

  /** One life of the relay, and the beginning of the next. */
  async untilKilled(kill: Kill, number: number): Promise<void> {
    const relay = this.#relay;
    const enough = this.#acknowledged.size + kill.afterMails;
    const sending = this.#send();
    // a refusal is thrown below, when the process is dead
    const sent = sending.catch(() => undefined);
    const isEnough = new Promise<void>((resolve) => {
      this.#onAcknowledged = () => this.#acknowledged.size >= enough && resolve();
      this.#onAcknowledged();
    });
    await Promise.race([isEnough, sent]);
    for (let turns = kill.turns; turns > 0; turns--) await setImmediate();
    this.#lives.push(this.#state());
    if (kill.during === "stop") {
      relay.process.kill("SIGTERM");
      await setTimeout(kill.delayMs / 20);
    }
    await this.#kill();
    if (kill.during === "start") {
      const starting = relay.start().catch(() => undefined);
      await Promise.race([starting, setTimeout(kill.delayMs)]);
      await this.#kill();
    }
    await sending;
    if (number % this.#options.huntEvery === 0) this.#hunt();
    await relay.start();
  }

  /** The last life: the rest of the mails, the key that is missed, and all is delivered. */
  async end(): Promise<Figures> {
    const before = this.#acknowledged.size;
    this.#onAcknowledged = () => {
      const mails = this.#acknowledged.size - before;
      if (mails % SAMPLE_EVERY_MAILS === 0) this.#lastLife.push({ mails, rssMiB: this.#state().rssMiB });
    };
    await this.#send();
    const sendingSeconds = this.#seconds();
    this.#isCalm = true;
    const { code, stderr } = await this.#relay.run(["keys", "add", MIA.address, fixture("smime/certs/mia.pem")]);
    if (code !== 0) throw new Error(`keys add: ${stderr}`);
    // what was in work at three deaths by chance would rest for minutes
    await this.#relay.run(["queue", "retry"]);
    const waiting = await this.#drained();
    const atEnd = this.#state();
    const exitCode = await this.#relay.stop();
    this.#keepOutput();
    this.#hunt();
    await this.#readings.done();
    return {
      ...verdict({ sent: this.#sent, acknowledged: this.#acknowledged, arrivals: this.#arrivals }),
      ...this.#options,
      sent: this.#sent.size,
      acknowledged: this.#acknowledged.size,
      kills: this.#kills,
      deaths: this.#upstream.deaths,
      transactions: this.#transactions,
      readings: { count: this.#readings.count, faults: this.#readings.faults },
      hunts: { count: this.#hunts, findings: this.#findings },
      relayFaults: this.#relayFaults,
      lives: this.#lives,
      atStart: this.#atStart,
      atEnd,
      lastLife: this.#lastLife,
      left: { ...waiting, ...this.#bodiesLeft() },
      exitCode,
      sendingSeconds,
      allSeconds: this.#seconds(),
    };
  }

  shown(): string {
    const { rssMiB, descriptors } = this.#lives.at(-1)!;
    const seconds = this.#seconds();
    const rate = Math.round(this.#acknowledged.size / seconds);
    return (
      `${this.#kills} kills, ${Math.round(seconds)} s: ${this.#acknowledged.size} acknowledged (${rate}/s), ` +
      `${this.#transactions} transactions, ${rssMiB} MiB, ${descriptors} descriptors`
    );
  }

  async remove(): Promise<void> {
    // a run that ends early leaves what was not begun yet
    await (this.#relay as Relay | undefined)?.remove();
    await (this.#upstream as LedgerUpstream | undefined)?.close();
    this.#readings.close();
  }

  #mail(number: number): LedgerMail {
    return this.#sent.get(number) ?? ledgerMail(this.#options.seed, number);
  }

  #send(): Promise<void> {
    return sendFromAll(this.#options.senders, {
      port: this.#relay.port,
      next: () => {
        const number = this.#sent.size + 1;
        if (number > this.#options.mails || this.#options.signal?.aborted === true) return undefined;
        const mail = ledgerMail(this.#options.seed, number);
        this.#sent.set(number, mail);
        return mail;
      },
      acknowledged: ({ number }) => {
        this.#acknowledged.add(number);
        this.#onAcknowledged();
      },
    });
  }

  #arrived(arrival: Arrival, data: Buffer): void {
    this.#transactions++;
    const before = this.#arrivals.get(arrival.mail) ?? [];
    const isSample = (arrival.mail ?? 0) % this.#options.readEvery === 0;
    const must = isAgain(before, arrival);
    if (must || isSample) this.#readings.take(arrival, data, must);
    this.#arrivals.set(arrival.mail, [...before, arrival]);
  }

  async #kill(): Promise<void> {
    if (this.#relay.process.exitCode === null) this.#kills++;
    await this.#relay.kill();
    this.#keepOutput();
  }

  #keepOutput(): void {
    const faults = this.#relay.events.filter(({ event }) => FAULTS.has(event));
    const told = faults.map((event) => JSON.stringify(event)).filter((text) => !RESTS.test(text));
    this.#relayFaults.push(...told);
    this.#log += this.#relay.takeOutput();
  }

  #hunt(): void {
    this.#hunts++;
    this.#findings.push(...huntLeftBehind(this.#relay.folder, this.#log));
    this.#log = "";
  }

  /** Until nothing waits any more, or nothing moves; gives how many recipients wait. */
  async #drained(): Promise<{ queued: number; held: number }> {
    for (let moved = performance.now(), before = ""; ;) {
      const metrics = await (await fetch(`http://127.0.0.1:${this.#relay.metricsPort}/metrics`)).text();
      const count = (state: string) =>
        Number(new RegExp(`^sealpost_queue_recipients\\{state="${state}"\\} (\\d+)$`, "m").exec(metrics)?.[1]);
      const waiting = { queued: count("queued"), held: count("held") };
      if (waiting.queued + waiting.held === 0) return waiting;
      const now = `${JSON.stringify(waiting)} ${this.#transactions}`;
      if (now !== before) moved = performance.now();
      before = now;
      if (performance.now() - moved > STANDSTILL_MS) return waiting;
      await setTimeout(250);
    }
  }

  #bodiesLeft(): { sealedRows: number; sealedFiles: number } {
    const dataDir = join(this.#relay.folder, "data");
    const database = new DatabaseSync(join(dataDir, "sealpost.db"), { readOnly: true });
    const { n } = database.prepare("SELECT count(*) AS n FROM bodies").get() as { n: number };
    database.close();
    return { sealedRows: n, sealedFiles: countFiles(join(dataDir, "bodies")) };
  }

  #state(): ProcessState {
    return stateOf(this.#relay.process.pid!);
  }

  #seconds(): number {
    return (performance.now() - this.#begun) / 1000;
  }
}
