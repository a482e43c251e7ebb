// Departures on a thread of their own: what is encrypted and sent there leaves this one free to take mail and to look for keys.
//
// Rules:
//   The thread begins with the first departure and ends when there was none for a while: at rest it costs no memory.
//   Of a departure it gets a copy; it decides nothing, and the spool and the keys' sources are not for it.
//   It is asked now and then whether it is still there: one that hangs would be noticed by nobody, for mail is taken all the same.
//   What nobody has caught there, and a thread that hangs, ends the process, as a bug does here: a message is suspect by its lease
//   (suspects.ts), wherever it was in work.
import { once } from "node:events";
import type { Worker } from "node:worker_threads";
import { asError } from "../as-error.ts";
import type { Clock } from "../clock.ts";
import type { Departure } from "../outbound/departure.ts";
import { Roster } from "../roster.ts";
import { SHUTTING_DOWN } from "../smtp/sender.ts";
import { departureMessage, type DepartureMessage } from "./departure-message.ts";
import type { Departed, Departures } from "./departures.ts";

/** What the thread is told: to send this, to say that it is there, or to end when all that is under way has ended. */
export type ToThread = { readonly number: number; readonly message: DepartureMessage } | "there?" | "end";
export type FromThread =
  { readonly number: number; readonly departed: Departed; readonly isUp: boolean | undefined } | "there";

const REST_MS = 5 * 60_000;
const ASK_EVERY_MS = 10_000;
/** Counted and not timed: a machine that was suspended gives the thread its time afterwards. */
const MOST_UNANSWERED = 6;

/** `begin` makes the thread that serves `ToThread` (serveDepartures). */
export function departuresOnThread(begin: () => Worker, clock: Clock): Departures {
  return new OnThread(begin, clock);
}

type Waiting = { readonly number: number; readonly resolve: (departed: Departed) => void };

class OnThread implements Departures {
  readonly #begin: () => Worker;
  readonly #clock: Clock;
  readonly #waiting = new Roster<Waiting>();
  #thread: Worker | undefined;
  #last = 0;
  #endRest: () => void = () => undefined;
  #endWatch: () => void = () => undefined;
  #isClosed = false;
  isUp: boolean | undefined;

  constructor(begin: () => Worker, clock: Clock) {
    this.#begin = begin;
    this.#clock = clock;
  }

  async depart(departure: Departure): Promise<Departed> {
    let message: DepartureMessage;
    try {
      message = await departureMessage(departure);
    } catch (thrown) {
      return { kind: "fault", cause: asError(thrown) };
    }
    if (this.#isClosed) return unsent;
    this.#endRest();
    const thread = (this.#thread ??= this.#beginThread());
    const number = ++this.#last;
    return new Promise((resolve) => {
      this.#waiting.add({ number, resolve });
      const handedOver = "clear" in message.content ? [message.content.clear.buffer] : [];
      thread.postMessage({ number, message } satisfies ToThread, handedOver);
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#endThread();
  }

  #beginThread(): Worker {
    const thread = this.#begin();
    let unanswered = 0;
    thread.on("message", (told: FromThread) => {
      unanswered = 0;
      if (told === "there") return;
      const { number, departed } = told;
      this.isUp = told.isUp;
      const waiting = [...this.#waiting].find((one) => one.number === number);
      if (waiting !== undefined) this.#waiting.delete(waiting);
      waiting?.resolve(departed);
      // a thread that is told to end has no rest
      if (this.#waiting.size === 0 && thread === this.#thread)
        this.#endRest = this.#clock.after(REST_MS, () => void this.#endThread());
    });
    const fail = (cause: Error) => {
      throw cause;
    };
    thread.on("error", fail);
    thread.on("messageerror", fail);
    thread.on("exit", () => {
      if (thread === this.#thread) fail(new Error("the thread that sends has ended"));
    });
    const watch = () => {
      if (unanswered++ === MOST_UNANSWERED) fail(new Error("the thread that sends hangs"));
      thread.postMessage("there?" satisfies ToThread);
      this.#endWatch = this.#clock.after(ASK_EVERY_MS, watch);
    };
    this.#endWatch = this.#clock.after(ASK_EVERY_MS, watch);
    return thread;
  }

  async #endThread(): Promise<void> {
    this.#endRest();
    this.#endWatch();
    const thread = this.#thread;
    if (thread === undefined) return;
    this.#thread = undefined;
    thread.postMessage("end" satisfies ToThread);
    await once(thread, "exit");
  }
}

const unsent: Departed = {
  kind: "sent",
  result: { kind: "unreachable", reply: SHUTTING_DOWN },
  readyMs: 0,
  sentMs: 0,
};
