// Senders: many connections that hand over one mail after the other for as long as the relay lives.
import { JiraSession } from "../e2e/jira.ts";
import { contentOf, type LedgerMail } from "./mails.ts";

export type SendingParts = {
  readonly port: number;
  /** The next mail that nobody has sent; undefined when there are no more. */
  next(): LedgerMail | undefined;
  /** The relay has said 250 to the final dot. */
  acknowledged(mail: LedgerMail): void;
};

/** Rejects only when the relay refuses mail that it must take. */
export async function sendFromAll(connections: number, parts: SendingParts): Promise<void> {
  // every third makes a connection for each mail, the others keep theirs
  await Promise.all(Array.from({ length: connections }, (_, index) => sendAll(index % 3 !== 0, parts)));
}

async function sendAll(keepsOpen: boolean, parts: SendingParts): Promise<void> {
  let session: JiraSession | undefined;
  try {
    for (;;) {
      session ??= await opened(parts.port);
      const mail = session === undefined ? undefined : parts.next();
      if (session === undefined || mail === undefined) return;
      if (!(await isTaken(session, mail))) return;
      parts.acknowledged(mail);
      if (keepsOpen) continue;
      // killed while it says QUIT: the next one will find out
      await session.quit().catch(() => undefined);
      session = undefined;
    }
  } finally {
    session?.socket.destroy();
  }
}

/** undefined when the relay is not there. */
function opened(port: number): Promise<JiraSession | undefined> {
  return JiraSession.open(port).catch(() => undefined);
}

/** false when the connection was broken, or the relay says that it is going away. */
async function isTaken(session: JiraSession, mail: LedgerMail): Promise<boolean> {
  const to = mail.recipients.map(({ address }) => address);
  const reply = await session
    .send({ from: mail.reversePath, to, message: contentOf(mail) })
    .catch(() => "421 the connection was broken");
  if (reply.startsWith("421")) return false;
  if (!reply.startsWith("250")) throw new Error(`the relay said ${reply} to ${mail.id}`);
  return true;
}
