// Each of the rules of key management that Sealpost re-creates has a test with its number in the title.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const RULES = 24;
const root = fileURLToPath(new URL(".", import.meta.url));

/** The numbers that stand before the colon in titles: `"R4, R5: …"`. */
function numbersIn(text: string): number[] {
  const heads = [...text.matchAll(/(?:test|describe|it)(?:\.each(?:<[^>]*>)?\([^]*?\))?\(\s*["'`]([A-Z0-9, -]+): /g)];
  return heads.flatMap(([, head = ""]) => [...head.matchAll(/\bR(\d+)\b/g)].map(([, number]) => Number(number)));
}

test("every rule has a test with its number in the title", () => {
  const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".test.ts"));
  const seen = new Set(files.flatMap((name) => numbersIn(readFileSync(join(root, name), "utf8"))));
  const all = Array.from({ length: RULES }, (_, index) => index + 1);
  expect(all.filter((number) => !seen.has(number))).toEqual([]);
});
