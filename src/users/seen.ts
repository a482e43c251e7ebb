// Seen users: whom Jira has written to, which is the evidence of an account where Jira itself cannot be asked.
import type { Mailbox } from "../mail/address.ts";

export type SeenUsers = {
  /** Jira writes to these now. Gives those that it writes to for the first time. */
  saw(mailboxes: readonly Mailbox[], now: number): Promise<readonly Mailbox[]>;
  wasSeen(mailbox: Mailbox): Promise<boolean>;
};
