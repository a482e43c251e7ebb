// The other side of departures on a thread: departs as it is told, and says what came of it.
import type { MessagePort } from "node:worker_threads";
import { asError } from "../as-error.ts";
import type { Departure } from "../outbound/departure.ts";
import { Roster } from "../roster.ts";
import type { DepartureMessage } from "./departure-message.ts";
import type { FromThread, ToThread } from "./departures-on-thread.ts";
import type { Departed, Departures } from "./departures.ts";
import { oneEachTurn } from "./one-each-turn.ts";

/** Until it is told to end and has told of all; then the port is closed, and with it the thread has nothing more to do. */
export function serveDepartures(
  port: MessagePort,
  departures: Departures,
  read: (message: DepartureMessage) => Departure,
): void {
  const underWay = new Roster<Promise<void>>();
  const depart = async ({ number, message }: Exclude<ToThread, string>) => {
    const departed = await departedOf(message).catch((cause: unknown): Departed => ({
      kind: "fault",
      cause: asError(cause),
    }));
    const shown = departed.kind === "sent" ? departed : { ...departed, cause: plain(departed.cause) };
    port.postMessage({ number, departed: shown, isUp: departures.isUp } satisfies FromThread);
  };
  const begin = oneEachTurn();
  // a key that cannot be read here is a rejection like any other
  const departedOf = async (message: DepartureMessage) => {
    // to encrypt one after the other without a break would keep all connections waiting
    await begin();
    return departures.depart(read(message));
  };
  const end = async () => {
    await departures.close();
    await Promise.all(underWay);
    port.close();
  };
  port.on("message", (told: ToThread) => {
    if (told === "end") {
      void end();
      return;
    }
    if (told === "there?") {
      port.postMessage("there" satisfies FromThread);
      return;
    }
    const departing = depart(told).finally(() => underWay.delete(departing));
    underWay.add(departing);
  });
}

/** What hangs on an error may be anything, and not all of it can go to another thread: its words can, and those of its causes. */
function plain({ message, cause }: Error): Error {
  return new Error(message, cause instanceof Error ? { cause: plain(cause) } : undefined);
}
