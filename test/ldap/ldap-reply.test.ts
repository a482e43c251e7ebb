// Replies of a server: messages as slapd and Active Directory write them, and octets of every other kind, in bounded time.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { frameReader, OversizeMessage } from "../../src/ldap/ldap-frames.ts";
import { NotLdap, readReply } from "../../src/ldap/ldap-reply.ts";
import { ber, entry, message, reference, result } from "./fake-directory.ts";

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ""), "hex");

describe("a reply is read", () => {
  test("entry with options, several values and octets that are no text, as they came", () => {
    const bytes = Buffer.from([0xef, 0xbb, 0xbf, 0xff, 0x00]);
    const reply = readReply(
      entry(7, "uid=a,dc=b", { mail: ["a@b", "ä@b"], "userCertificate;binary": [bytes], none: [] }),
    );
    expect(reply).toEqual({
      ...{ kind: "entry", id: 7, dn: "uid=a,dc=b", elements: 17 },
      attributes: [
        { name: "mail", values: [Buffer.from("a@b"), Buffer.from("ä@b")] },
        { name: "userCertificate;binary", values: [bytes] },
        { name: "none", values: [] },
      ],
    });
  });
  test("result with short lengths, as slapd writes it (recorded)", () => {
    expect(readReply(hex("300c 02 01 02 65 07 0a 01 00 04 00 04 00"))).toEqual({
      ...{ kind: "searched", id: 2, code: 0, text: "", referral: [], elements: 6 },
    });
  });
  test("referral with its URIs", () => {
    expect(readReply(result(1, 0x65, 10, "", ["ldap://a/", "ldap://b/"]))).toMatchObject({
      code: 10,
      referral: ["ldap://a/", "ldap://b/"],
    });
    expect(readReply(reference(1, "ldap://a/"))).toMatchObject({ kind: "reference", uris: ["ldap://a/"] });
  });
  test("controls behind the operation are passed over", () => {
    const inner = Buffer.concat([
      ber(0x02, Buffer.from([1])),
      ber(0x65, hex("0a0100 0400 0400")),
      ber(0xa0, ber(0x30)),
    ]);
    expect(readReply(ber(0x30, inner))).toMatchObject({ kind: "searched", code: 0 });
  });
});

describe("octets are refused", () => {
  test.each([
    ["no SEQUENCE", "0400"],
    ["an element that goes on beyond the message", "3011 020102 640c 0400 3008 3006 0400 3102 047f"],
    ["a set that goes on beyond its attribute", "3013 020102 640e 0400 300a 3008 0400 317f 0400 0400"],
    ["an empty message", "3000"],
    ["an id that is negative", "300c 0201ff 6507 0a0100 0400 0400"],
    ["an id of five octets", "3010 02050100000000 6507 0a0100 0400 0400"],
    ["a result whose code is an INTEGER", "300c 020102 6507 020100 0400 0400"],
    ["two messages for one", "3005 020101 6500 3000"],
  ])("%s", (_, text) => expect(() => readReply(hex(text))).toThrow(NotLdap));

  test("of any kind, changed or cut at random: an answer or NotLdap, always soon", () => {
    const whole = entry(2, "uid=bob", { mail: ["bob@example.com"], cn: ["x", "y"] });
    const changes = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(changes, fc.nat(whole.length), (edits, length) => {
        const bytes = Buffer.from(whole.subarray(0, length));
        for (const [at, octet] of edits) if (at < bytes.length) bytes[at] = octet;
        try {
          readReply(bytes);
        } catch (cause) {
          if (!(cause instanceof NotLdap)) throw cause;
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("a stream is cut into messages", () => {
  const whole = Buffer.concat([
    entry(2, "uid=bob", { mail: ["x".repeat(300)] }),
    reference(2, "ldap://a/"),
    result(2, 0x65),
  ]);
  test("the same ones wherever the chunks end", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(whole.length)), (cuts) => {
        const read = frameReader(1_000);
        const ends = [...new Set([0, ...cuts, whole.length])].sort((a, b) => a - b);
        const messages = ends.flatMap((end, index) => (index === 0 ? [] : read(whole.subarray(ends[index - 1], end))));
        expect(messages.map((one) => readReply(one).kind)).toEqual(["entry", "reference", "searched"]);
        expect(Buffer.concat(messages).equals(whole)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });
  test("six thousand small ones in one chunk", () => {
    const many = Buffer.concat(Array.from({ length: 6_000 }, () => result(2, 0x65)));
    expect(frameReader(1_000)(many)).toHaveLength(6_000);
  });
  test("one that announces too much is refused by its header, a large one is read in time that its size bounds", () => {
    expect(() => frameReader(1_000)(hex("3082 0500"))).toThrow(OversizeMessage);
    const read = frameReader(8_000_000);
    const large = message(2, 0x64, ber(0x04, Buffer.alloc(4_000_000)));
    const since = performance.now();
    for (let at = 0; at < large.length; at += 1_000) read(large.subarray(at, at + 1_000));
    expect(performance.now() - since).toBeLessThan(2_000);
  });
});
