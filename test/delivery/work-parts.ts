// A lease and the parts that work on it, of nothing but memory.
import type { WorkParts } from "../../src/delivery/work.ts";
import { mailbox } from "../../src/mail/address.ts";
import { sizedBytes } from "../../src/mail/chunks.ts";
import type { PrepareParts } from "../../src/outbound/prepare.ts";
import type { Leased, Spool } from "../../src/spool/spool.ts";

const BOB = mailbox("bob@example.com");
export const LEASED: Leased = {
  id: "x",
  token: "t",
  envelope: { route: "outbound", class: "report", reversePath: undefined, smtpUtf8: false, is8bit: false },
  allRecipients: [BOB],
  due: [{ index: 0, mailbox: BOB, notify: undefined, attempts: 0, state: "queued", heldSince: undefined }],
  acceptedAt: 0,
  wasHereAtStart: false,
  leaseUntil: 1,
  content: sizedBytes(Buffer.from("Subject: x\r\n\r\nnotice\r\n")),
};

export function workParts(settle: Spool["settle"], faults: string[], sent: string[]): WorkParts {
  const none = () => undefined;
  return {
    spool: { settle } as unknown as Spool,
    departures: {
      depart: ({ envelope: { recipients } }) => {
        sent.push(...recipients.map((one) => one.mailbox.address));
        const results = recipients.map(
          ({ mailbox: one }) => ({ mailbox: one, outcome: "delivered", reply: "250 ok" }) as const,
        );
        return Promise.resolve({ kind: "sent", result: { kind: "transaction", results }, readyMs: 0, sentMs: 0 });
      },
      close: () => Promise.resolve(),
      isUp: true,
    },
    prepare: {} as PrepareParts,
    inbound: undefined,
    retry: { firstMs: 1, factor: 1, maxMs: 1, giveUpMs: 1 },
    hostname: "relay.example.com",
    observe: {
      settled: none,
      noticeQueued: none,
      ...{ encrypted: none, sent: none, stopped: none },
      broken: none,
      spoolFailed: (cause) => void faults.push(cause.message),
    },
    now: () => 0,
    steady: { since: () => 0, note: () => "" },
    sleep: () => Promise.resolve(),
    random: () => 0,
  };
}
