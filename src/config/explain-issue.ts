// Explain an issue: what zod found wrong, in words that say what is allowed.
import type { z } from "zod";
import type { Path } from "./fault.ts";
import { shown } from "./leaf.ts";
import { nearest } from "./nearest.ts";
import { namesBelow } from "./outline.ts";
import { valueAt } from "./value-at.ts";

export type Explained = { readonly path: Path; readonly about: "key" | "value"; readonly message: string };

type Issue = z.core.$ZodIssue;

/** One or more faults for one issue; `given` is the tree that was checked. */
export function explainIssue(issue: Issue, given: unknown, above: Path = []): readonly Explained[] {
  const path = [...above, ...(issue.path as Path)];
  const one = (message: string): readonly Explained[] => [{ path, about: "value", message }];
  const value = valueAt(given, path);
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => ({ path: [...path, key], about: "key", message: unknownKey(key, path) }));
    case "invalid_type":
      return one(value === undefined ? "missing" : `must be ${typeName(issue.expected)}, not ${shown(value)}`);
    case "invalid_value":
      return one(notOneOf(value, issue.values.map(String)));
    case "invalid_union": {
      if ("options" in issue && Array.isArray(issue.options)) return one(notOneOf(value, issue.options.map(String)));
      // the variant of the right kind says more than "none of these"
      const fitting = issue.errors.find((errors) =>
        errors.every((error) => error.path.length > 0 || isKeyIssue(error)),
      );
      if (fitting !== undefined) return fitting.flatMap((error) => explainIssue(error, given, path));
      return one(`must be none or a mapping with host, port and tls, not ${shown(value)}`);
    }
    default:
      return one(issue.message);
  }
}

const isKeyIssue = (issue: Issue) => issue.code === "unrecognized_keys";

function unknownKey(key: string, path: Path): string {
  const names = namesBelow(path);
  const meant = nearest(key, names);
  return meant === undefined
    ? `unknown setting; known here: ${names.join(", ")}`
    : `unknown setting; did you mean ${meant}?`;
}

function notOneOf(value: unknown, allowed: readonly string[]): string {
  const list = `must be ${allowed.join(" | ")}`;
  if (value === undefined) return `missing; ${list}`;
  const meant = typeof value === "string" ? nearest(value, allowed) : undefined;
  return `${list}, not ${shown(value)}${meant === undefined ? "" : `; did you mean ${meant}?`}`;
}

function typeName(expected: string): string {
  switch (expected) {
    case "object":
      return "a mapping";
    case "array":
      return "a list";
    case "boolean":
      return "true or false";
    default:
      return expected;
  }
}
