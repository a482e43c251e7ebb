// The documents name every log event, metric and command that there is, and no other.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { EVENT_LEVELS } from "../src/log.ts";
import { createMetrics } from "../src/metrics.ts";

const operation = readFileSync(new URL("../docs/OPERATION.md", import.meta.url), "utf8");
const section = (from: string, to: string) =>
  operation.slice(operation.indexOf(from), to === "" ? undefined : operation.indexOf(to));

test("every log event is documented, and every documented event exists", () => {
  const documented = [...section("## Log", "## Metrics").matchAll(/`([a-z]+\.[a-z]+)`/g)].map((match) => match[1]!);
  expect(documented.filter((name) => name !== "log.addresses").sort()).toEqual(Object.keys(EVENT_LEVELS).sort());
});

test("every metric is documented with its labels, and every documented metric exists", () => {
  const documented = [...section("## Metrics", "").matchAll(/`(sealpost_[a-z_]+)(?:\{([a-z,]+)\})?`/g)].map(
    (match) => `${match[1]} ${match[2] ?? ""}`,
  );
  const { registry } = createMetrics("1");
  const existing = registry
    .getMetricsAsArray()
    .filter((metric) => metric.name.startsWith("sealpost_"))
    .map((metric) => `${metric.name} ${(metric as unknown as { labelNames: string[] }).labelNames.join(",")}`);
  expect(documented.sort()).toEqual(existing.sort());
});

test("every command is documented", () => {
  const main = readFileSync(new URL("../src/main.ts", import.meta.url), "utf8");
  const commands = [...main.matchAll(/import\("\.\/cli\/([a-z]+)\.ts"\)/g)].map((match) => match[1]!);
  expect(commands.length).toBeGreaterThan(5);
  expect(commands.filter((name) => !new RegExp(`\`${name}[ \`]`).test(operation))).toEqual([]);
});
