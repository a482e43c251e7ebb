// A real mail server behind the relay: Postfix with a private CA takes the mail by TLS, and what it stores can be decrypted.
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { makeAuthority, type TestAuthority } from "../authority.ts";
import { queueEntries, startRelay, type Relay } from "../relay.ts";
import { opensslDecrypt } from "../smime/decrypters.ts";
import { gpgDecrypt } from "./judges.ts";
import { startPostfix, type Postfix } from "./postfix.ts";
import { handIn } from "./raw-dialog.ts";
import { armorOf, cmsOf, entityInside, nameOf, rawMail, type RawMail } from "./raw-mail.ts";
import { KEY_KINDS, keyStore, type KeyKind } from "./readers.ts";
import { SHAPES } from "./shapes.ts";

const [RSA, CURVE] = [KEY_KINDS[0]!, KEY_KINDS[3]!];
/** alice by S/MIME, joe by OpenPGP. */
const KINDS: readonly KeyKind[] = [RSA, { ...CURVE, one: CURVE.second }];
const [ALICE, JOE] = ["alice@example.com", "joe@example.org"];
const NAMES = [
  "8-bit UTF-8",
  "related images, by JavaMail",
  "empty body",
  "lines of dots",
  "lines of 5,000 octets",
  "25 MB",
  "calendar invitation",
  "header of 64 KiB",
];

let authority: TestAuthority;
let postfix: Postfix;

beforeAll(async () => {
  authority = await makeAuthority();
  postfix = await startPostfix(await authority.issue(["DNS:localhost", "IP:127.0.0.1"]), [ALICE, JOE]);
});
afterAll(() => postfix.stop());

async function relayToPostfix(ca: string): Promise<Relay> {
  const yaml = [
    `upstream: { host: 127.0.0.1, port: ${postfix.port}, tls: required, ca: ca.pem }`,
    "encryption: { fallback: block }",
    "smime: { keyStore: { file: people.pem } }",
    "pgp: { keyStore: { file: people.asc } }",
  ].join("\n");
  const relay = await startRelay(yaml, {
    "ca.pem": ca,
    "people.pem": keyStore("smime", [RSA.one]),
    "people.asc": keyStore("pgp", [CURVE.second]),
  });
  onTestFinished(() => relay.remove());
  return relay;
}

const messageId = ({ fields }: RawMail) => fields.find((field) => nameOf(field) === "message-id");

test("Postfix with a private CA takes S/MIME and OpenPGP mail by TLS, and its mailboxes hold what decrypts to the original", async () => {
  const relay = await relayToPostfix(authority.ca);
  const shapes = SHAPES.filter(({ name }) => NAMES.includes(name));
  expect(shapes).toHaveLength(NAMES.length);
  const mails = KINDS.flatMap((kind) =>
    shapes.map((shape, index) => {
      const mail = shape.mail(kind);
      const text = mail.message.toString("latin1").replace(/^Message-ID: </m, `$&${index}.`);
      return { ...mail, message: Buffer.from(text, "latin1"), kind, rcptTo: [kind.one.mailbox] };
    }),
  );
  await handIn(relay.port, mails);
  for (const { one } of KINDS)
    await expect.poll(() => postfix.mailbox(one.mailbox).length, { timeout: 30_000 }).toBe(NAMES.length);

  for (const { kind, message } of mails) {
    const original = rawMail(message);
    const stored = postfix.mailbox(kind.one.mailbox).map(rawMail);
    const mine = stored.filter((mail) => messageId(mail) === messageId(original));
    expect(mine).toHaveLength(1);
    expect(mine[0]!.fields.join("")).toMatch(/^Received: from relay\.example\.com [^]*using TLSv1\.3 with cipher/m);
    const inside =
      kind.protocol === "smime"
        ? await opensslDecrypt(cmsOf(mine[0]!), kind.one.key)
        : gpgDecrypt([armorOf(mine[0]!)])[0]!.content;
    expect(inside.equals(entityInside(original))).toBe(true);
  }
});

test("a Postfix whose CA is not the configured one gets nothing: the mail waits and the queue names upstream.ca", async () => {
  const messagesHeardOf = () => postfix.log().split(": client=").length - 1;
  const [before, stranger] = [messagesHeardOf(), await makeAuthority()];
  const relay = await relayToPostfix(stranger.ca);
  const { message } = SHAPES[0]!.mail(RSA);
  await handIn(relay.port, [{ message, rcptTo: [ALICE], mailParameters: "BODY=8BITMIME" }]);
  await relay.event(({ event }) => event === "delivery.deferred");
  const queue = await queueEntries(relay);
  expect(queue.flatMap(({ recipients }) => recipients.map(({ state }) => state))).toEqual(["queued"]);
  expect(queue[0]!.recipients[0]!.lastReply).toContain("upstream.ca");
  await expect.poll(() => postfix.log()).toContain("SSL_accept error");
  // a message that Postfix has heard of is logged with its client
  expect(messagesHeardOf()).toBe(before);
});
