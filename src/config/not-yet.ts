// Not yet: settings that the schema knows and no code serves; configured, they are refused by name and never ignored.
import { valueAt } from "./value-at.ts";

const isPostgres = (value: unknown) => typeof value === "string" && value.startsWith("postgres");

/** Whoever builds one of these parts takes its line out. */
const NOT_YET: readonly (readonly [path: string, isUsed: (value: unknown) => boolean, what?: string])[] = [
  ["database", isPostgres, "PostgreSQL"],
];

/** The settings in what was given (file and environment) that are not built yet, each with the sentence that refuses it. */
export function notYetBuilt(given: unknown): readonly { path: readonly string[]; message: string }[] {
  return NOT_YET.map(([name, isUsed, what = name]) => ({ path: name.split("."), isUsed, what }))
    .filter(({ path, isUsed }) => isUsed(valueAt(given, path)))
    .map(({ path, what }) => ({
      path,
      message: `${what} is not built yet: remove it or wait for a version that has it`,
    }));
}
