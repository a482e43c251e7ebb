// Jira's real client against the relay: what JavaMail wrote is what the recipients decrypt.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { queueEntries, startRelay, type Relay } from "../relay.ts";
import { opensslDecrypt } from "../smime/decrypters.ts";
import { makeAuthority, startUpstream, type RecordedTransaction, type Upstream } from "../upstream.ts";
import { gpgDecrypt } from "./judges.ts";
import { jiraSender, type JiraSender, type Sent } from "./jira-sender.ts";
import { armorOf, cmsOf, entityInside, fieldsOutside, nameOf, rawMail } from "./raw-mail.ts";
import { keyStore } from "./readers.ts";

const [ALICE, KIM, JOE, NOBODY] = ["alice@example.com", "kim@example.com", "joe@example.org", "nobody@example.com"];
const JOERG = "jörg@bücher.example";
/** alice, kim and jörg (whose fixture is named ivan) read S/MIME, joe reads OpenPGP. */
const SMIME_OWNERS: Record<string, string> = { [ALICE]: "alice", [KIM]: "kim", "jörg@xn--bcher-kva.example": "ivan" };
const reader = (key: string) => ({ mailbox: "", key });
const files = {
  "people.pem": keyStore("smime", Object.values(SMIME_OWNERS).map(reader)),
  "people.asc": keyStore("pgp", [reader("5CCF60574556759F")]),
};
const SETTINGS = [
  "encryption: { fallback: block }",
  "smime: { keyStore: { file: people.pem } }",
  "pgp: { keyStore: { file: people.asc } }",
].join("\n");

let jira: JiraSender;
let upstream: Upstream;
let relay: Relay;

const toUpstream = () => `upstream: { host: 127.0.0.1, port: ${upstream.port}, tls: off }\n${SETTINGS}`;

beforeAll(async () => {
  jira = jiraSender();
  upstream = await startUpstream();
  relay = await startRelay(toUpstream(), files);
});

afterAll(async () => {
  jira.close();
  await relay.remove();
  await upstream.close();
});

const messageId = (message: Buffer) => rawMail(message).fields.find((field) => nameOf(field) === "message-id") ?? "";

/** The transactions with this mail, when they are as many as expected. */
async function arrived(message: Buffer, count: number): Promise<RecordedTransaction[]> {
  const id = messageId(message);
  const mine = () => upstream.transactions.filter(({ data }) => messageId(data) === id);
  await upstream.until(() => mine().length >= count, 20_000).catch(() => undefined);
  expect(mine().map(({ rcptTo }) => rcptTo.join())).toHaveLength(count);
  return mine();
}

/** What this recipient reads, by openssl or gpg. */
async function read(recipient: string, { data }: RecordedTransaction): Promise<Buffer> {
  const mail = rawMail(data);
  const owner = SMIME_OWNERS[recipient];
  return owner === undefined ? gpgDecrypt([armorOf(mail)])[0]!.content : opensslDecrypt(cmsOf(mail), owner);
}

/** Each of `recipients` has got this message in a transaction of its own and reads what JavaMail wrote. */
async function expectRead(message: Buffer, recipients: readonly string[]): Promise<void> {
  const transactions = await arrived(message, recipients.length);
  expect(transactions.flatMap(({ rcptTo }) => rcptTo).sort()).toEqual([...recipients].sort());
  const original = rawMail(message);
  for (const one of transactions) {
    const outside = rawMail(one.data).fields.filter((field) => !nameOf(field).startsWith("content-"));
    expect(nameOf(outside[0]!)).toBe("received");
    expect(outside.slice(1)).toEqual([...fieldsOutside(original), "MIME-Version: 1.0\r\n"]);
    const inside = await read(one.rcptTo[0]!, one);
    expect(inside.equals(entityInside(original)), `${one.rcptTo.join()} reads what was written`).toBe(true);
  }
}

const said = ({ code, said: text }: Sent) => `${code} ${text}`;

describe("what Jira writes is what S/MIME and OpenPGP recipients read", () => {
  test.each(["html", "text", "jsm", "both"])("a mail of kind %s", async (kind) => {
    const sent = await jira.send(relay.port, { to: `${ALICE},${JOE}`, kind });
    expect(said(sent)).toBe("0 sent 1/1");
    await expectRead(sent.messages[0]!, [ALICE, JOE]);
  });

  test("an attached file with a non-ASCII name", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sealpost-attachment-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const attach = join(folder, "Prüfbericht Größe.bin");
    writeFileSync(attach, Buffer.from(Array.from({ length: 70_000 }, (_, index) => (index * 7) % 256)));
    const sent = await jira.send(relay.port, { to: `${ALICE},${JOE}`, attach });
    expect(said(sent)).toBe("0 sent 1/1");
    await expectRead(sent.messages[0]!, [ALICE, JOE]);
  });

  test("Cc and Bcc: who is hidden gets a message of its own and is named nowhere", async () => {
    const sent = await jira.send(relay.port, { to: ALICE, cc: JOE, bcc: KIM });
    expect(said(sent)).toBe("0 sent 1/1");
    expect(sent.messages[0]!.includes(`Bcc: ${KIM}`)).toBe(true);
    await expectRead(sent.messages[0]!, [ALICE, JOE, KIM]);
    for (const { data } of await arrived(sent.messages[0]!, 3)) expect(data.includes(KIM)).toBe(false);
  });

  test("SMTPUTF8: an address beyond ASCII", async () => {
    const sent = await jira.send(relay.port, { to: JOERG, utf8: "1" });
    expect(said(sent)).toBe("0 sent 1/1");
    await expectRead(sent.messages[0]!, ["jörg@xn--bcher-kva.example"]);
    const [one] = await arrived(sent.messages[0]!, 1);
    expect(one!.mailParams).toContain("SMTPUTF8");
  });

  test("8BITMIME: JavaMail takes the encoding back, the text is the same", async () => {
    const sent = await jira.send(relay.port, { to: ALICE, kind: "text", "8bit": "1", fp: "eight-bit" });
    expect(said(sent)).toBe("0 sent 1/1");
    const mine = () => upstream.transactions.filter(({ data }) => data.includes("X-JIRA-FingerPrint: eight-bit\r\n"));
    await upstream.until(() => mine().length === 1);
    const inside = rawMail(await read(ALICE, mine()[0]!));
    expect(inside.fields).toContain("Content-Transfer-Encoding: 8bit\r\n");
    // the dump was written before the client saw 8BITMIME in the answer to EHLO, in quoted-printable
    const quoted = rawMail(sent.messages[0]!).body.toString("latin1").replace(/=\r\n/g, "");
    const text = quoted.replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    expect(text).toContain(Buffer.from("Größe ≥ 10 €").toString("latin1"));
    expect(inside.body.toString("latin1")).toBe(text);
  });

  test("a mail of 3 MB", async () => {
    const sent = await jira.send(relay.port, { to: `${ALICE},${JOE}`, kind: "text", size: "3000000" });
    expect(said(sent)).toBe("0 sent 1/1");
    expect(sent.messages[0]!.length).toBeGreaterThan(3_000_000);
    await expectRead(sent.messages[0]!, [ALICE, JOE]);
  });

  test("20 mails on one connection", async () => {
    const opened = () => relay.events.filter(({ event }) => event === "session.opened").length;
    const before = opened();
    const sent = await jira.send(relay.port, { to: ALICE, keep: "1", count: "20" });
    expect(said(sent)).toBe("0 sent 20/20");
    expect(sent.messages).toHaveLength(20);
    for (const message of sent.messages) await expectRead(message, [ALICE]);
    expect(opened() - before).toBe(1);
  });
});

test("of three recipients one has no key: all are accepted, the two others get ciphertext, the third one's mail is kept", async () => {
  const sent = await jira.send(relay.port, { to: `${ALICE},${NOBODY}`, cc: JOE });
  expect(said(sent)).toBe("0 sent 1/1");
  await expectRead(sent.messages[0]!, [ALICE, JOE]);
  await relay.event(({ event, recipient }) => event === "delivery.held" && recipient === NOBODY);
  const queue = await queueEntries(relay);
  expect(queue.flatMap(({ recipients }) => recipients)).toContainEqual(
    expect.objectContaining({ address: NOBODY, state: "held" }),
  );
  expect(upstream.transactions.flatMap(({ rcptTo }) => rcptTo)).not.toContain(NOBODY);
});

describe("a relay that wants TLS and a password", () => {
  let guarded: Relay;
  beforeAll(async () => {
    const authority = await makeAuthority();
    const { key, cert } = await authority.issue(["DNS:localhost", "IP:127.0.0.1"]);
    const outbound = [
      "outbound:",
      "  listen: 127.0.0.1:0",
      "  tls: { mode: required, cert: relay.pem, key: relay.key }",
      "  users: [{ name: jira, passwordFile: jira.password }]",
    ].join("\n");
    const secrets = { "relay.pem": cert, "relay.key": key, "jira.password": "correct horse" };
    guarded = await startRelay(`${outbound}\n${toUpstream()}`, { ...files, ...secrets });
  });
  afterAll(() => guarded.remove());

  const withTls = { to: ALICE, starttls: "required", trustall: "1", user: "jira" };

  test.each(["LOGIN", "PLAIN"])("AUTH %s after STARTTLS", async (auth) => {
    const sent = await jira.send(guarded.port, { ...withTls, auth, pass: "correct horse" });
    expect(said(sent)).toBe("0 sent 1/1");
    await expectRead(sent.messages[0]!, [ALICE]);
    const used = await guarded.event(({ event }) => event === "message.accepted");
    expect(used["from"]).toBe("jira@example.com");
  });

  test("a wrong password is refused and nothing is taken", async () => {
    const sent = await jira.send(guarded.port, { ...withTls, auth: "LOGIN", pass: "wrong" });
    expect(said(sent)).toMatch(/^1 Failed: AuthenticationFailedException 535[^]*sent 0\/1$/);
    await arrived(sent.messages[0]!, 0);
  });

  test("without TLS nothing is taken", async () => {
    const sent = await jira.send(guarded.port, { to: ALICE });
    expect(said(sent)).toMatch(/^1 [^]*530[^]*sent 0\/1$/);
  });
});
