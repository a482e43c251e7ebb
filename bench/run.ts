// Run: all benches of issue and goal in one go, and their tables into RESULTS.md.
//
// `node bench/run.ts [--full] [name …]`; `--full` queues a million messages. A goal that is missed makes the exit code 1.
import { writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { engines } from "./engines.ts";
import { fairness } from "./fairness.ts";
import { flow } from "./flow.ts";
import { memory } from "./memory.ts";
import { queue } from "./queue.ts";
import { isMissed, lines, type Report } from "./report.ts";

const isFull = process.argv.includes("--full");
const depths = [1, 10_000, 100_000, ...(isFull ? [1_000_000] : [])];
const benches: Readonly<Record<string, () => Promise<Report>>> = {
  engines,
  flow,
  queue: () => queue(depths),
  memory,
  fairness,
};
const asked = process.argv.slice(2).filter((argument) => argument in benches);
const names = asked.length > 0 ? asked : Object.keys(benches);

const began = new Date();
const loadBefore = loadavg()[0] ?? 0;
const reports: Report[] = [];
for (const name of names) {
  const report = await benches[name]?.();
  if (report === undefined) continue;
  reports.push(report);
  console.log(lines(report).join("\n"));
}
const figures = reports.flatMap((report) => report.figures);
const missed = figures.filter(isMissed);
const goals = figures.filter(({ goal }) => goal !== undefined);
const minutes = Math.round((Date.now() - began.getTime()) / 60_000);
const text = [
  "# Results",
  "",
  `Made by \`npm run bench${isFull ? " -- --full" : ""}\` on ${began.toISOString().slice(0, 10)}, in ${minutes} minutes: ${availableParallelism()} cores (${cpus()[0]?.model ?? "unknown"}), ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}; load of the machine before: ${loadBefore.toFixed(1)}.`,
  "Medians of three runs or more; all peers run side by side. What has no goal is a note.",
  "",
  `${goals.length - missed.length} of ${goals.length} goals are reached.`,
  "",
  ...reports.flatMap(lines),
];
// a part alone is no result of the whole
if (asked.length === 0) writeFileSync(fileURLToPath(new URL("RESULTS.md", import.meta.url)), text.join("\n"));
if (missed.length > 0) process.exitCode = 1;
