// What harvesting writes to the log: codes always, names of people only where addresses are written in full.
import { expect, test } from "vitest";
import { openLog, type AddressForm } from "../../src/log.ts";
import { mailbox } from "../../src/mail/address.ts";
import { createMetrics } from "../../src/metrics.ts";
import { createTrust } from "../../src/smime/trust.ts";
import { harvestLog } from "../../src/wiring/harvest.ts";
import { certificateOf } from "../keys-of.ts";

const SELFIE = mailbox("selfie@example.com");
const trust = createTrust({ anchors: [], intermediates: [], lists: undefined, onMissingList: "accept" });

function written(addresses: AddressForm): Record<string, unknown> {
  const lines: string[] = [];
  const log = openLog({ level: "info", addresses }, { write: (line) => void lines.push(line) });
  const verdict = trust.judge(certificateOf("selfie").certificate, [], Date.now());
  if (verdict.trusted) throw new Error("a self-signed certificate is trusted");
  const { reason, fault } = verdict;
  const facts = { address: SELFIE, kind: "smime", reason, detail: fault } as const;
  harvestLog(log, createMetrics("1"), () => undefined).happened("ignored", facts, "Q1");
  expect(lines).toHaveLength(1);
  return JSON.parse(lines[0]!) as Record<string, unknown>;
}

test("a refused certificate is told by a code, its subject only with log.addresses full", () => {
  for (const form of ["hashed", "domain"] as const) {
    const line = written(form);
    expect(line).toMatchObject({ event: "harvest.ignored", reason: "untrusted" });
    expect(line).not.toHaveProperty("detail");
    expect(JSON.stringify(line)).not.toMatch(/selfie/i);
  }
  expect(written("full")).toMatchObject({ address: SELFIE.address, reason: "untrusted" });
  expect(written("full")["detail"]).toMatch(/CN=Selfie.* is self-signed$/);
});
