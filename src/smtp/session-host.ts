// SessionHost: what one client's session needs from the listener that accepted it.
import type { SecureContext } from "node:tls";
import type { Clock } from "../clock.ts";
import type { DialogSettings } from "./dialog-state.ts";
import type { BeginIntake } from "./intake.ts";
import type { ListenerObserver } from "./observer.ts";
import type { ReceptionSettings } from "./reception.ts";

/** How long a client may take, in ms. */
export type Deadlines = {
  /** Between two commands. */
  readonly idleMs: number;
  /** From the first octet of a command line to its CRLF. */
  readonly commandLineMs: number;
  /** From 354 to the end of data. */
  readonly contentMs: number;
  /** From MAIL to the end of data. */
  readonly transactionMs: number;
  /** From the greeting, or the last accepted message, to the next MAIL. */
  readonly fruitlessMs: number;
  readonly tlsHandshakeMs: number;
  /** From our last reply to the end of the connection. */
  readonly lingerMs: number;
};

/** What a session needs from its listener. */
export type SessionHost = {
  readonly dialog: DialogSettings;
  readonly reception: ReceptionSettings;
  readonly deadlines: Deadlines;
  readonly secureContext: SecureContext | undefined;
  readonly clock: Clock;
  readonly observer: ListenerObserver;
  readonly begin: BeginIntake;
  /** How long the reply to a wrong password waits. */
  readonly authFailed: () => number;
  readonly authSucceeded: () => void;
  readonly closed: () => void;
};
