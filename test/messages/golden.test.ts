// Golden mails: what is seen outside and what is read inside for each treatment of the subject (RFC 9788), and no trace of a hidden one.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gpgDecrypt } from "../interop/judges.ts";
import { handIn } from "../interop/raw-dialog.ts";
import { armorOf, cmsOf, nameOf, rawMail } from "../interop/raw-mail.ts";
import { keyStore } from "../interop/readers.ts";
import { startRelay, type Relay } from "../relay.ts";
import { opensslDecrypt } from "../smime/decrypters.ts";
import { startUpstream, type Upstream } from "../upstream.ts";

const MAILS = ["comment", "bare"];
/** alice reads S/MIME, joe OpenPGP. */
const RECIPIENTS = ["alice@example.com", "joe@example.org"];
/** In the subject of both mails, in ASCII and in an encoded word, and in the comment's Thread-Topic. */
const CANARY = "zebrafish";

const golden = (name: string) => readFileSync(new URL(`${name}.eml`, import.meta.url));
/** The canary as it is, in other letters, in base64 at every offset, in hexadecimal and in UTF-16. */
const DISGUISES = [
  CANARY,
  CANARY.toUpperCase(),
  ...[0, 1, 2].map((offset) =>
    Buffer.from(" ".repeat(offset) + CANARY)
      .toString("base64")
      .slice(offset + 1, 11),
  ),
  Buffer.from(CANARY).toString("hex"),
  Buffer.from(CANARY, "utf16le").toString("latin1"),
];
const seenIn = (octets: Buffer) => DISGUISES.filter((disguise) => octets.includes(disguise, 0, "latin1"));

describe.each(["keep", "issue-key", "hide"])("subject: %s", (mode) => {
  let relay: Relay;
  let upstream: Upstream;

  beforeAll(async () => {
    upstream = await startUpstream();
    const yaml = [
      `upstream: { host: 127.0.0.1, port: ${upstream.port}, tls: off }`,
      `encryption: { subject: ${mode}, fallback: block }`,
      "smime: { keyStore: { file: people.pem } }",
      "pgp: { keyStore: { file: people.asc } }",
    ].join("\n");
    relay = await startRelay(yaml, {
      "people.pem": keyStore("smime", [{ mailbox: "", key: "alice" }]),
      "people.asc": keyStore("pgp", [{ mailbox: "", key: "5CCF60574556759F" }]),
    });
    await handIn(
      relay.port,
      MAILS.map((name) => ({ message: golden(name), rcptTo: RECIPIENTS })),
    );
    await upstream.waitFor(MAILS.length * RECIPIENTS.length);
  });

  afterAll(async () => {
    await relay.remove();
    await upstream.close();
  });

  const cases = MAILS.flatMap((name) => RECIPIENTS.map((recipient) => ({ name, recipient })));

  test.each(cases)("mail $name to $recipient is what the golden files say", async ({ name, recipient }) => {
    const messageId = /^Message-ID: .*$/m.exec(golden(name).toString("latin1"))![0];
    const mine = upstream.transactions.filter((one) => one.rcptTo.includes(recipient) && one.data.includes(messageId));
    expect(mine).toHaveLength(1);
    const mail = rawMail(mine[0]!.data);
    const [received, ...outside] = mail.fields.filter((field) => !nameOf(field).startsWith("content-"));
    expect(nameOf(received!)).toBe("received");
    expect(outside.join("")).toBe(golden(`${name}.${mode}.outside`).toString("latin1"));
    const inside = recipient.startsWith("alice")
      ? await opensslDecrypt(cmsOf(mail), "alice")
      : gpgDecrypt([armorOf(mail)])[0]!.content;
    expect(inside.toString("latin1")).toBe(golden(`${name}.${mode}.inside`).toString("latin1"));
  });

  test("the words of the subject are seen upstream only when it is kept, and never in the log", () => {
    // what the hunt would find if the mail were sent as it came
    expect(seenIn(golden("comment")).length).toBeGreaterThan(1);
    if (mode === "keep") expect(seenIn(upstream.received())).toContain(CANARY);
    else expect(seenIn(upstream.received())).toEqual([]);
    expect(seenIn(Buffer.from(relay.output, "latin1"))).toEqual([]);
  });
});
