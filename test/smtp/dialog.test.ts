// The dialog as a pure function: what one line does in a given state.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Secret } from "../../src/secret.ts";
import { answer } from "../../src/smtp/dialog.ts";
import { openingState, type DialogSettings, type DialogState, type Step } from "../../src/smtp/dialog-state.ts";

const SETTINGS: DialogSettings = {
  hostname: "relay.example.com",
  tlsMode: "off",
  isLoopback: true,
  users: [],
  maxMessageBytes: 50 * 1024 * 1024,
  maxRecipients: 3,
  mayReceive: undefined,
};
const USERS = [
  { name: "jira", password: new Secret("secret") },
  { name: "crowd", password: new Secret("pässword") },
];

/** The last step of a dialog of whole lines, none with anything behind it. */
function afterLines(settings: Partial<DialogSettings>, lines: readonly string[], from = openingState(false)): Step {
  let step: Step = { state: from, reply: "", effect: { kind: "none" } };
  for (const line of lines)
    step = answer(step.state, { kind: "line", line: Buffer.from(line) }, false, { ...SETTINGS, ...settings });
  return step;
}
const replyTo = (settings: Partial<DialogSettings>, ...lines: string[]) => afterLines(settings, lines).reply.trimEnd();

const plain = (name: string, password: string) => Buffer.from(`\0${name}\0${password}`).toString("base64");

describe("TLS", () => {
  test("is offered when it may be started, and not again when it stands", () => {
    expect(replyTo({ tlsMode: "starttls" }, "EHLO x")).toContain("250 STARTTLS");
    expect(afterLines({ tlsMode: "starttls" }, ["EHLO x"], openingState(true)).reply).not.toContain("STARTTLS");
    expect(replyTo({ tlsMode: "implicit" }, "EHLO x")).not.toContain("STARTTLS");
    expect(replyTo({ tlsMode: "off" }, "EHLO x")).not.toContain("STARTTLS");
  });

  test("FD-02: makes the client begin anew: EHLO, MAIL and RCPT are forgotten", () => {
    const started = afterLines({ tlsMode: "starttls" }, [
      "EHLO x",
      "MAIL FROM:<a@b.test>",
      "RCPT TO:<a@b.test>",
      "STARTTLS",
    ]);
    expect(started).toMatchObject({ reply: "220 2.0.0 ready for TLS\r\n", effect: { kind: "start-tls" } });
    const settings = { tlsMode: "starttls" } as const;
    expect(afterLines(settings, ["DATA"], started.state).reply).toMatch(/^503 /);
    expect(afterLines(settings, ["MAIL FROM:<a@b.test>"], started.state).reply).toMatch(/^503 5\.5\.1 EHLO/);
    expect(afterLines(settings, ["EHLO x", "STARTTLS"], started.state).reply).toMatch(/^503 5\.5\.1 TLS/);
  });

  test("FD-01: bytes behind STARTTLS end the session", () => {
    const line = { kind: "line", line: Buffer.from("STARTTLS") } as const;
    const step = answer(openingState(false), line, true, { ...SETTINGS, tlsMode: "starttls" });
    expect(step).toMatchObject({ reply: expect.stringMatching(/^554 5\.5\.0/) as string, effect: { kind: "close" } });
  });

  test("that is required comes before MAIL and AUTH", () => {
    const settings = { tlsMode: "required", users: USERS } as const;
    expect(replyTo(settings, "EHLO x", "MAIL FROM:<a@b.test>")).toMatch(/^530 5\.7\.0 STARTTLS/);
    expect(replyTo(settings, "EHLO x", "AUTH LOGIN")).toMatch(/^530 5\.7\.0 STARTTLS/);
    expect(replyTo(settings, "EHLO x")).not.toContain("AUTH");
    expect(afterLines(settings, ["EHLO x"], openingState(true)).reply).toContain("250 AUTH PLAIN LOGIN");
  });
});

describe("AUTH", () => {
  test("FD-04: is neither offered nor taken in clear over a network", () => {
    const settings = { isLoopback: false, users: USERS };
    expect(replyTo(settings, "EHLO x")).not.toContain("AUTH");
    expect(replyTo(settings, "EHLO x", `AUTH PLAIN ${plain("jira", "secret")}`)).toMatch(/^538 5\.7\.11/);
    expect(replyTo(settings, "EHLO x", "MAIL FROM:<a@b.test>")).toMatch(/^530 5\.7\.0 authentication/);
  });

  test.each([
    ["jira", "secret", 235],
    ["crowd", "pässword", 235],
    ["jira", "pässword", 535],
    ["jira", "secre", 535],
    ["jira", "secrett", 535],
    ["Jira", "secret", 535],
    ["nobody", "secret", 535],
    ["", "", 535],
  ])("as %j with %j is answered by %i", (name, password, code) => {
    expect(replyTo({ users: USERS }, "EHLO x", `AUTH PLAIN ${plain(name, password)}`)).toMatch(new RegExp(`^${code} `));
  });

  test("FD-05: fails three times in a session, not more; a stranger's name is not told", () => {
    const wrong = `AUTH PLAIN ${plain("nobody", "x")}`;
    const second = afterLines({ users: USERS }, ["EHLO x", wrong, wrong]);
    expect(second).toMatchObject({ effect: { kind: "auth-failed", user: undefined, isLast: false } });
    const third = afterLines({ users: USERS }, [`AUTH PLAIN ${plain("jira", "x")}`], second.state);
    expect(third.effect).toEqual({ kind: "auth-failed", user: "jira", isLast: true });
    expect(third.reply).toMatch(/^421 4\.7\.0/);
  });
});

describe("junk", () => {
  test.each(["NOOP", "RSET", "VRFY root", "EHLO x"])("FD-35: a hundred times %s end the session", (line) => {
    const ninetyNine = afterLines(
      {},
      Array.from({ length: 99 }, () => line),
    );
    expect(ninetyNine.effect).toEqual({ kind: "none" });
    expect(afterLines({}, [line], ninetyNine.state)).toMatchObject({ effect: { kind: "close" } });
  });

  test("FD-28: recipients beyond the limit get 452 however many they are, and those before stay", () => {
    const lines = [
      "EHLO x",
      "MAIL FROM:<>",
      ...Array.from({ length: 5_000 }, (_, index) => `RCPT TO:<u${index}@b.test>`),
    ];
    const { state, reply } = afterLines({}, lines);
    expect(reply).toMatch(/^452 4\.5\.3/);
    const { effect } = afterLines({}, ["RCPT TO:<u0@b.test>", "DATA"], state);
    expect(effect.kind === "receive" && effect.envelope.recipients.map(({ mailbox }) => mailbox.address)).toEqual([
      "u0@b.test",
      "u1@b.test",
      "u2@b.test",
    ]);
  });
});

describe("an envelope", () => {
  test("holds what MAIL and RCPT announced", () => {
    const { effect } = afterLines({}, [
      "EHLO x",
      "MAIL FROM:<jörg@b.test> SMTPUTF8 BODY=8BITMIME",
      "RCPT TO:<a@b.test> NOTIFY=NEVER",
      "RCPT TO:<b@b.test>",
      "DATA",
    ]);
    expect(effect).toMatchObject({
      kind: "receive",
      envelope: {
        reversePath: { address: "jörg@b.test" },
        smtpUtf8: true,
        is8bit: true,
        recipients: [{ mailbox: { address: "a@b.test" }, notify: ["NEVER"] }, { mailbox: { address: "b@b.test" } }],
      },
    });
  });

  test("takes no recipient that the owner refuses", () => {
    const mayReceive = ({ domain }: { domain: string }) =>
      domain === "b.test" ? undefined : ({ code: 550, status: "5.7.1", text: "not ours" } as const);
    const step = afterLines({ mayReceive }, ["EHLO x", "MAIL FROM:<>", "RCPT TO:<a@c.test>"]);
    expect(step).toMatchObject({ reply: "550 5.7.1 not ours\r\n", refused: { code: 550, reason: "recipient" } });
    expect(replyTo({ mayReceive }, "EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b.test>")).toMatch(/^250 /);
  });
});

test("FD-42: an owner's text with line ends is one line of printable characters", () => {
  const mayReceive = () => ({ code: 550, status: "5.7.1", text: "no\r\n250 ok \u2028x\0" }) as const;
  expect(replyTo({ mayReceive }, "EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b.test>")).toBe("550 5.7.1 no 250 ok x");
});

test("FD-40: neither greeting nor EHLO shows a version", () => {
  expect(replyTo({}, "EHLO x", "HELP")).not.toMatch(/\d+\.\d+\.\d+\./);
  expect(replyTo({}, "EHLO x")).not.toMatch(/sealpost|node/i);
});

test("any lines in any order give one well-formed reply each, and never throw", () => {
  const words = fc.constantFrom(
    ...["EHLO ", "HELO x", "MAIL FROM:", "RCPT TO:", "DATA", "RSET", "AUTH ", "PLAIN ", "LOGIN", "STARTTLS", "QUIT"],
    ...[
      "<a@b.test>",
      "<>",
      "<",
      ">",
      " SIZE=1",
      " NOTIFY=NEVER",
      " SMTPUTF8",
      '"',
      "\\",
      "=",
      "*",
      "amlyYQ==",
      " ",
      "\t",
    ],
  );
  const line = fc.oneof(
    fc.array(words, { maxLength: 6 }).map((parts) => Buffer.from(parts.join(""))),
    fc.uint8Array({ maxLength: 60 }).map((octets) => Buffer.from(octets)),
  );
  const settings = fc.record({
    tlsMode: fc.constantFrom("off", "starttls", "required", "implicit"),
    isLoopback: fc.boolean(),
    users: fc.constantFrom([], USERS),
  });
  fc.assert(
    fc.property(settings, fc.array(fc.tuple(line, fc.boolean()), { maxLength: 40 }), (others, lines) => {
      let state: DialogState = openingState(false);
      for (const [text, hasMore] of lines) {
        const step = answer(state, { kind: "line", line: text }, hasMore, { ...SETTINGS, ...others });
        expect(step.reply).toMatch(/^(?:250-[ -~]+\r\n)*[2345]\d\d [ -~]*\r\n$/);
        if (step.effect.kind === "receive") expect(step.state.client).toBeDefined();
        state = step.state;
      }
    }),
    { numRuns: 1_000 },
  );
});
