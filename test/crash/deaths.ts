// Deaths: at which mails the upstream dies, and at which place of the transaction (pure).
import { between, randomOf, weighted } from "./random.ts";

/**
 * `before`: at MAIL, RCPT or DATA. `in`: within the content. `after`: the message is taken, the 250 is never said. `answered`:
 * right behind the 250. `outage`: all connections at once, and nobody listens for a while.
 */
export const PLACES = ["before", "in", "after", "answered", "outage"] as const;
export type Place = (typeof PLACES)[number];

/** How likely each is for one mail, from 0 to 1. */
export type Chances = Readonly<Partial<Record<Place, number>>>;

export type Death =
  | { readonly place: "before"; readonly verb: "MAIL" | "RCPT" | "DATA" }
  /** When so much of the content has come, or all of it. */
  | { readonly place: "in"; readonly octets: number }
  | { readonly place: "after" | "answered" }
  | { readonly place: "outage"; readonly delayMs: number };

/** What happens when the upstream sees this mail for the first time. */
export function deathAt(seed: number, mail: number, chances: Chances): Death | undefined {
  const random = randomOf(seed, "death", mail);
  const lives = 1 - PLACES.reduce((sum, place) => sum + (chances[place] ?? 0), 0);
  const place = weighted(random, [[lives, undefined], ...PLACES.map((one) => [chances[one] ?? 0, one] as const)]);
  switch (place) {
    case undefined:
      return undefined;
    case "before":
      return { place, verb: (["MAIL", "RCPT", "DATA"] as const)[between(random, 0, 2)]! };
    case "in":
      return { place, octets: between(random, 0, 50_000) };
    case "after":
    case "answered":
      return { place };
    case "outage":
      return { place, delayMs: between(random, 50, 500) };
  }
}
