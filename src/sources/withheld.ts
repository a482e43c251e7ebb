// Withheld: which addresses may not leave the house to be asked for.
import type { Mailbox } from "../mail/address.ts";

/** Why `mailbox` is not asked for, naming the setting; undefined when `onlyDomains` (A-labels; empty: all) lets it. */
export function withheldBy(setting: string, onlyDomains: readonly string[], { domain }: Mailbox): string | undefined {
  if (onlyDomains.length === 0 || onlyDomains.includes(domain)) return undefined;
  return `${domain} is not in ${setting}`;
}
