// Each attack and fault case that has been built against has a test or an SMTP dialog with its id in the title.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/**
 * Groups of cases whose parts are built: key look-up, harvesting from incoming mail, confidentiality, dependencies, the front door (SMUG, FD), and faults but
 * for the soak (REL-32), which is run apart.
 */
const BUILT = ["LOOK", "HARV", "CONF", "DEP", "REL(?!-32)", "SMUG", "FD"];
const ID = `(?:${BUILT.join("|")})-\\d+`;

const root = fileURLToPath(new URL(".", import.meta.url));
const catalogue = fileURLToPath(new URL("../../shared/security-cases.json", import.meta.url));

test("every case of these groups has a test with its id in the title", () => {
  const { cases } = JSON.parse(readFileSync(catalogue, "utf8")) as { cases: { id: string }[] };
  const ids = cases.map(({ id }) => id).filter((id) => new RegExp(`^${ID}$`).test(id));
  expect(ids.length).toBeGreaterThan(50);
  const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((name) => name !== "cases.test.ts");
  const found = (end: string, pattern: string) =>
    files
      .filter((name) => name.endsWith(end))
      .flatMap((name) => readFileSync(join(root, name), "utf8").match(new RegExp(pattern, "gm")) ?? []);
  // an id counts within a string or in the title of a dialog, not in a comment
  const inString = `(?<=["'\`][^\\n]*)${ID}(?=[^\\n]*["'\`])`;
  const titled = new Set([...found(".test.ts", inString), ...found(".txt", `(?<=^# [^\\n]*)${ID}`)]);
  expect(ids.filter((id) => !titled.has(id))).toEqual([]);
});
