// The ledger in its small form: the relay is killed, the upstream dies, and what was acknowledged arrives; `npm run soak` is the large one.
import { expect, test } from "vitest";
import { brokenBounds, shownFigures, type Figures } from "./figures.ts";
import { runLedger, type RunOptions } from "./run.ts";

const MAILS = 2_000;
const KILLS = 20;

/** CRASH_SEED plans the same run again. */
async function run(options: Omit<RunOptions, "seed" | "upstreamConnections">): Promise<Figures> {
  const seed = Number(process.env["CRASH_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`CRASH_SEED=${seed}`);
  const figures = await runLedger({ ...options, seed, upstreamConnections: 4 });
  console.log(shownFigures(figures));
  expect(brokenBounds(figures)).toEqual([]);
  return figures;
}

test(`CONF-33: killed ${KILLS} times, the relay loses nothing it acknowledged`, { timeout: 240_000 }, async () => {
  const figures = await run({ mails: MAILS, kills: KILLS, chances: {}, senders: 12, huntEvery: 7, readEvery: 50 });
  expect(figures.kills).toBeGreaterThanOrEqual(KILLS);
  // the load was a load
  expect(figures.acknowledged).toBeGreaterThan(MAILS * 0.8);
  expect(figures.transactions).toBeGreaterThan(MAILS);
  expect(figures.readings.count).toBeGreaterThan(MAILS / 100);
});

test.each([
  { place: "before", fate: "nothing is lost and nothing comes twice" },
  { place: "in", fate: "nothing is lost and nothing comes twice" },
  { place: "after", fate: "nothing is lost, and twice comes at most what it had taken" },
] as const)("the upstream dies $place DATA again and again: $fate", { timeout: 120_000 }, async ({ place }) => {
  const options = { mails: 150, kills: 0, senders: 6, huntEvery: 1, readEvery: 10 };
  const { deaths } = await run({ ...options, chances: { [place]: 0.2 } });
  expect(deaths[place]).toBeGreaterThan(5);
});
