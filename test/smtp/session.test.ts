// One session over a connection of our own making, whose client does what no kernel can be made to do quickly.
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { expect, test } from "vitest";
import { ServerSession } from "../../src/smtp/session.ts";
import type { SessionHost } from "../../src/smtp/session-host.ts";
import { manualClock } from "../manual-clock.ts";

/** A connection whose client reads nothing: what is written stays unwritten. */
function unread(): Duplex {
  return new Duplex({ writableHighWaterMark: 1_000, read: () => undefined, write: () => undefined });
}

const MAIL = "MAIL FROM:<jira@example.com>\r\n";
const HOUR = 3_600_000;

function hostWith(clock: SessionHost["clock"]): SessionHost {
  const none = () => undefined;
  return {
    dialog: {
      hostname: "relay.example.com",
      tlsMode: "off",
      users: [],
      maxMessageBytes: 1_000_000,
      maxRecipients: 100,
      isLoopback: true,
      mayReceive: undefined,
    },
    reception: { lineEndings: "strict", maxMessageBytes: 1_000_000 },
    deadlines: {
      ...{ idleMs: HOUR, commandLineMs: HOUR, contentMs: HOUR, transactionMs: HOUR, fruitlessMs: HOUR },
      ...{ tlsHandshakeMs: HOUR, lingerMs: HOUR },
    },
    secureContext: undefined,
    clock,
    observer: {
      ...{ onSessionOpened: none, onSessionClosed: none, onSessionRefused: none, onAuthFailed: none },
      ...{ onMessageAccepted: none, onMessageRefused: none, onFault: none },
    },
    begin: () => ({
      write: () => Promise.resolve(),
      commit: () => Promise.resolve({ id: "id1" }),
      abort: () => Promise.resolve(),
    }),
    authFailed: () => 0,
    ...{ authSucceeded: none, closed: none },
  };
}

test("a client that reads nothing has an end also when a hundred lines came right behind its message", async () => {
  const clock = manualClock();
  const connection = unread();
  const session = new ServerSession(connection as unknown as Socket, "s1", "127.0.0.1", hostWith(clock));
  const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
  await turn();
  connection.push(`EHLO jira.example.com\r\n${MAIL}RCPT TO:<a@example.com>\r\nDATA\r\n`);
  await turn();
  connection.push(`Subject: x\r\n\r\n.\r\n${MAIL}${"RCPT TO:<b@example.com>\r\n".repeat(200)}`);
  await turn();
  expect(connection.writableNeedDrain, "it does not read").toBe(true);
  session.expire(clock.monotonic() + 2 * HOUR);
  expect(connection.destroyed).toBe(true);
});
