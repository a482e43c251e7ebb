// The sender: one outcome for each recipient, whatever the upstream answers and wherever it answers it.
import { describe, expect, test } from "vitest";
import { mailbox } from "../../src/mail/address.ts";
import { ApprovedClear, Ciphertext, Guarded } from "../../src/mail/outgoing.ts";
import { sizedBytes } from "../../src/mail/chunks.ts";
import type { Transaction } from "../../src/smtp/sender.ts";
import { MESSAGE, mailTo, newUpstream, senderTo, shown } from "./sending.ts";

const withPipelining = [true, false] as const;

describe.each(withPipelining)("pipelining %s:", (pipelining) => {
  test("a message goes to all its recipients in one transaction, and nothing is sent ahead of its time", async () => {
    const upstream = await newUpstream({ pipelining });
    const result = await senderTo(upstream).send(mailTo(["bob@b.test", "cleo@c.test"]));
    expect(shown(result)).toEqual(["bob@b.test delivered 250 2.0.0 queued", "cleo@c.test delivered 250 2.0.0 queued"]);
    expect(upstream.transactions).toMatchObject([
      { mailFrom: "ann@a.test", rcptTo: ["bob@b.test", "cleo@c.test"], tls: false, data: Buffer.from(MESSAGE) },
    ]);
    expect(upstream.violations).toEqual([]);
  });

  test("each recipient has the outcome of its own RCPT reply", async () => {
    const upstream = await newUpstream({
      pipelining,
      reply: ({ line }) => {
        if (line.includes("gone")) return "550 5.1.1 no such user";
        if (line.includes("grey")) return "450 4.2.0 greylisted";
        return undefined;
      },
    });
    const result = await senderTo(upstream).send(mailTo(["gone@b.test", "bob@b.test", "grey@b.test", "gone@b.test"]));
    expect(shown(result)).toEqual([
      "gone@b.test refused (5.1.1) 550 5.1.1 no such user",
      "bob@b.test delivered 250 2.0.0 queued",
      "grey@b.test deferred 450 4.2.0 greylisted",
      "gone@b.test refused (5.1.1) 550 5.1.1 no such user",
    ]);
    expect(upstream.transactions[0]?.rcptTo).toEqual(["bob@b.test"]);
  });

  test("a refused RCPT stays refused when the message is deferred after its final dot", async () => {
    const upstream = await newUpstream({
      pipelining,
      reply: ({ verb, line }) =>
        verb === "DOT" ? "451 4.3.0 later" : line.includes("gone") ? "550 5.1.1 gone" : undefined,
    });
    const result = await senderTo(upstream).send(mailTo(["gone@b.test", "bob@b.test"]));
    expect(shown(result)).toEqual([
      "gone@b.test refused (5.1.1) 550 5.1.1 gone",
      "bob@b.test deferred 451 4.3.0 later",
    ]);
  });

  test("REL-08: when every RCPT is refused there is no DATA but RSET, and the session serves the next message", async () => {
    const upstream = await newUpstream({
      pipelining,
      reply: ({ line }) => (line.includes("gone") ? "550 5.1.1 gone" : undefined),
    });
    const sender = senderTo(upstream, { connections: 1 });
    await sender.send(mailTo(["gone@b.test", "gone@c.test"]));
    await sender.send(mailTo(["bob@b.test"]));
    const verbs = upstream.commands.map(({ verb }) => verb);
    expect(verbs).toEqual(["EHLO", "MAIL", "RCPT", "RCPT", "RSET", "MAIL", "RCPT", "DATA"]);
    expect(upstream.connections.accepted).toBe(1);
  });

  test.each([
    ["MAIL", "451 4.3.0 no", "deferred 451 4.3.0 no"],
    ["MAIL", "553 5.1.8 bad sender", "refused (5.1.8) 553 5.1.8 bad sender"],
    ["RCPT", "421 4.3.2 going down", "deferred 421 4.3.2 going down"],
    ["DATA", "451 4.3.0 no", "deferred 451 4.3.0 no"],
    ["DATA", "554 5.5.1 no valid recipients", "refused (5.5.1) 554 5.5.1 no valid recipients"],
    ["DOT", "452 4.3.1 full", "deferred 452 4.3.1 full"],
    ["DOT", "554 content refused", "refused (5.0.0) 554 content refused"],
    ["DOT", "421 4.3.2 going down", "deferred 421 4.3.2 going down"],
  ])("%s answered %s makes every recipient %s (REL-05, REL-06)", async (verb, reply, outcome) => {
    const upstream = await newUpstream({ pipelining, reply: (command) => (command.verb === verb ? reply : undefined) });
    const result = await senderTo(upstream).send(mailTo(["bob@b.test", "cleo@c.test"]));
    expect(shown(result)).toEqual([`bob@b.test ${outcome}`, `cleo@c.test ${outcome}`]);
    expect(upstream.transactions).toEqual([]);
  });
});

test.each([
  ["MAIL", "530 5.7.0 authentication required"],
  ["MAIL", "530 5.7.0 must issue STARTTLS first"],
  ["RCPT", "535 5.7.8 log in first"],
])("%s answered %s speaks of our settings and bounces nobody's mail", async (verb, reply) => {
  const upstream = await newUpstream({ reply: (command) => (command.verb === verb ? reply : undefined) });
  const sender = senderTo(upstream);
  expect(shown(await sender.send(mailTo(["bob@b.test"])))).toEqual([
    `unreachable upstream wants a login or TLS: ${reply}; see upstream.user and upstream.tls`,
  ]);
  expect(sender.isUp).toBe(false);
});

test("503 says that the session is out of step, not that the message is bad: deferred, on a new connection next time", async () => {
  const upstream = await newUpstream({ reply: ({ verb }) => (verb === "RCPT" ? "503 5.5.1 bad sequence" : undefined) });
  const sender = senderTo(upstream);
  expect(shown(await sender.send(mailTo(["bob@b.test"])))).toEqual([
    "bob@b.test deferred upstream is out of step: 503 5.5.1 bad sequence",
  ]);
  upstream.behaviour.reply = () => undefined;
  await sender.send(mailTo(["bob@b.test"]));
  expect(upstream.connections.accepted).toBe(2);
});

test("552 without a status to RCPT means too many recipients and is temporary (RFC 5321 4.5.3.1.10)", async () => {
  const upstream = await newUpstream({ reply: ({ line }) => (line.includes("cleo") ? "552 too many" : undefined) });
  const result = await senderTo(upstream).send(mailTo(["bob@b.test", "cleo@c.test"]));
  expect(shown(result)).toEqual(["bob@b.test delivered 250 2.0.0 queued", "cleo@c.test deferred 552 too many"]);
});

test("a thousand recipients go in one transaction, each with its own outcome", async () => {
  const upstream = await newUpstream({
    reply: ({ line }) => (/RCPT TO:<u\d*7@/.test(line) ? "550 5.1.1 no" : undefined),
  });
  const recipients = Array.from({ length: 1000 }, (_, i) => `u${i}@b.test`);
  const lines = shown(await senderTo(upstream).send(mailTo(recipients)));
  expect(lines).toEqual(
    recipients.map((to) =>
      to.endsWith("7@b.test") ? `${to} refused (5.1.1) 550 5.1.1 no` : `${to} delivered 250 2.0.0 queued`,
    ),
  );
  expect(upstream.transactions[0]?.rcptTo).toHaveLength(900);
});

test("a message without a reverse-path is sent from <>", async () => {
  const upstream = await newUpstream();
  await senderTo(upstream).send(mailTo(["bob@b.test"], MESSAGE, { reversePath: undefined }));
  expect(upstream.transactions[0]?.mailFrom).toBe("");
});

test("MAIL says SIZE, 8BITMIME and SMTPUTF8, and RCPT says NOTIFY, only where upstream offers them", async () => {
  const upstream = await newUpstream();
  const mail = mailTo([], MESSAGE, {
    is8bit: true,
    smtpUtf8: true,
    recipients: [{ mailbox: mailbox("bob@b.test"), notify: ["SUCCESS", "DELAY"] }, { mailbox: mailbox("jörg@b.test") }],
  });
  await senderTo(upstream).send(mail);
  Object.assign(upstream.behaviour, { eightBitMime: false, smtpUtf8: false, sizeLimit: undefined, dsn: false });
  await senderTo(upstream).send({ ...mail, recipients: mail.recipients.slice(0, 1) });
  expect(upstream.transactions).toMatchObject([
    {
      mailParams: `SIZE=${MESSAGE.length} BODY=8BITMIME SMTPUTF8`,
      rcptTo: ["bob@b.test", "jörg@b.test"],
      rcptParams: ["NOTIFY=SUCCESS,DELAY", ""],
    },
    { mailParams: "", rcptParams: [""] },
  ]);
});

describe("an upstream without SMTPUTF8 (FD-25)", () => {
  const lack = "needs SMTPUTF8, which upstream does not offer";

  test("refuses the recipient that needs it and gets the message for the others", async () => {
    const upstream = await newUpstream({ smtpUtf8: false });
    const result = await senderTo(upstream).send(mailTo(["jörg@b.test", "bob@b.test"]));
    expect(shown(result)).toEqual([
      `jörg@b.test refused (5.6.7) 5.6.7 the address ${lack}`,
      "bob@b.test delivered 250 2.0.0 queued",
    ]);
    expect(upstream.received().includes("rg@b.test")).toBe(false);
  });

  test.each([
    ["a reverse-path that needs it", { reversePath: mailbox("änn@a.test") }, MESSAGE],
    ["a header beyond ASCII", { smtpUtf8: true }, Buffer.from("Subject: grüße\r\n\r\nMIIB\r\n")],
  ])("makes %s a refusal for all, and MAIL is never said", async (_, more, content) => {
    const upstream = await newUpstream({ smtpUtf8: false });
    const result = await senderTo(upstream).send(mailTo(["bob@b.test"], content, more));
    expect(shown(result)).toEqual([`bob@b.test refused (5.6.7) 5.6.7 the message ${lack}`]);
    expect(upstream.commands.map(({ verb }) => verb)).toEqual(["EHLO"]);
  });

  test("takes a message that was submitted with SMTPUTF8 but has only an ASCII header", async () => {
    const upstream = await newUpstream({ smtpUtf8: false });
    const content = Buffer.from("Subject: plain\r\n\r\ngrüße\r\n");
    const result = await senderTo(upstream).send(mailTo(["bob@b.test"], content, { smtpUtf8: true }));
    expect(shown(result)).toEqual(["bob@b.test delivered 250 2.0.0 queued"]);
  });
});

test("a message larger than upstream's SIZE is refused with 5.3.4 and not sent", async () => {
  const upstream = await newUpstream({ sizeLimit: 100 });
  const sender = senderTo(upstream);
  expect(shown(await sender.send(mailTo(["bob@b.test"], "x".repeat(99) + "\r\n")))).toEqual([
    "bob@b.test refused (5.3.4) 5.3.4 the message of 101 octets is larger than the 100 that upstream takes",
  ]);
  expect(shown(await sender.send(mailTo(["bob@b.test"], "x".repeat(98) + "\r\n")))).toEqual([
    "bob@b.test delivered 250 2.0.0 queued",
  ]);
});

test("an address that would end the command is never written, wherever it comes from", async () => {
  const upstream = await newUpstream();
  for (const address of ["a@b.test>\r\nRCPT TO:<eve@e.test", "a b@b.test", "a>@b.test", "a\0@b.test"]) {
    const forged = { ...mailbox("a@b.test"), address };
    const result = await senderTo(upstream).send(mailTo([], MESSAGE, { recipients: [{ mailbox: forged }] }));
    expect(result).toMatchObject({ kind: "transaction", results: [{ outcome: "deferred" }] });
  }
  expect(upstream.received().includes("eve")).toBe(false);
  expect(upstream.commands.every(({ verb }) => verb === "EHLO")).toBe(true);
});

test("replies are shown on one line of at most 500 characters, without controls (CONF-19, FD-42)", async () => {
  const evil = `550-5.7.1 \u001b[31mred\tand\u202eright to left\r\n550 5.7.1 ${"x".repeat(900)}`;
  const upstream = await newUpstream({ reply: ({ verb }) => (verb === "RCPT" ? evil : undefined) });
  const [line = ""] = shown(await senderTo(upstream).send(mailTo(["bob@b.test"])));
  expect(line).toMatch(/^bob@b\.test refused \(5\.7\.1\) 550 5\.7\.1 {2}\[31mred and right to left x{400,}$/);
  expect(line.length).toBeLessThanOrEqual(500 + "bob@b.test refused (5.7.1) ".length);
});

test("INVARIANT 3: only what the guard has let through has a type that the sender takes", () => {
  const message = sizedBytes(Buffer.from(MESSAGE));
  /* eslint-disable @typescript-eslint/no-unsafe-class-instance-assignment --
     the compiler is what is tested here, and it refuses the same */
  const guarded: Transaction["outgoing"] = new Guarded(message);
  // @ts-expect-error raw bytes are not Guarded
  const raw: Transaction["outgoing"] = message;
  // @ts-expect-error nor is an object of the same shape
  const literal: Transaction["outgoing"] = { message };
  // @ts-expect-error nor ciphertext that the guard has not read
  const unread: Transaction["outgoing"] = new Ciphertext("smime", message, []);
  // @ts-expect-error nor clear text that a rule allows and the guard has not seen
  const unseen: Transaction["outgoing"] = new ApprovedClear(message, "fallback-allow");
  /* eslint-enable @typescript-eslint/no-unsafe-class-instance-assignment */
  expect([guarded, raw, literal, unread, unseen].map((value) => Guarded.is(value))).toEqual([
    true,
    ...[false, false, false, false],
  ]);
});
