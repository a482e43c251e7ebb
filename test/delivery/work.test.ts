import { expect, test } from "vitest";
import { work, type WorkParts } from "../../src/delivery/work.ts";
import { mailbox } from "../../src/mail/address.ts";
import { sizedBytes } from "../../src/mail/chunks.ts";
import type { PrepareParts } from "../../src/outbound/prepare.ts";
import type { Leased, RecipientOutcome, Spool } from "../../src/spool/spool.ts";

const BOB = mailbox("bob@example.com");
const LEASED: Leased = {
  id: "x",
  token: "t",
  envelope: { route: "outbound", class: "report", reversePath: undefined, smtpUtf8: false, is8bit: false },
  allRecipients: [BOB],
  due: [{ index: 0, mailbox: BOB, notify: undefined, attempts: 0, state: "queued", heldSince: undefined }],
  acceptedAt: 0,
  wasHereAtStart: false,
  leaseUntil: 1,
  content: sizedBytes(Buffer.from("Subject: x\r\n\r\nnotice\r\n")),
};

function parts(settle: Spool["settle"], faults: string[], sent: string[]): WorkParts {
  const none = () => undefined;
  return {
    spool: { settle } as unknown as Spool,
    sender: {
      send: ({ recipients }) => {
        sent.push(...recipients.map((one) => one.mailbox.address));
        return Promise.resolve({
          kind: "transaction",
          results: recipients.map((one) => ({ mailbox: one.mailbox, outcome: "delivered", reply: "250 ok" })),
        });
      },
      probe: () => Promise.resolve({ ok: true, detail: "" }),
      close: () => Promise.resolve(),
      isUp: true,
      protection: undefined,
    },
    prepare: {} as PrepareParts,
    inbound: undefined,
    retry: { firstMs: 1, factor: 1, maxMs: 1, giveUpMs: 1 },
    hostname: "relay.example.com",
    observe: {
      settled: none,
      noticeQueued: none,
      sent: none,
      broken: none,
      spoolFailed: (cause) => void faults.push(cause.message),
    },
    now: () => 0,
    steady: { since: () => 0, note: () => "" },
    sleep: () => Promise.resolve(),
    random: () => 0,
  };
}

test("an outcome that cannot be written is written again until it could be, told once, and nothing is sent twice", async () => {
  const [faults, sent, written]: [string[], string[], string[]] = [[], [], []];
  let failures = 3;
  const settle: Spool["settle"] = (_lease, outcomes) => {
    if (failures-- > 0) return Promise.reject(new Error("the disk of dataDir is full"));
    written.push(...outcomes.map((outcome) => outcome.state));
    return Promise.resolve({ stored: [], leaseLost: false });
  };
  const result = await work(LEASED, parts(settle, faults, sent), new AbortController().signal);
  expect(result).toEqual({ upstream: "reached" });
  expect([faults.length, sent, written]).toEqual([1, ["bob@example.com"], ["delivered"]]);
});

test("at the end of the process the lease is given up instead", async () => {
  const settle: Spool["settle"] = () => Promise.reject(new Error("database is locked"));
  await expect(work(LEASED, parts(settle, [], []), AbortSignal.abort())).rejects.toThrow("database is locked");
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
  const all = parts(settle, [], []);
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
