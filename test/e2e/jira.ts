// Jira as a raw SMTP client, octet by octet under the test's control, and the mail it sends.
import { connect, type Socket } from "node:net";
import { once } from "node:events";

/** One SMTP session. Replies are whole ("250-…\n250 …"); when the connection ends, the one waited for rejects. */
export class JiraSession {
  readonly socket: Socket;
  #text = "";
  #isClosed = false;
  #look: () => void = () => undefined;

  private constructor(port: number) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("data", (chunk: Buffer) => {
      this.#text += chunk.toString("latin1");
      this.#look();
    });
    this.socket.on("error", () => undefined);
    this.socket.on("close", () => {
      this.#isClosed = true;
      this.#look();
    });
  }

  /** Connected, greeted and introduced. */
  static async open(port: number): Promise<JiraSession> {
    const session = new JiraSession(port);
    await session.reply();
    await session.command("EHLO jira.example.com");
    return session;
  }

  reply(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#look = () => {
        const found = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(this.#text);
        if (found !== null) {
          this.#text = this.#text.slice(found[0].length);
          resolve(found[0].trimEnd());
        } else if (this.#isClosed) reject(new Error("the relay closed the connection"));
      };
      this.#look();
    });
  }

  command(line: string): Promise<string> {
    this.socket.write(`${line}\r\n`);
    return this.reply();
  }

  /** A whole transaction; gives the reply to the final dot, or the first refusal before it. */
  async send(mail: {
    from?: string;
    to: readonly string[];
    rcptParameters?: string;
    message: Buffer;
  }): Promise<string> {
    const said = await this.command(`MAIL FROM:<${mail.from ?? "jira@example.com"}>`);
    if (!said.startsWith("250")) return said;
    for (const to of mail.to) {
      const reply = await this.command(`RCPT TO:<${to}>${mail.rcptParameters ?? ""}`);
      if (!reply.startsWith("250")) return reply;
    }
    const go = await this.command("DATA");
    if (!go.startsWith("354")) return go;
    this.socket.write(Buffer.concat([mail.message, Buffer.from(".\r\n")]));
    return this.reply();
  }

  async quit(): Promise<void> {
    if (this.#isClosed) return;
    const closed = once(this.socket, "close");
    this.socket.end("QUIT\r\n");
    await closed;
  }
}

/** One mail in a session of its own. */
export async function sendMail(port: number, mail: Parameters<JiraSession["send"]>[0]): Promise<string> {
  const session = await JiraSession.open(port);
  try {
    return await session.send(mail);
  } finally {
    await session.quit();
  }
}

/** An issue notification as Jira writes it; CRLF, no line begins with a dot. `fields` replace or add header fields. */
export function issueMail(
  id: string,
  {
    to = "alice@example.com",
    fields = {},
    text = "Joe commented.",
  }: { to?: string; fields?: Record<string, string>; text?: string } = {},
): Buffer {
  const header: Record<string, string> = {
    Date: "Tue, 24 Nov 2026 10:00:00 +0000",
    From: '"Joe (Jira)" <jira@example.com>',
    To: to,
    "Message-ID": `<JIRA.10042.${id}@jira.example.com>`,
    Subject: "[JIRA] (SEC-42) Door codes",
    "In-Reply-To": "<JIRA.10042@jira.example.com>",
    "X-JIRA-FingerPrint": "4f1c6f0e4ce8ff7d13e6f0a1b2c3d4e5",
    "Auto-Submitted": "auto-generated",
    "MIME-Version": "1.0",
    "Content-Type": "text/plain; charset=utf-8",
    ...fields,
  };
  const lines = Object.entries(header).filter(([, value]) => value !== "");
  return Buffer.from(`${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${text}\r\n`);
}
