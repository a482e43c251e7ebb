// UserDirectory: who is known to Jira, and whether as a user or as a customer of Jira Service Management.
import type { Mailbox } from "../mail/address.ts";

/** A customer has an account in Jira but none of its applications. */
export type Person = { readonly kind: "user" | "customer"; readonly isActive: boolean };

/** As keys/lookup.ts, which stands above: `failed` means unknown and is never read as `absent`. */
export type PersonLookup =
  | { readonly kind: "found"; readonly value: Person }
  | { readonly kind: "absent" }
  | { readonly kind: "failed"; readonly cause: Error };

export type UserDirectory = {
  /** The person with this mail address. Never throws; failed as soon as `signal` fires. */
  find(mailbox: Mailbox, signal: AbortSignal): Promise<PersonLookup>;
  /** Really uses the directory; `detail` is a sentence for an operator. Never throws. */
  probe(signal: AbortSignal): Promise<{ readonly ok: boolean; readonly detail: string }>;
};
