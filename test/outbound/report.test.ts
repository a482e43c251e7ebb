// Problem reports: what a recipient is told of why their mail could not be encrypted.
import { expect, test } from "vitest";
import type { UnfitReason } from "../../src/keys/fitness.ts";
import { mailbox } from "../../src/mail/address.ts";
import { problemReport } from "../../src/outbound/report.ts";
import type { NoKeyReason } from "../../src/outbound/treatment.ts";

// not one can be left out or be too much: the compiler compares it with the type
const REASONS = {
  ...{ "wrong-mailbox": true, expired: true, "not-yet-valid": true, "no-encryption-use": true, "weak-key": true },
  ...{ "weak-signature": true, "unsupported-algorithm": true, "unknown-critical-extension": true, revoked: true },
  ...{ "no-encryption-subkey": true, untrusted: true, "revocation-unknown": true, "no-key": true, "set-aside": true },
} satisfies Record<UnfitReason | NoKeyReason, true>;

const textOf = async (reason: string) => {
  const settings = { hostname: "relay.example.com", from: mailbox("relay@example.com") };
  const { message } = await problemReport(mailbox("bob@example.com"), reason, false, settings, 0);
  // quoted-printable: without its soft line breaks
  return Buffer.from(message).toString().replaceAll("=\r\n", "");
};

test.each(Object.keys(REASONS))("%s is explained in a sentence of its own, not by its name", async (reason) => {
  const text = await textOf(reason);
  expect(text).not.toContain("The reason is:");
  const [, explanation = ""] = /therefore not sent\.\r?\n\r?\n(.+)/.exec(text) ?? [];
  expect(explanation).toMatch(/^[A-Z].{30,}\.$/);
});

test("several reasons are explained one after the other, and one that nobody knows by its name", async () => {
  const text = await textOf("expired, untrusted, moonstruck");
  expect(text).toMatch(/has expired\.\r?\nYour certificate was not issued by .+\r?\nThe reason is: moonstruck\./);
});
