// The house rules: imports go down, no circles, small files, each saying what it is for.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../src/", import.meta.url));

/** From the top to the ground. A file may import its own folder and every lower row; rows hold folders, or files of src/ itself. */
const ROWS: readonly (readonly string[])[] = [
  ["main.ts"],
  ["cli"],
  ["app.ts"],
  ["wiring"],
  ["web"],
  ["admin", "delivery"],
  ["outbound"],
  ["sources", "encrypt", "inbound", "store"],
  ["keys", "smtp"],
  ["smime", "pgp", "users", "config", "spool", "log.ts"],
  ["mail", "http", "ldap", "metrics.ts"],
  ["secret.ts", "clock.ts", "roster.ts", "tls-trust.ts", "unless-aborted.ts", "log-output.ts"],
  ["as-error.ts"],
];
const MAX_LINES = 400;

const files = readdirSync(root, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .sort();
const text = new Map(files.map((name) => [name, readFileSync(join(root, name), "utf8")]));

function importsOf(name: string): string[] {
  const found = [
    ...text.get(name)!.matchAll(/(?:^|\s)(?:import|export)\s[^;]*?from\s+"(\.[^"]+)"|import\(\s*"(\.[^"]+)"/g),
  ];
  return found.map((match) => relative(root, join(root, dirname(name), match[1] ?? match[2]!)));
}

const station = (name: string) => (name.includes("/") ? name.slice(0, name.indexOf("/")) : name);
const row = (name: string) => ROWS.findIndex((entries) => entries.includes(station(name)));

test("the architecture test sees the files", () => {
  expect(files.length).toBeGreaterThan(20);
  expect(files.flatMap(importsOf).length).toBeGreaterThan(40);
});

test("every file belongs to a station of the house", () => {
  expect(files.filter((name) => row(name) < 0)).toEqual([]);
});

test("imports go down or stay in their folder", () => {
  const upward = files.flatMap((name) =>
    importsOf(name)
      .filter((target) => station(target) !== station(name) && row(target) <= row(name))
      .map((target) => `${name} → ${target}`),
  );
  expect(upward).toEqual([]);
});

test("imported files exist", () => {
  const missing = files.flatMap((name) =>
    importsOf(name).filter((target) => target.endsWith(".ts") && !text.has(target)),
  );
  expect(missing).toEqual([]);
});

test("there is no circle of imports, type imports included", () => {
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (name: string, path: readonly string[]) => {
    if (path.includes(name)) circles.push([...path.slice(path.indexOf(name)), name].join(" → "));
    if (done.has(name) || path.includes(name) || !text.has(name)) return;
    for (const target of importsOf(name)) visit(target, [...path, name]);
    done.add(name);
  };
  for (const name of files) visit(name, []);
  expect(circles).toEqual([]);
});

test(`no file has more than ${MAX_LINES} lines`, () => {
  expect(files.filter((name) => text.get(name)!.split("\n").length > MAX_LINES)).toEqual([]);
});

test("the first line of every file says what it is for", () => {
  expect(files.filter((name) => !/^\/\/ \S.{15,}/.test(text.get(name)!))).toEqual([]);
});

test("only src/clock.ts reads the time of day or sets a timer", () => {
  const offenders = files.filter(
    (name) => name !== "clock.ts" && /\bDate\.now\(|\bset(?:Timeout|Interval)\(|new Date\(\)/.test(text.get(name)!),
  );
  expect(offenders).toEqual([]);
});

test("only encrypt/ and outbound/ make a Ciphertext, only outbound/ approves clear text", () => {
  const makers = (pattern: RegExp, allowed: readonly string[]) =>
    files.filter((name) => pattern.test(text.get(name)!) && !allowed.includes(station(name)));
  expect(makers(/new Ciphertext\(/, ["encrypt", "outbound"])).toEqual([]);
  expect(makers(/new ApprovedClear\(|isWithoutPrivateFields: /, ["outbound"])).toEqual([]);
});

test("only the guard makes what the sender takes", () => {
  expect(files.filter((name) => text.get(name)!.includes("new Guarded("))).toEqual(["outbound/guard.ts"]);
});
