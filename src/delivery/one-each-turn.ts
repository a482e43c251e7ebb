// One each turn: of much that is to be done at once, one thing begins in each turn of the event loop, so that what comes in meanwhile is
// answered between two.

/** Gives what is to be awaited before each: at once for the first in a turn, in the order of asking. */
export function oneEachTurn(): () => Promise<void> | undefined {
  const waiting: (() => void)[] = [];
  let isTaken = false;
  const nextTurn = () => {
    const next = waiting.shift();
    isTaken = next !== undefined;
    if (next === undefined) return;
    setImmediate(nextTurn);
    next();
  };
  return () => {
    if (isTaken) return new Promise((resolve) => waiting.push(resolve));
    isTaken = true;
    setImmediate(nextTurn);
    return undefined;
  };
}
