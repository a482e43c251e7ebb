// Value at a path: reading and setting in the plain tree that a file and the environment make.
import type { Path } from "./fault.ts";

/** A mapping without a prototype: `__proto__` and `constructor` are keys like any other in it. */
export type Tree = Record<string, unknown>;

export function emptyTree(): Tree {
  return Object.create(null) as Tree;
}

export function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value at `path`, undefined where there is none. */
export function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((at, step) => {
    if (Array.isArray(at)) return typeof step === "number" ? (at as unknown[])[step] : undefined;
    return isTree(at) && Object.hasOwn(at, step) ? at[step] : undefined;
  }, value);
}

/** Sets the value at `path` below `tree`; what stands in the way and is no mapping is replaced by one. */
export function setValueAt(tree: Tree, path: readonly string[], value: unknown): void {
  const [step, ...rest] = path;
  if (step === undefined) return;
  if (rest.length === 0) {
    tree[step] = value;
    return;
  }
  const below = tree[step];
  const next = isTree(below) ? below : emptyTree();
  tree[step] = next;
  setValueAt(next, rest, value);
}
