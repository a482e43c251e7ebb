// Checks: what a part of the configuration must hold beyond the form of its values.
import type { z } from "zod";

export type Context = { addIssue(issue: { code: "custom"; message: string; path: (string | number)[] }): void };

export function fault(context: Context, path: (string | number)[], message: string): void {
  context.addIssue({ code: "custom", message, path });
}

export function noneTwice(names: readonly string[], context: Context, key: string): void {
  names.forEach((name, index) => {
    if (names.indexOf(name) < index) fault(context, [index, key], "given twice");
  });
}

export function atLeastOne<T extends z.ZodType<readonly unknown[]>>(list: T, what: string) {
  return list.refine((entries) => entries.length > 0, { error: `must hold at least one entry: ${what}` });
}
