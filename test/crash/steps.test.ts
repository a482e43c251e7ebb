// A process killed between any two steps of accepting and settling loses nothing that it has promised.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Leased } from "../../src/spool/spool.ts";
import { openStore } from "../../src/store/open.ts";
import { manualClock } from "../manual-clock.ts";
import { contentOf, LARGE_BYTES, read, SMALL_BYTES } from "../store/fixture-mail.ts";

const CHILD = fileURLToPath(new URL("child.ts", import.meta.url));

let dataDir = "";
beforeEach(() => (dataDir = mkdtempSync(join(tmpdir(), "sealpost-crash-"))));
afterEach(() => rmSync(dataDir, { recursive: true }));

/** Runs the child until it kills itself; gives the promises it made before. */
function crash(scenario: string, step: string, occurrence: number): readonly string[] {
  const child = spawnSync(process.execPath, [CHILD, dataDir, scenario, step, String(occurrence)], { encoding: "utf8" });
  expect({ signal: child.signal, stderr: child.stderr }).toEqual({ signal: "SIGKILL", stderr: "" });
  return child.stdout.split("\n").filter((line) => line !== "");
}

type Found = {
  /** Messages that are due now, by mark, with the addresses that still wait; notices have the mark "notice". */
  readonly waiting: Readonly<Record<string, readonly string[]>>;
  /** Body files that recover() removed, body files left, and messages due that must have one. */
  readonly orphans: number;
  readonly bodyFiles: number;
  readonly largeWaiting: number;
  /** Every recipient as "class state", finished messages too. */
  readonly states: readonly string[];
};

/** What the next process finds: every message is read whole and compared octet by octet. */
async function restart(): Promise<Found> {
  const clock = manualClock(Date.now() + 1_000);
  const store = await openStore({ dataDir, secretKeyFile: join(dataDir, "secret.key") }, clock);
  try {
    const orphans = await store.recover();
    const waiting: Record<string, readonly string[]> = {};
    let largeWaiting = 0;
    for (let leased: Leased | null; (leased = await store.spool.lease(clock.now(), 1e9, "outbound")) !== null;) {
      const content = await read(leased);
      const mark = /^Subject: (.*)\r$/m.exec(content.subarray(0, 500).toString())?.[1] ?? "";
      if (leased.envelope.class === "mail") {
        const sizeBytes = mark === "old-small" || content.length === SMALL_BYTES ? SMALL_BYTES : LARGE_BYTES;
        expect(content.equals(contentOf(mark, sizeBytes)), `${mark} is whole`).toBe(true);
        expect(leased.allRecipients).toHaveLength(2);
        if (sizeBytes === LARGE_BYTES) largeWaiting++;
      }
      expect(waiting[mark], `${mark} is there once`).toBeUndefined();
      waiting[mark] = leased.due.map((one) => one.mailbox.address);
    }
    const entries = await store.spool.list(100);
    const states = entries.flatMap((one) => one.recipients.map(({ state }) => `${one.class} ${state}`)).sort();
    const bodyFiles = readdirSync(join(dataDir, "bodies"), { recursive: true, withFileTypes: true });
    return { waiting, orphans, bodyFiles: bodyFiles.filter((one) => one.isFile()).length, largeWaiting, states };
  } finally {
    await store.close();
  }
}

const BOTH = ["alice@example.com", "bob@example.com"];

describe("killed while a message is accepted", () => {
  const cases: readonly [string, string, { isAccepted: boolean; orphans: number }][] = [
    ["accept small", "rows inserted", { isAccepted: false, orphans: 0 }],
    ["accept small", "committed", { isAccepted: true, orphans: 0 }],
    ["accept large", "body written", { isAccepted: false, orphans: 1 }],
    ["accept large", "body synced", { isAccepted: false, orphans: 1 }],
    ["accept large", "rows inserted", { isAccepted: false, orphans: 1 }],
    ["accept large", "committed", { isAccepted: true, orphans: 0 }],
  ];
  test.each(cases)("%s, at '%s', the message is there whole or not at all", async (scenario, step, expected) => {
    const promises = crash(scenario, step, 1);
    expect(promises).toEqual(["accepted old-large", "accepted old-other"]);
    const found = await restart();
    const old = { "old-large": BOTH, "old-other": BOTH };
    expect(found.waiting).toEqual(expected.isAccepted ? { ...old, new: BOTH } : old);
    expect(found.orphans).toBe(expected.orphans);
    expect(found.bodyFiles).toBe(found.largeWaiting);
  });

  test("of three that arrive together, each acknowledged one is there, and every other is whole or not there", async () => {
    for (const occurrence of [1, 2, 3]) {
      const promises = crash("accept together", "rows inserted", occurrence);
      const found = await restart();
      const promised = promises.filter((line) => line.startsWith("accepted new")).map((line) => line.split(" ")[1]!);
      expect(Object.keys(found.waiting)).toEqual(expect.arrayContaining(promised));
      expect(found.bodyFiles).toBe(found.largeWaiting);
      rmSync(dataDir, { recursive: true });
      dataDir = mkdtempSync(join(tmpdir(), "sealpost-crash-"));
    }
  });
});

describe("killed while a lease is settled", () => {
  const before = ["mail queued", "mail queued", "mail queued", "mail queued"];
  const delivered = ["mail delivered", "mail delivered", "mail queued", "mail queued", "report queued"];
  const inPart = ["mail delivered", "mail queued", "mail queued", "mail queued", "report queued"];
  const cases: readonly [string, string, { states: readonly string[]; isDue: boolean; orphans: number }][] = [
    ["settle small", "outcomes written", { states: before, isDue: true, orphans: 0 }],
    ["settle small", "settled", { states: delivered, isDue: false, orphans: 0 }],
    ["settle small", "body removed", { states: delivered, isDue: false, orphans: 0 }],
    ["settle large", "outcomes written", { states: before, isDue: true, orphans: 0 }],
    ["settle large", "settled", { states: delivered, isDue: false, orphans: 1 }],
    ["settle large", "body removed", { states: delivered, isDue: false, orphans: 0 }],
    ["settle in part", "outcomes written", { states: before, isDue: true, orphans: 0 }],
    ["settle in part", "settled", { states: inPart, isDue: false, orphans: 0 }],
    ["settle in part", "body removed", { states: inPart, isDue: false, orphans: 0 }],
  ];
  test.each(cases)("%s, at '%s', outcomes and notice are both there or both not", async (scenario, step, expected) => {
    crash(scenario, step, 1);
    const found = await restart();
    const mark = scenario === "settle small" ? "old-small" : "old-large";
    expect(found.states).toEqual(expected.states);
    expect(found.waiting[mark]).toEqual(expected.isDue ? BOTH : undefined);
    expect(found.waiting["old-other"]).toEqual(BOTH);
    expect("notice" in found.waiting).toBe(!expected.isDue);
    expect(found.orphans).toBe(expected.orphans);
    // the body of a message that waits for its next attempt stays
    expect(found.bodyFiles).toBe(found.largeWaiting + (scenario === "settle in part" && !expected.isDue ? 1 : 0));
  });
});
