// Each attack and fault case that has been built against has a test with its id in the title.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/**
 * Groups of cases whose parts are built: key look-up, harvesting from incoming mail, confidentiality, dependencies, and faults but
 * for the soak (REL-32), which is run apart.
 */
const BUILT = ["LOOK", "HARV", "CONF", "DEP", "REL(?!-32)"];
const ID = `(?:${BUILT.join("|")})-\\d+`;

const root = fileURLToPath(new URL(".", import.meta.url));
const catalogue = fileURLToPath(new URL("../../shared/security-cases.json", import.meta.url));

test("every case of these groups has a test with its id in the title", () => {
  const { cases } = JSON.parse(readFileSync(catalogue, "utf8")) as { cases: { id: string }[] };
  const ids = cases.map(({ id }) => id).filter((id) => new RegExp(`^${ID}$`).test(id));
  expect(ids.length).toBeGreaterThan(50);
  const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".test.ts"));
  const texts = files.filter((name) => name !== "cases.test.ts").map((name) => readFileSync(join(root, name), "utf8"));
  // an id counts within a string, not in a comment
  const inString = new RegExp(`(?<=["'\`][^\\n]*)${ID}(?=[^\\n]*["'\`])`, "g");
  const titled = new Set(texts.flatMap((text) => text.match(inString) ?? []));
  expect(ids.filter((id) => !titled.has(id))).toEqual([]);
});
