// The door under random conversations: no wrong end of data, no crash, no foreign recipient, however the octets are cut.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeAuthority, type ServerCertificate } from "../authority.ts";
import { dialogs } from "./dialogs.ts";
import { converseInMemory, cutAt, octetByOctet, Sockets, whole, withoutTls, type Outcome } from "./doors.ts";
import { read, written, type FuzzDialog } from "./fuzz-dialog.ts";
import { judge } from "./referee.ts";

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 10_000);
const SEED = Number(process.env["FUZZ_SEED"] ?? Date.now() % 2 ** 31);
const SOCKET_EVERY = 20;
const MAX_GROWTH_BYTES = 24 * 1024 * 1024;

const corpus = new URL("./corpus/", import.meta.url);
const kept = readdirSync(corpus)
  .filter((name) => name.endsWith(".txt"))
  .flatMap((name) => read(readFileSync(new URL(name, corpus), "utf8")));

let certificate: ServerCertificate;
let sockets: Sockets;
beforeAll(async () => {
  certificate = await (await makeAuthority()).issue(["DNS:relay.example.com"]);
  sockets = new Sockets(certificate);
});
afterAll(() => sockets.close());

/** What is wrong with one conversation: by the referee, and between the ways of sending it. */
async function complaints(dialog: FuzzDialog, isOverSockets: boolean, isByOctet: boolean): Promise<string[]> {
  const model = await converseInMemory(dialog, whole, certificate);
  const cut = cutAt(dialog.cuts, dialog.segments.join(""));
  const others: [string, Outcome][] = [["in pieces", await converseInMemory(dialog, cut, certificate)]];
  if (isByOctet) others.push(["octet by octet", await converseInMemory(dialog, octetByOctet, certificate)]);
  if (isOverSockets) {
    others.push(["over a socket", await sockets.converse(dialog, whole, model)]);
    others.push(["over a socket in pieces", await sockets.converse(dialog, cut, model)]);
  }
  const found = judge(dialog, model.output, model.stored).concat(model.faults);
  for (const [manner, outcome] of others) {
    found.push(...outcome.faults.map((fault) => `${manner}: ${fault}`));
    for (const [what, [a, b]] of Object.entries({
      said: [withoutTls(model.output), withoutTls(outcome.output)],
      stored: [JSON.stringify(model.stored), JSON.stringify(outcome.stored)],
    }))
      if (a !== b && !(manner.includes("socket") && dialog.setup.end === "break"))
        found.push(`${manner}: ${what} ${b!}, not ${a!}`);
  }
  return found;
}

const openFiles = () => readdirSync("/proc/self/fd").length;
const usedBytes = () => {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed + process.memoryUsage().external;
};

describe("the corpus", () => {
  test("is there", () => expect(kept.length).toBeGreaterThan(10));

  test.each(kept.map(({ title, dialog }) => [title, dialog] as const))("%s", async (_title, dialog) => {
    expect(await complaints(dialog, true, dialog.segments.join("").length < 10_000)).toEqual([]);
  });
});

test(
  `FD-46: ${RUNS} random conversations come to what a reader of their whole text expects, in one piece and in many`,
  async () => {
    console.log(`fuzz: ${RUNS} conversations, FUZZ_SEED=${SEED}`);
    let [count, usedAtFirst] = [0, 0];
    const files = openFiles();
    const rejections: unknown[] = [];
    const note = (reason: unknown) => void rejections.push(reason);
    process.on("unhandledRejection", note);
    const result = await fc.check(
      fc.asyncProperty(dialogs, async (dialog) => {
        const found = await complaints(dialog, count++ % SOCKET_EVERY === 0, false);
        if (count === Math.ceil(RUNS / 5)) usedAtFirst = usedBytes();
        if (found.length > 0) throw new Error(found.join("\n"));
      }),
      { numRuns: RUNS, seed: SEED },
    );
    process.off("unhandledRejection", note);
    if (result.failed) keep(result.counterexample?.[0], result.errorInstance);
    expect(rejections).toEqual([]);
    await sockets.close();
    sockets = new Sockets(certificate);
    expect(openFiles()).toBeLessThanOrEqual(files);
    expect(usedBytes() - usedAtFirst).toBeLessThan(MAX_GROWTH_BYTES);
  },
  Math.max(120_000, RUNS * 60),
);

/** Writes a counterexample into the corpus, where it is replayed from then on, and fails. */
function keep(dialog: FuzzDialog | undefined, error: unknown): never {
  if (dialog === undefined) throw error;
  const text = written(`found with FUZZ_SEED=${SEED}`, dialog);
  const name = `found-${createHash("sha256").update(text).digest("hex").slice(0, 8)}.txt`;
  writeFileSync(new URL(name, corpus), text);
  throw new Error(`kept as test/fuzz/corpus/${name}:\n${text}`, { cause: error });
}
