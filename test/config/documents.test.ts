// The documents of the configuration say what the schema says: docs/CONFIG.md, the example, the JSON Schema.
import { readFileSync } from "node:fs";
import { fastify } from "fastify";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { jsonSchema, outline, type OutlineEntry } from "../../src/config/outline.ts";
import { schema } from "../../src/config/schema.ts";

const text = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const manual = text("docs/CONFIG.md");
const example = text("config/sealpost.example.yaml");

const nameOf = ({ path }: OutlineEntry) => path.join(".").replaceAll(".*", "[]");
const asFlow = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(asFlow).join(", ")}]`;
  if (typeof value !== "object" || value === null) return String(value);
  return `{ ${Object.entries(value)
    .map(([key, below]) => `${key}: ${asFlow(below)}`)
    .join(", ")} }`;
};
const isEmpty = (value: unknown) => value === undefined || asFlow(value) === "{  }";

/** Sections that have no value of their own, such as `upstream` or the entries of a list, need no row. */
const needsRow = ({ isSection, json }: OutlineEntry) => !isSection || !isEmpty(json.default);

/** Rows `| setting | default | meaning |` of the manual. */
const rows = new Map(
  [...manual.matchAll(/^\| `([\w.[\]]+)` \| (.*?) \| (.*) \|$/gm)].map(([, name = "", value = "", meaning = ""]) => [
    name,
    { value: value.replaceAll("`", ""), meaning },
  ]),
);

/** The example with every commented-out section, and every other form that a comment shows, in force. */
const inFull = example.replace(/^#(?! \S|$)/gm, "").replace(/^(\s*[\w]+:) (\S.*?) # ([{[].*)$/gm, "$1 $3");

test("every setting has a row in docs/CONFIG.md, and every row is a setting", () => {
  const names = outline().filter(needsRow).map(nameOf);
  expect(names.length).toBeGreaterThan(90);
  expect([...rows.keys()].sort()).toEqual(names.sort());
});

test("docs/CONFIG.md gives every default as the schema has it", () => {
  const wrong = outline()
    .filter(needsRow)
    .map((entry) => ({
      name: nameOf(entry),
      schema: isEmpty(entry.json.default) ? "" : asFlow(entry.json.default),
      manual: rows.get(nameOf(entry))?.value,
    }))
    .filter((one) => one.schema !== one.manual);
  expect(wrong).toEqual([]);
});

test("docs/CONFIG.md names every choice of a setting that has choices", () => {
  const choices = ({ json }: OutlineEntry) =>
    [json, ...(json.anyOf ?? []), ...(json.oneOf ?? [])].flatMap((one) =>
      "enum" in one ? (one.enum as string[]) : [],
    );
  const ruled = (name: string) => name.replace("encryption.rules[].", "encryption.");
  const missing = outline().flatMap((entry) =>
    choices(entry)
      .filter((choice) => rows.get(ruled(nameOf(entry)))?.meaning.includes(choice) !== true)
      .map((choice) => `${nameOf(entry)}: ${choice}`),
  );
  expect(missing).toEqual([]);
});

test("every YAML sample in docs/CONFIG.md is a right configuration", () => {
  const samples = [...manual.matchAll(/^```yaml\n([\s\S]*?)^```/gm)].map(([, sample = ""]) => parse(sample) as object);
  expect(samples.length).toBeGreaterThan(5);
  for (const sample of samples) schema.parse({ upstream: { host: "smtp.example.com" }, ...sample });
});

test("docs/CONFIG.md lists what is not built yet", () => {
  const listed = text("src/config/not-yet.ts").matchAll(/^ {2}\["([\w.]+)"/gm);
  const section = manual.slice(manual.indexOf("## Not built yet"));
  const names = [...listed].map(([, name = ""]) => name);
  expect(names.length).toBeGreaterThan(0);
  expect(names.filter((name) => !section.includes(`\`${name}`))).toEqual([]);
});

test("the example holds every setting outside lists and empty parts, each at its default", () => {
  const defaults = z.encode(schema, schema.parse({ upstream: { host: "smtp.example.com" } }));
  expect(z.encode(schema, schema.parse(parse(example)))).toEqual(defaults);
  const leaves = (value: unknown, path: string): string[] =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.entries(value).flatMap(([key, below]) => leaves(below, `${path}.${key}`))
      : [path];
  const unset = leaves(defaults, "").filter((name) => !leaves(parse(example), "").includes(name));
  // a mode without TLS needs no files; the section is shown commented out
  expect(unset).toEqual([".outbound.tls.cert", ".outbound.tls.key", ".inbound"]);
});

test("the other forms that the example's comments show are right, and with them no setting is missing", () => {
  const full: unknown = parse(inFull);
  schema.parse(full);
  const names = (value: unknown, path: string): string[] => {
    if (Array.isArray(value)) return value.flatMap((entry) => names(entry, `${path}[]`));
    if (typeof value !== "object" || value === null) return [];
    return Object.entries(value).flatMap(([key, below]) => {
      const name = path === "" ? key : `${path}.${key}`;
      return [name, ...names(below, name)];
    });
  };
  const shown = new Set(names(full, ""));
  expect(
    outline()
      .map(nameOf)
      .filter((name) => !name.endsWith("[]") && !shown.has(name)),
  ).toEqual([]);
});

test("the JSON Schema lets the example pass and a misspelt or wrong setting not, as an independent validator sees it", async () => {
  const server = fastify({
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false, allowUnionTypes: true } },
  });
  server.post("/", { schema: { body: jsonSchema() } }, () => "valid");
  const validate = async (document: unknown) => {
    const answer = await server.inject({ method: "POST", url: "/", payload: document as object });
    return answer.statusCode === 200 ? "valid" : answer.json<{ message: string }>().message;
  };
  expect(await validate(parse(example))).toBe("valid");
  expect(await validate(parse(inFull))).toBe("valid");
  expect(await validate({ upstream: { host: "a.example", prot: 25 } })).toMatch(/additional properties/);
  expect(await validate({ upstream: { host: "smtp://a.example" } })).toMatch(/pattern/);
  expect(await validate({ upstream: {} })).toMatch(/required property 'host'/);
  expect(await validate({ encryption: { hold: "7 days" } })).toMatch(/hold must match pattern/);
  await server.close();
});

test("every setting is explained by one sentence", () => {
  const unexplained = outline().filter(
    ({ path, json }) => path.at(-1) !== "*" && !/^\S.*\.$/.test(json.description ?? ""),
  );
  expect(unexplained.map(nameOf)).toEqual([]);
});
