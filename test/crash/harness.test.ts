// What the ledger looks with is not blind: the hunt over large files, and the readings of ciphertext.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { CANARIES } from "../e2e/canary.ts";
import { foreignCiphertext } from "../interop/readers.ts";
import type { Arrival } from "./ledger.ts";
import { huntLeftBehind } from "./left-behind.ts";
import { contentOf, ledgerMail, type LedgerMail } from "./mails.ts";
import { Readings } from "./readings.ts";

const ALICE = { mailbox: "alice@example.com", key: "alice" };
const toAlice = (number: number): LedgerMail => ({
  ...ledgerMail(1, number),
  recipients: [{ address: ALICE.mailbox, ending: "smime", key: ALICE.key }],
  sizeBytes: 0,
});

test.each([0, 1_000_000, 8 * 1024 * 1024 - 5, 9_000_000])("the hunt finds a canary at %i in a file", (at) => {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-hunt-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, "bodies"));
  const octets = Buffer.alloc(10_000_000, 0x5a);
  writeFileSync(join(folder, "bodies", "one"), octets);
  expect(huntLeftBehind(folder, "")).toEqual([]);
  octets.write(CANARIES[0]!, at);
  writeFileSync(join(folder, "bodies", "two"), octets);
  const found = huntLeftBehind(folder, "");
  expect(found.length).toBeGreaterThan(0);
  expect(found.every((one) => one.includes(`${CANARIES[0]} in ${join(folder, "bodies", "two")}`))).toBe(true);
});

test("the hunt finds a canary in the log and in the name of a file", () => {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-hunt-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, `${CANARIES[2]}.txt`), "");
  const found = huntLeftBehind(folder, `{"subject":"${CANARIES[1]}"}\n`);
  expect(found).toContain(`${CANARIES[1]} in log as plain text`);
  expect(found).toContain(`${CANARIES[2]} in names of files as plain text`);
});

/** Mail `inside`, encrypted for alice by openssl, under the name of mail 1. */
function message(inside: LedgerMail): Buffer {
  const content = contentOf(inside).toString("latin1");
  const body = content.slice(content.indexOf("\r\n\r\n"));
  const [fields, encrypted] = foreignCiphertext("smime", ALICE, Buffer.from(`Content-Type: text/plain${body}`));
  return Buffer.concat([Buffer.from(`Message-ID: <1>\r\n${fields}\r\n`), encrypted]);
}

test.each([
  { what: "the mail that it names", data: () => message(toAlice(1)), faults: [] },
  { what: "another mail", data: () => message(toAlice(2)), faults: ["alice reads another text"] },
  { what: "a mail in clear", data: () => contentOf(toAlice(1)), faults: ["as plain text", "openssl exits with"] },
])("a ciphertext that holds $what", async ({ data, faults }) => {
  const readings = new Readings(toAlice);
  onTestFinished(() => readings.close());
  const arrival: Arrival = { mail: 1, form: "smime", recipients: [ALICE.mailbox] };
  readings.take(arrival, data(), true);
  await readings.done();
  expect(readings.faults).toEqual(faults.map((fault) => expect.stringContaining(fault) as string));
});
