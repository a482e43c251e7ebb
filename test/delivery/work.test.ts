import { expect, test } from "vitest";
import { work } from "../../src/delivery/work.ts";
import type { Leased, RecipientOutcome, Spool } from "../../src/spool/spool.ts";
import { LEASED, workParts } from "./work-parts.ts";

test("an outcome that cannot be written is written again until it could be, told once, and nothing is sent twice", async () => {
  const [faults, sent, written]: [string[], string[], string[]] = [[], [], []];
  let failures = 3;
  const settle: Spool["settle"] = (_lease, outcomes) => {
    if (failures-- > 0) return Promise.reject(new Error("the disk of dataDir is full"));
    written.push(...outcomes.map((outcome) => outcome.state));
    return Promise.resolve({ stored: [], leaseLost: false });
  };
  const result = await work(LEASED, workParts(settle, faults, sent), new AbortController().signal);
  expect(result).toEqual({ upstream: "reached" });
  expect([faults.length, sent, written]).toEqual([1, ["bob@example.com"], ["delivered"]]);
});

test("at the end of the process the lease is given up instead", async () => {
  const settle: Spool["settle"] = () => Promise.reject(new Error("database is locked"));
  await expect(work(LEASED, workParts(settle, [], []), AbortSignal.abort())).rejects.toThrow("database is locked");
});

test("a held mail is not given up for a passing fault of ours, whatever its age", async () => {
  const written: RecipientOutcome[] = [];
  const settle: Spool["settle"] = (_lease, outcomes) => {
    written.push(...outcomes);
    return Promise.resolve({ stored: [], leaseLost: false });
  };
  const unreadable = {
    size: 1,
    read: () => {
      throw new Error("EMFILE: too many open files");
    },
  } as unknown as Leased["content"];
  const due = (["held", "queued"] as const).map((state, index) => ({ ...LEASED.due[0]!, index, state, heldSince: 0 }));
  const leased = { ...LEASED, envelope: { ...LEASED.envelope, class: "mail" as const }, content: unreadable, due };
  const faults: string[] = [];
  const all = workParts(settle, [], []);
  await work(
    leased,
    {
      ...all,
      now: () => 1_000_000,
      observe: { ...all.observe, broken: (_, cause) => void faults.push(cause.message) },
    },
    new AbortController().signal,
  );
  expect(faults).toHaveLength(1);
  expect(written.map(({ state }) => state)).toEqual(["held", "failed"]);
});
