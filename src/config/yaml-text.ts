// YAML text: a YAML 1.2 document as a plain tree that knows where everything in it stands.
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type ErrorCode, type Node } from "yaml";
import type { Path } from "./fault.ts";
import { emptyTree } from "./value-at.ts";

const MAX_DEPTH = 32;
const MAX_ALIASES = 50;
const MAX_NODES = 20_000;
const MAX_FAULTS = 20;
const STRICT = {
  version: "1.2",
  schema: "core",
  merge: false,
  uniqueKeys: true,
  strict: true,
  prettyErrors: false,
} as const;

type Position = { readonly line: number; readonly column: number };
type YamlFault = Position & { readonly path: Path; readonly message: string };

export type YamlText = {
  /** Undefined when the text is broken; null when it is empty. */
  readonly value: unknown;
  readonly faults: readonly YamlFault[];
  /** Where the value (or, with "key", the key) at this path stands; the nearest thing above it when it is not there. */
  position(path: Path, what: "key" | "value"): Position;
};

type Offsets = { readonly key: number; readonly value: number };

/** Reads one document: strict, no merge keys, no tags, keys are text and unique, few aliases, bounded depth. */
export function readYaml(text: string): YamlText {
  const lines = new LineCounter();
  const offsets = new Map<string, Offsets>();
  const faults: YamlFault[] = [];
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const position = (path: Path, what: "key" | "value"): Position => {
    for (let length = path.length; length > 0; length--) {
      const found = offsets.get(JSON.stringify(path.slice(0, length)));
      // something missing is looked for below the key that should hold it
      if (found !== undefined) return at(length === path.length ? found[what] : found.key);
    }
    return { line: 1, column: 1 };
  };
  const fault = (offset: number, path: Path, message: string) => faults.push({ ...at(offset), path, message });

  const document = parseDocument(text, { ...STRICT, lineCounter: lines });
  const broken = document.errors.filter(({ code }) => code !== "DUPLICATE_KEY");
  // a stack that ended makes every closing bracket a fault of its own
  const tooDeep = broken.filter(({ code }) => code === "RESOURCE_EXHAUSTION").slice(0, 1);
  const errors = tooDeep.length > 0 ? tooDeep : [...broken, ...document.warnings].slice(0, MAX_FAULTS);
  for (const { pos, code, message } of errors) fault(pos[0], [], explained(code, message));
  if (broken.length > 0) return { value: undefined, faults, position };

  let nodes = 0;
  let aliases = 0;
  let isTooDeep = false;
  const plain = (node: Node | null, path: Path): unknown => {
    if (++nodes > MAX_NODES || path.length > MAX_DEPTH) {
      if (!isTooDeep) fault(node?.range?.[0] ?? 0, [], TOO_DEEP);
      isTooDeep = true;
      return null;
    }
    if (isAlias(node)) {
      if (++aliases > MAX_ALIASES) {
        fault(node.range?.[0] ?? 0, path, `more than ${MAX_ALIASES} aliases; write the value itself`);
        return null;
      }
      return plain(node.resolve(document) ?? null, path);
    }
    if (isSeq<Node>(node))
      return node.items.map((item, index) => {
        offsets.set(JSON.stringify([...path, index]), both(item.range?.[0] ?? 0));
        return plain(item, [...path, index]);
      });
    if (isMap<Node, Node | null>(node)) {
      const tree = emptyTree();
      for (const { key, value } of node.items) {
        const offset = key.range?.[0] ?? 0;
        if (!isScalar(key) || typeof key.value !== "string") {
          fault(offset, path, "a key must be text");
          continue;
        }
        const below = [...path, key.value];
        offsets.set(JSON.stringify(below), { key: offset, value: value?.range?.[0] ?? offset });
        tree[key.value] = plain(value, below);
      }
      return tree;
    }
    return isScalar(node) ? node.value : null;
  };
  const value = plain(document.contents, []);
  for (const { pos } of document.errors) {
    const [path] = [...offsets].find(([, { key }]) => key === pos[0]) ?? [];
    fault(pos[0], path === undefined ? [] : (JSON.parse(path) as Path), "given twice; keep one");
  }
  return { value, faults, position };
}

const TOO_DEEP = "nested too deep or too large for a configuration";
const both = (offset: number): Offsets => ({ key: offset, value: offset });

/** What the parser found, in our words; its own messages with a small first letter, without full stop, in one line. */
function explained(code: ErrorCode, message: string): string {
  if (code === "RESOURCE_EXHAUSTION") return TOO_DEEP;
  const line = message.split("\n")[0] ?? message;
  return `not valid YAML: ${line.charAt(0).toLowerCase()}${line.slice(1).replace(/\.$/, "")}`;
}
