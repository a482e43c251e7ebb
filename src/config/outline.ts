// Outline: the schema as a plain list of settings, read off its JSON Schema.
import { z } from "zod";
import { schema } from "./schema.ts";

export type JsonSchema = {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly description?: string;
  readonly default?: unknown;
};

/** One setting. `path` holds `*` for the entries of a list: `outbound.users.*.name`. */
export type OutlineEntry = {
  readonly path: readonly string[];
  readonly isText: boolean;
  readonly isSection: boolean;
  readonly json: JsonSchema;
};

/** JSON Schema (draft 7, which editors know) of the configuration file. */
export function jsonSchema(): JsonSchema {
  return z.toJSONSchema(schema, { io: "input", target: "draft-7" }) as JsonSchema;
}

let known: readonly OutlineEntry[] | undefined;

/** Every setting once, sections before what is in them. */
export function outline(): readonly OutlineEntry[] {
  known ??= [...below(jsonSchema(), []).values()];
  return known;
}

/** The names that may stand below `path`, where list entries may be given by their number. */
export function namesBelow(path: readonly (string | number)[]): readonly string[] {
  const wanted = path.map((step) => (typeof step === "number" ? "*" : step));
  return outline()
    .filter((entry) => entry.path.length === wanted.length + 1 && wanted.every((step, i) => entry.path[i] === step))
    .map((entry) => entry.path.at(-1) ?? "")
    .filter((name) => name !== "*");
}

function below(json: JsonSchema, path: readonly string[]): Map<string, OutlineEntry> {
  const entries = new Map<string, OutlineEntry>();
  const add = (child: JsonSchema, childPath: readonly string[]) => {
    const name = childPath.join(".");
    const found = below(child, childPath);
    if (!entries.has(name)) entries.set(name, { path: childPath, json: child, ...kind(child) });
    for (const [key, entry] of found) if (!entries.has(key)) entries.set(key, entry);
  };
  for (const variant of [json, ...(json.anyOf ?? []), ...(json.oneOf ?? [])]) {
    for (const [name, child] of Object.entries(variant.properties ?? {})) add(child, [...path, name]);
    if (variant.items?.properties !== undefined) add(variant.items, [...path, "*"]);
  }
  return entries;
}

function kind(json: JsonSchema): { isText: boolean; isSection: boolean } {
  const variants = [json, ...(json.anyOf ?? []), ...(json.oneOf ?? [])];
  const types = new Set(variants.flatMap(({ type }) => type ?? []));
  return { isText: types.has("string") && !types.has("object"), isSection: types.has("object") };
}
