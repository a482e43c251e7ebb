// What a PGP source says of an address, as one line that a test can compare.
import { expect } from "vitest";
import type { PgpKey } from "../../src/keys/recipient-key.ts";
import type { KeySource } from "../../src/keys/source.ts";
import { mailbox } from "../../src/mail/address.ts";

const never = new AbortController().signal;

/**
 * The first User IDs, or for keys that do not serve the reasons; `absent`; or the sentence of the failure, which must not hold
 * the address.
 */
export async function said(source: KeySource<PgpKey>, address = "alice@example.com"): Promise<string> {
  const answer = await source.find(mailbox(address), never);
  if (answer.kind === "failed") {
    expect(answer.cause.message).not.toMatch(/search|%40|alice|\?l=/);
    return answer.cause.message;
  }
  if (answer.kind === "absent") return "absent";
  return answer.value
    .map(({ certificate: { encryption, userIds } }) => (encryption.usable ? (userIds[0] ?? "") : encryption.reason))
    .toSorted()
    .join(", ");
}
