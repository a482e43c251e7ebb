// Nearest: the known name that a misspelt one was probably meant to be.

/** The candidate with the fewest edits (letters in either case are equal), if these are few for its length. */
export function nearest(given: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((name) => ({ name, edits: distance(given.toLowerCase(), name.toLowerCase()) }))
    .filter(({ name, edits }) => edits <= Math.max(1, Math.floor(Math.min(given.length, name.length) / 3)))
    .sort((a, b) => a.edits - b.edits);
  return ranked[0]?.name;
}

// a shortened name (encrpyt for encryption) is compared with the beginning of the long one
function distance(given: string, name: string): number {
  const whole = edits(given, name);
  return given.length >= 4 && name.length > given.length
    ? Math.min(whole, edits(given, name.slice(0, given.length)) + 1)
    : whole;
}

// Levenshtein distance with swaps of neighbours (optimal string alignment), row by row
function edits(from: string, to: string): number {
  if (Math.abs(from.length - to.length) > 8) return Infinity;
  let before: number[] = [];
  let above = Array.from({ length: to.length + 1 }, (_, j) => j);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const cost = from[i - 1] === to[j - 1] ? 0 : 1;
      let least = Math.min((above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (above[j - 1] ?? 0) + cost);
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1])
        least = Math.min(least, (before[j - 2] ?? 0) + 1);
      row.push(least);
    }
    before = above;
    above = row;
  }
  return above[to.length] ?? Infinity;
}
