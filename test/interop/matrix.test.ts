// Every shape of mail for every kind of key: what real programs decrypt upstream is what Jira handed in, octet by octet.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startRelay, type Relay } from "../relay.ts";
import { opensslDecrypt } from "../smime/decrypters.ts";
import { startUpstream, type RecordedTransaction, type Upstream } from "../upstream.ts";
import { bouncyCastle, gpgDecrypt, serialOf, type BouncyCastle, type GpgReading } from "./judges.ts";
import { handIn } from "./raw-dialog.ts";
import {
  armorOf,
  cmsOf,
  contentNames,
  entityInside,
  fieldsOutside,
  nameOf,
  rawMail,
  type RawMail,
} from "./raw-mail.ts";
import { KEY_KINDS, keyStore, readersOf, type KeyKind, type Reader } from "./readers.ts";
import { SHAPES, type Mail } from "./shapes.ts";

const OUR_FIELDS = {
  smime: ["content-disposition", "content-transfer-encoding", "content-type"],
  pgp: ["content-type"],
};

/** Marks each mail with the number of its shape, so that what arrives can be told apart. */
function numbered(mail: Mail, shape: number): Mail {
  const text = mail.message.toString("latin1");
  return { ...mail, message: Buffer.from(text.replace(/^Message-ID: </m, `$&shape${shape}.`), "latin1") };
}

function shapeOf({ data }: RecordedTransaction): number {
  const text = data.toString("latin1", 0, 128 * 1024);
  return Number(/^Message-ID: <shape(\d+)\./m.exec(text)?.[1] ?? Number.NaN);
}

/** How a mailbox is written in RCPT: its domain in ASCII. */
const onTheWire = ({ mailbox }: Reader) => mailbox.replace("bücher.example", "xn--bcher-kva.example");

describe.each(KEY_KINDS)("$name", (kind: KeyKind) => {
  let relay: Relay;
  let upstream: Upstream;
  let castle: BouncyCastle;
  const mails = SHAPES.map((shape, index) => numbered(shape.mail(kind), index));
  const gpgReadings = new Map<RecordedTransaction, GpgReading>();

  beforeAll(async () => {
    castle = bouncyCastle();
    upstream = await startUpstream();
    const { protocol } = kind;
    const yaml = [
      `upstream: { host: 127.0.0.1, port: ${upstream.port}, tls: off }`,
      `encryption: { type: ${protocol}-only, fallback: block }`,
      `${protocol}: { keyStore: { file: people } }`,
    ].join("\n");
    relay = await startRelay(yaml, { people: keyStore(protocol, readersOf(kind)) });
    await handIn(
      relay.port,
      mails.map((mail) => ({ ...mail, rcptTo: mail.groups.flat().map(({ mailbox }) => mailbox) })),
    );
    const expected = mails.flatMap((mail) => mail.groups).length;
    // one that does not come is told by the test of its shape
    await upstream.until(() => upstream.transactions.length >= expected, 60_000).catch(() => undefined);
    if (protocol === "smime") return;
    const armored = upstream.transactions.filter((one) => mails[shapeOf(one)]?.isPass !== true);
    const readings = gpgDecrypt(armored.map(({ data }) => armorOf(rawMail(data))));
    armored.forEach((one, index) => gpgReadings.set(one, readings[index]!));
  });

  afterAll(async () => {
    castle.close();
    await relay.remove();
    await upstream.close();
  });

  /** The message that these readers have got together. */
  function arrived(shape: number, group: readonly Reader[]): RecordedTransaction {
    const mine = upstream.transactions.filter((one) => shapeOf(one) === shape);
    const to = group.map(onTheWire).sort().join();
    const found = mine.filter(({ rcptTo }) => [...rcptTo].sort().join() === to);
    expect(found, `${to}; arrived: ${mine.map(({ rcptTo }) => rcptTo.join()).join(" | ")}`).toHaveLength(1);
    return found[0]!;
  }

  async function judge(one: RecordedTransaction, group: readonly Reader[], original: RawMail): Promise<void> {
    const inside = entityInside(original);
    const isSame = (content: Buffer, judgedBy: string) =>
      expect(
        content.equals(inside),
        `${judgedBy} reads ${content.length} octets, handed in were ${inside.length}`,
      ).toBe(true);
    if (kind.protocol === "pgp") {
      const { content, keyIds } = gpgReadings.get(one)!;
      isSame(content, "gpg");
      expect(keyIds).toEqual(group.map(({ key }) => key).sort());
      return;
    }
    const cms = cmsOf(rawMail(one.data));
    for (const { key } of group) {
      isSame(await opensslDecrypt(cms, key), `openssl for ${key}`);
      const { content, serials } = await castle.decrypt(cms, key);
      isSame(content, `BouncyCastle for ${key}`);
      expect(serials).toEqual(group.map((reader) => serialOf(reader.key)).sort());
    }
  }

  test.each(SHAPES.map(({ name }, shape) => ({ name, shape })))("$name", async ({ shape }) => {
    const mail = mails[shape]!;
    const original = rawMail(mail.message);
    expect(upstream.transactions.filter((one) => shapeOf(one) === shape)).toHaveLength(mail.groups.length);
    for (const group of mail.groups) {
      const one = arrived(shape, group);
      const { fields, body } = rawMail(one.data);
      expect(nameOf(fields[0]!)).toBe("received");
      if (mail.isPass === true) {
        expect(fields.slice(1)).toEqual(original.fields);
        expect(body.equals(original.body)).toBe(true);
        continue;
      }
      const outside = fields.slice(1).filter((field) => !nameOf(field).startsWith("content-"));
      expect(outside).toEqual([...fieldsOutside(original), "MIME-Version: 1.0\r\n"]);
      expect(contentNames({ fields, body })).toEqual(OUR_FIELDS[kind.protocol]);
      // 8-bit octets are left only in a header that needs SMTPUTF8 anyway
      expect(one.mailParams.includes("SMTPUTF8")).toBe(mail.mailParameters?.includes("SMTPUTF8") ?? false);
      expect(body.every((octet) => octet < 128)).toBe(true);
      await judge(one, group, original);
    }
  });

  test("the upstream server saw no violation of SMTP", () => {
    expect(upstream.violations).toEqual([]);
  });
});
