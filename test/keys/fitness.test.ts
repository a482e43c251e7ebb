import { describe, expect, test } from "vitest";
import { fitness } from "../../src/keys/fitness.ts";
import { mailbox } from "../../src/mail/address.ts";
import { certificateOf, FIXTURE_TIME, pgpKeyOf } from "../keys-of.ts";

const POLICY = { minRsaBits: 2048 };
const verdict = (key: Parameters<typeof fitness>[0], address: string, now = FIXTURE_TIME) => {
  const judged = fitness(key, mailbox(address), now, POLICY);
  return judged.fit ? "fit" : judged.reason;
};

describe("certificates, as their makers meant them", () => {
  test.each([
    ["alice", "alice@example.com", "fit"],
    ["alice", "ALICE@Example.com", "fit"],
    ["alice", "joalice@example.com", "wrong-mailbox"],
    ["alice", "alice@example.com.evil.test", "wrong-mailbox"],
    ["alice-old", "alice@example.com", "expired"],
    ["alice-sign", "alice@example.com", "no-encryption-use"],
    ["alice-new", "alice@example.com", "fit"],
    ["bob", "bob@example.com", "fit"],
    ["bob384", "bob384@example.com", "fit"],
    ["bob521", "bob521@example.com", "fit"],
    ["bobbp", "bobbp@example.com", "unsupported-algorithm"],
    ["xavier", "xavier@example.com", "unsupported-algorithm"],
    ["edith", "edith@example.com", "unsupported-algorithm"],
    ["peggy", "peggy@example.com", "unsupported-algorithm"],
    ["carol", "carol@example.com", "fit"],
    ["erin", "erin@example.com", "expired"],
    ["frank", "frank@example.com", "not-yet-valid"],
    ["fred", "fred@example.com", "fit"],
    ["grace", "grace@example.com", "no-encryption-use"],
    ["heidi", "heidi.meyer@example.com", "fit"],
    ["ivan", "jörg@bücher.example", "fit"],
    ["kim", "kim@example.com", "fit"],
    ["leo", "leo@example.com", "no-encryption-use"],
    ["mia", "mia@example.com", "fit"],
    ["nick", "nick@example.com", "weak-key"],
    ["olga", "olga@example.com", "weak-signature"],
    ["pat", "pat@example.com", "fit"],
    ["quinn", "quinn@example.com", "fit"],
    ["selfie", "selfie@example.com", "fit"],
    ["sybil", "sybil@example.com", "unknown-critical-extension"],
    ["trent", "trent@example.com", "no-encryption-use"],
    ["uma", "uma@example.com", "wrong-mailbox"],
    ["smartcard", "smartcard@example.com", "wrong-mailbox"],
  ])("%s for %s: %s", (name, address, expected) => expect(verdict(certificateOf(name), address)).toBe(expected));

  test("validity is judged at the time given, not at the time it is", () => {
    const { certificate } = certificateOf("alice");
    expect(verdict(certificateOf("alice"), "alice@example.com", certificate.notAfter + 1)).toBe("expired");
    expect(verdict(certificateOf("alice"), "alice@example.com", certificate.notBefore - 1)).toBe("not-yet-valid");
  });
});

describe("OpenPGP keys, as their makers meant them", () => {
  test.each([
    ["bob", "bob@example.com", "fit"],
    ["carol", "carol@example.com", "weak-key"],
    ["dave", "dave@example.com", "fit"],
    ["dave", "gone@example.com", "wrong-mailbox"],
    ["bare", "bare@example.com", "fit"],
    ["bea", "bea@example.com", "fit"],
    ["peter", "peter@example.com", "fit"],
    ["sue", "sue@example.com", "revoked"],
    ["bob", "ob@example.com", "wrong-mailbox"],
  ])("%s for %s: %s", async (name, address, expected) => expect(verdict(await pgpKeyOf(name), address)).toBe(expected));
});
