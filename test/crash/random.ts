// Seeded random: the same numbers for the same seed, so that a run can be planned again.

/** From 0 to 1, 1 excluded. */
export type Random = () => number;

/** mulberry32. */
export function seededRandom(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** A random of its own for each number of a seed: what it gives does not depend on who else has drawn before. */
export function randomOf(seed: number, topic: string, number: number): Random {
  let state = seed;
  for (const letter of `${topic} ${number}`) state = Math.imul(state ^ letter.charCodeAt(0), 0x01000193);
  return seededRandom(state);
}

/** A whole number from `least` to `most`, both included. */
export function between(random: Random, least: number, most: number): number {
  return least + Math.floor(random() * (most - least + 1));
}

/** One of these, each as likely as its weight. */
export function weighted<T>(random: Random, choices: readonly (readonly [number, T])[]): T {
  let left = random() * choices.reduce((sum, [weight]) => sum + weight, 0);
  for (const [weight, choice] of choices) {
    left -= weight;
    if (left < 0) return choice;
  }
  return choices.at(-1)![1];
}
