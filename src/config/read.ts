// Read: the configuration from file and environment, with all its faults at once.
import { hostname } from "node:os";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { readEnvironment, type Environment, type Override } from "./environment.ts";
import { explainIssue, type Explained } from "./explain-issue.ts";
import { pathText, type Fault, type Path, type Place } from "./fault.ts";
import { notYetBuilt } from "./not-yet.ts";
import { isHostName } from "./places.ts";
import { schema, type Parsed, type Settings } from "./schema.ts";
import { readPlainFile } from "./secret-file.ts";
import { settle, withAbsolutePaths } from "./settle.ts";
import { emptyTree, isTree, setValueAt, type Tree } from "./value-at.ts";
import { readYaml, type YamlText } from "./yaml-text.ts";

const MAX_FILE_BYTES = 1024 * 1024;

/** `effective` is the same configuration as a file could hold it: defaults filled in, paths absolute, no secret in it. */
export type Configuration = { readonly settings: Settings; readonly effective: Tree };
export type Reading = Configuration | { readonly faults: readonly [Fault, ...Fault[]] };

/** The file to read: the one named, else $SEALPOST_CONFIG, else config/sealpost.yaml in the current folder. */
export function configurationFile(named: string | undefined, env: Environment): string {
  return named ?? (env["SEALPOST_CONFIG"] || "config/sealpost.yaml");
}

/**
 * Reads file, environment and secret files, and nothing else: the same input gives the same result, so that a reload is a
 * second call. Nothing is opened for writing. Faults come in the order of the file.
 */
export function readConfiguration({ path, env }: { path?: string | undefined; env: Environment }): Reading {
  const file = configurationFile(path, env);
  const content = readPlainFile(resolve(file), MAX_FILE_BYTES);
  const environment = readEnvironment(env);
  const faults: Fault[] = environment.faults.map(({ variable, message }) => ({
    place: { variable },
    path: "",
    message,
  }));
  const atStart = (message: string): Fault => ({ place: { file, line: 1, column: 1 }, path: "", message });
  if ("fault" in content) {
    const hint = "name the configuration with --config FILE or SEALPOST_CONFIG";
    return refused([atStart(`${content.fault}; ${hint}`), ...faults]);
  }
  const yaml = readYaml(content.bytes.toString("utf8"));
  for (const { line, column, path, message } of yaml.faults)
    faults.push({ place: { file, line, column }, path: pathText(path), message });
  if (yaml.value === undefined) return refused(faults);
  if (yaml.value !== null && !isTree(yaml.value))
    return refused([...faults, atStart("must be a mapping of settings, such as upstream:")]);

  const given = yaml.value ?? emptyTree();
  for (const { path, value } of environment.overrides) setValueAt(given, path, value);
  const place = placeFinder(file, yaml, environment.overrides);
  const checked = check(given, place);
  faults.push(...checked.faults);
  if (checked.parsed === undefined) return refused(faults);

  const parsed = withAbsolutePaths(withHostname(checked.parsed), dirname(resolve(file)));
  if (!isHostName(parsed.hostname ?? ""))
    faults.push({ ...atStart("the machine's name is no host name; set it"), path: "hostname" });
  const { settings, faults: fileFaults } = settle(parsed);
  for (const { path, message } of fileFaults)
    if (!checked.isUnbuilt(path)) faults.push({ place: place(path, "value"), path: pathText(path), message });
  return faults.length > 0 ? refused(faults) : { settings, effective: z.encode(schema, parsed) };
}

type PlaceFinder = (path: Path, about: "key" | "value") => Place;

type Checked = {
  readonly parsed: Parsed | undefined;
  readonly faults: readonly Fault[];
  /** What is below a part that is refused as a whole needs no fault of its own. */
  isUnbuilt(path: Path): boolean;
};

function check(given: Tree, place: PlaceFinder): Checked {
  const unbuilt = notYetBuilt(given);
  const isUnbuilt = (path: Path) => unbuilt.some((one) => one.path.every((step, i) => path[i] === step));
  const result = schema.safeParse(given);
  const found: readonly Explained[] = [
    ...unbuilt.map(({ path, message }) => ({ path, about: "key" as const, message })),
    ...(result.error?.issues ?? [])
      .flatMap((issue) => explainIssue(issue, given))
      .filter(({ path }) => !isUnbuilt(path)),
  ];
  return {
    isUnbuilt,
    parsed: result.data,
    faults: found.map(({ path, about, message }) => ({ place: place(path, about), path: pathText(path), message })),
  };
}

/** A value set by the environment is found there, everything else in the file. */
function placeFinder(file: string, yaml: YamlText, overrides: readonly Override[]): PlaceFinder {
  return (path, about) => {
    const setter = overrides.findLast((one) => one.path.every((step, i) => path[i] === step));
    return setter === undefined ? { file, ...yaml.position(path, about) } : { variable: setter.variable };
  };
}

function withHostname(parsed: Parsed): Parsed {
  return { ...parsed, hostname: parsed.hostname ?? hostname() };
}

function refused(faults: readonly Fault[]): { faults: readonly [Fault, ...Fault[]] } {
  const line = ({ place }: Fault) => ("variable" in place ? [Infinity, 0] : [place.line, place.column]);
  const [first, ...others] = faults.toSorted((a, b) => {
    const [lineA = 0, columnA = 0] = line(a);
    const [lineB = 0, columnB = 0] = line(b);
    return lineA === lineB ? columnA - columnB : lineA - lineB;
  });
  if (first === undefined) throw new Error("refused without a fault");
  return { faults: [first, ...others] };
}
