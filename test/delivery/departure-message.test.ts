// DepartureMessage: what goes to the second thread, and what is made of it there.
import { deserialize, serialize } from "node:v8";
import { describe, expect, test } from "vitest";
import { departureMessage, departureReader, type DepartureMessage } from "../../src/delivery/departure-message.ts";
import type { PgpReader, Reader, SmimeReader } from "../../src/keys/recipient-key.ts";
import { mailbox } from "../../src/mail/address.ts";
import { collect, sizedBytes } from "../../src/mail/chunks.ts";
import type { Departure, Manner } from "../../src/outbound/departure.ts";
import { certificateOf, pgpKeyOf } from "../keys-of.ts";

const ALICE = certificateOf("alice");
const PETER = await pgpKeyOf("peter");
const MAIL = Buffer.from("Subject: x\r\n\r\ntext\r\n");

function departure(manner: Manner, content: Departure["content"] = sizedBytes(MAIL)): Departure {
  const recipients = [{ mailbox: mailbox("alice@example.com"), notify: ["FAILURE"] as const }];
  return { content, manner, envelope: { reversePath: undefined, recipients, smtpUtf8: true, is8bit: true } };
}
const encrypted = (...readers: readonly Reader[]): Departure =>
  departure({ kind: readers[0]!.kind, readers, subject: "hide" });
/** As a message between threads copies it. */
const sent = async (one: Departure) => deserialize(serialize(await departureMessage(one))) as DepartureMessage;
const readersOf = ({ manner }: Departure) => ("readers" in manner ? manner.readers : []);

test.each<[string, Manner]>([
  ["clear", { kind: "clear", rule: "fallback-allow", isWithoutPrivateFields: true }],
  ["passed", { kind: "pass", encrypted: "pgp", readerIds: ["00"] }],
])("what is %s arrives as it was", async (_, manner) => {
  const { content, ...arrived } = departureReader()(await sent(departure(manner)));
  const { content: before, ...rest } = departure(manner);
  expect(arrived).toEqual(rest);
  expect(await collect(content)).toEqual(await collect(before));
});

describe("of a key arrives what encrypting needs", () => {
  test("S/MIME", async () => {
    const reader: SmimeReader = { ...ALICE, announced: ["1.2.3"] };
    const { fingerprint, certificate, announced } = reader;
    const arrived = departureReader()(await sent(encrypted(reader)));
    expect(readersOf(arrived)).toEqual([{ kind: "smime", fingerprint, certificate, announced }]);
  });

  test("OpenPGP, usable or not", async () => {
    const { fingerprint, certificate } = PETER;
    const { readsSeipd2 } = certificate;
    const encryption = { usable: false, reason: "revoked", detail: "revoked" } as const;
    const revoked: PgpReader = { ...PETER, certificate: { readsSeipd2, encryption } };
    for (const reader of [PETER, revoked]) {
      const arrived = departureReader()(await sent(encrypted(reader)));
      const { encryption: expected } = reader.certificate;
      expect(readersOf(arrived)).toEqual([
        { kind: "pgp", fingerprint, certificate: { encryption: expected, readsSeipd2 } },
      ]);
    }
  });
});

test("octets that are a view of many do not take those along", async () => {
  const wide = (octets: Uint8Array) => {
    const around = new Uint8Array(1_000_000);
    around.set(octets, 1);
    return around.subarray(1, 1 + octets.length);
  };
  const { encryption } = PETER.certificate;
  if (!encryption.usable) throw new Error("peter's key is fit");
  const key = { ...encryption.key, packet: wide(encryption.key.packet) };
  const reader = { ...PETER, certificate: { ...PETER.certificate, encryption: { ...encryption, key } } };
  const content = sizedBytes(wide(MAIL));
  const message = await departureMessage({ ...encrypted(reader), content });
  expect(serialize(message).length).toBeLessThan(10_000);
});

test("the clear octets are a copy: when they are handed over the mail is still here", async () => {
  const whole = new Uint8Array(MAIL);
  const { content } = await departureMessage({ ...encrypted(PETER), content: sizedBytes(whole) });
  if (!("clear" in content)) throw new Error("short content is in clear");
  structuredClone(content, { transfer: [content.clear.buffer] });
  expect([content.clear.length, Buffer.from(whole).equals(MAIL)]).toEqual([0, true]);
});

test("of a key that comes again what was made of it is used again; of another, or one that says something else, not", async () => {
  const read = departureReader();
  const readerOf = async (reader: Reader) => readersOf(read(await sent(encrypted(reader))))[0];
  for (const reader of [ALICE, PETER]) expect(await readerOf(reader)).toBe(await readerOf(reader));
  expect(await readerOf({ ...ALICE, announced: ["1.2.3"] })).not.toBe(await readerOf(ALICE));
  expect(await readerOf(certificateOf("bob"))).not.toBe(await readerOf(ALICE));
  const seipd2 = { ...PETER.certificate, readsSeipd2: !PETER.certificate.readsSeipd2 };
  expect(await readerOf({ ...PETER, certificate: seipd2 })).not.toBe(await readerOf(PETER));
});
