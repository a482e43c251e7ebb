// Known users: whether a key may be used at once or has to wait until its owner has an account in Jira.
import type { Mailbox } from "../mail/address.ts";
import type { UserDirectory } from "./directory.ts";
import type { SeenUsers } from "./seen.ts";

/**
 * Whether Jira knows this person: as an active user or customer, by its REST interface where that is configured, else because Jira has
 * written to the address. When Jira cannot be asked now the person counts as unknown: the key waits, and nothing is lost. How long it
 * may take to answer is the caller's affair.
 */
export function knownUsers(people: UserDirectory | undefined, seen: SeenUsers) {
  return async (mailbox: Mailbox, signal: AbortSignal): Promise<boolean> => {
    if (people === undefined) return seen.wasSeen(mailbox);
    const answer = await people.find(mailbox, signal);
    return answer.kind === "found" && answer.value.isActive;
  };
}
