// YAML text: a YAML 1.2 document as a plain tree that knows where everything in it stands.
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Node } from "yaml";
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

export type Position = { readonly line: number; readonly column: number };
export type YamlFault = Position & { readonly path: Path; readonly message: string };

export type YamlText = {
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

  let document: ReturnType<typeof parseDocument>;
  try {
    document = parseDocument(text, { ...STRICT, lineCounter: lines });
  } catch (cause) {
    // the parser is recursive: brackets nested a hundred thousand deep end its stack
    if (!(cause instanceof RangeError)) throw cause;
    return { value: undefined, faults: [{ line: 1, column: 1, path: [], message: TOO_DEEP }], position };
  }
  for (const { pos, code, message } of [...document.errors, ...document.warnings].slice(0, MAX_FAULTS))
    fault(pos[0], [], code === "DUPLICATE_KEY" ? "this key is given twice; keep one" : sentence(message));

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
  return { value: plain(document.contents, []), faults, position };
}

const TOO_DEEP = "nested too deep or too large for a configuration";
const both = (offset: number): Offsets => ({ key: offset, value: offset });

/** The parser's own message in our form: first letter small, no full stop, one line. */
function sentence(message: string): string {
  const line = message.split("\n")[0] ?? message;
  return `not valid YAML: ${line.charAt(0).toLowerCase()}${line.slice(1).replace(/\.$/, "")}`;
}
