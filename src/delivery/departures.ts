// Departures: how what is to leave does so: made ready and handed to a server, here or on a thread of its own (departures-on-thread.ts).
import { asError } from "../as-error.ts";
import type { Ciphers } from "../encrypt/cipher.ts";
import { madeReady, Unencryptable, type Departure } from "../outbound/departure.ts";
import { GuardStop } from "../outbound/guard.ts";
import type { Sender, SendResult, Transaction } from "../smtp/sender.ts";

export type Departed =
  /** `readyMs` is what encryption and guard took. */
  | { readonly kind: "sent"; readonly result: SendResult; readonly readyMs: number; readonly sentMs: number }
  /** Nothing was sent: there is no ciphertext for these readers together; the guard has stopped it; it could not be read. */
  | { readonly kind: "unencryptable" | "not-let-through" | "fault"; readonly cause: Error };

export type Departures = {
  /** Never rejects. */
  depart(departure: Departure): Promise<Departed>;
  /** Ends all connections at once; what is still under way, and what comes later, is not sent. */
  close(): Promise<void>;
  /** Whether the last attempt to reach the server worked; undefined before the first. */
  readonly isUp: boolean | undefined;
};

export type DepartureParts = { readonly ciphers: Ciphers; readonly sender: Sender; readonly now: () => number };

/** On this thread. */
export function departuresHere(parts: DepartureParts): Departures {
  const { sender } = parts;
  return {
    depart: (departure) => depart(departure, parts),
    close: () => sender.close(),
    get isUp() {
      return sender.isUp;
    },
  };
}

async function depart(departure: Departure, { ciphers, sender, now }: DepartureParts): Promise<Departed> {
  const begunAt = now();
  let transaction: Transaction;
  try {
    transaction = await madeReady(departure, ciphers);
  } catch (thrown) {
    return { kind: kindOf(thrown), cause: asError(thrown) };
  }
  const readyAt = now();
  const result = await sender.send(transaction);
  return { kind: "sent", result, readyMs: readyAt - begunAt, sentMs: now() - readyAt };
}

function kindOf(thrown: unknown): Exclude<Departed["kind"], "sent"> {
  if (thrown instanceof Unencryptable) return "unencryptable";
  return thrown instanceof GuardStop ? "not-let-through" : "fault";
}
