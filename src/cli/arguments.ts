// Arguments: addresses as given on the command line.
import { parseMailbox, type Mailbox } from "../mail/address.ts";
import { complain } from "./run.ts";

/** The mailbox, or undefined after one sentence on stderr. */
export function mailboxArgument(text: string): Mailbox | undefined {
  const parsed = parseMailbox(text);
  if ("mailbox" in parsed) return parsed.mailbox;
  complain(new Error(`${text} is not an address: ${parsed.fault.text}`), false);
  return undefined;
}
