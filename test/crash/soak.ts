// The soak: the ledger in its large form, for hours if need be; prints figures and ends with 1 when anything is lost or a bound is broken.
//
// Arguments (or environment): --mails (SOAK_MAILS) 100000, --kills (SOAK_KILLS) 200, --seed (SOAK_SEED) by chance.
// SIGTERM or SIGINT ends the sending: what was sent until then is delivered and judged.
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { brokenBounds, shownFigures } from "./figures.ts";
import { runLedger } from "./run.ts";

const { values } = parseArgs({
  options: { mails: { type: "string" }, kills: { type: "string" }, seed: { type: "string" } },
});

function option(name: "mails" | "kills" | "seed", standard: number): number {
  const text = values[name] ?? process.env[`SOAK_${name.toUpperCase()}`];
  const value = text === undefined ? standard : Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name} takes a whole number, not ${text ?? ""}`);
  return value;
}

const SAY_EVERY_KILLS = 10;
const HUNTS = 8;

const [mails, kills] = [option("mails", 100_000), option("kills", 200)];
const seed = option("seed", Math.floor(Math.random() * 2 ** 31));
// two hundred starts read the same code
process.env["NODE_COMPILE_CACHE"] ??= fileURLToPath(new URL("../../node_modules/.cache/compile", import.meta.url));
const ending = new AbortController();
for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => ending.abort());
console.log(`--seed ${seed} --mails ${mails} --kills ${kills}`);
const figures = await runLedger(
  {
    ...{ seed, mails, kills, senders: 12, upstreamConnections: 4 },
    chances: { before: 0.004, in: 0.004, after: 0.004, answered: 0.002, outage: 0.0005 },
    ...{ huntEvery: Math.ceil(kills / HUNTS), readEvery: 100 },
    signal: ending.signal,
  },
  (line, kill) => {
    if (kill % SAY_EVERY_KILLS === 0) console.log(line);
  },
);
const broken = brokenBounds(figures);
console.log(shownFigures(figures));
console.log(broken.length === 0 ? "all bounds are kept" : broken.join("\n"));
process.exitCode = broken.length === 0 ? 0 : 1;
