// Mail handed in by a raw SMTP dialog: several on one connection, dot-stuffed here, nothing rewritten.
import { JiraSession } from "../e2e/jira.ts";

export type Handed = {
  readonly message: Buffer;
  readonly rcptTo: readonly string[];
  /** Parameters of MAIL such as `BODY=8BITMIME SMTPUTF8`. */
  readonly mailParameters?: string;
};

/** Hands in the mails one after the other; throws at the first reply that is not what it should be. */
export async function handIn(port: number, mails: readonly Handed[]): Promise<void> {
  const session = await JiraSession.open(port);
  try {
    for (const mail of mails) await transaction(session, mail);
  } finally {
    await session.quit();
  }
}

async function transaction(session: JiraSession, { message, rcptTo, mailParameters }: Handed): Promise<void> {
  const expect = (reply: string, code: string) => {
    if (!reply.startsWith(code)) throw new Error(`the relay answers ${reply} where ${code} was due`);
  };
  expect(await session.command(`MAIL FROM:<jira@example.com> ${mailParameters ?? ""}`.trimEnd()), "250");
  for (const to of rcptTo) expect(await session.command(`RCPT TO:<${to}>`), "250");
  expect(await session.command("DATA"), "354");
  const stuffed = message.toString("latin1").replace(/^\./gm, "..");
  session.socket.write(Buffer.from(`${stuffed}.\r\n`, "latin1"));
  expect(await session.reply(), "250");
}
