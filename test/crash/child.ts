// A process that opens the store, says on stdout what it was promised, and kills itself (SIGKILL) at a named step.
//
// Arguments: DATADIR, scenario, step, which occurrence of the step. Each line on stdout is one promise kept by the store:
// `accepted MARK`, `settled MARK`. It is written before anything else happens, as the 250 to a client would be.
import { writeSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import { openStore } from "../../src/store/open.ts";
import {
  accept,
  contentOf,
  envelopeTo,
  LARGE_BYTES,
  mustLease,
  outcome,
  report,
  SMALL_BYTES,
} from "../store/fixture-mail.ts";

const [dataDir = "", scenario = "", deadlyStep = "", occurrence = "1"] = process.argv.slice(2);
const promise = (line: string) => writeSync(1, `${line}\n`);

let left = Number(occurrence);
let isArmed = false;
const store = await openStore({ dataDir, secretKeyFile: join(dataDir, "secret.key") }, systemClock, (step) => {
  if (isArmed && step === deadlyStep && --left === 0) process.kill(process.pid, "SIGKILL");
});
await store.recover();
const { spool } = store;

const take = async (mark: string, sizeBytes: number, recipients = ["alice@example.com", "bob@example.com"]) => {
  await accept(spool, contentOf(mark, sizeBytes), envelopeTo(...recipients));
  promise(`accepted ${mark}`);
};

/** Settles the oldest message: alice's copy as `state`, bob's as delivered, one report. */
const settleFirst = async (mark: string, state: "delivered" | "queued") => {
  const leased = await mustLease(spool, systemClock.now());
  const later = state === "queued" ? { nextAttemptAt: systemClock.now() + 3_600_000 } : {};
  const outcomes = leased.due.map((one) => outcome(one, one.index === 0 ? { state, ...later } : {}));
  await spool.settle(leased, outcomes, [report("carol@example.com")]);
  promise(`settled ${mark}`);
};

const scenarios: Record<string, () => Promise<unknown>> = {
  "accept small": () => take("new", SMALL_BYTES),
  "accept large": () => take("new", LARGE_BYTES),
  "accept together": () =>
    Promise.all([take("new", SMALL_BYTES), take("new-2", LARGE_BYTES), take("new-3", SMALL_BYTES)]),
  "settle small": () => settleFirst("old-small", "delivered"),
  "settle large": () => settleFirst("old-large", "delivered"),
  "settle in part": () => settleFirst("old-large", "queued"),
};

const firstMark = scenario === "settle small" ? "old-small" : "old-large";
await take(firstMark, firstMark === "old-small" ? SMALL_BYTES : LARGE_BYTES);
await take("old-other", LARGE_BYTES);
isArmed = true;
await scenarios[scenario]!();
await store.close();
promise("survived");
