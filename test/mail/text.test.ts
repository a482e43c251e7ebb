import fc from "fast-check";
import { expect, test } from "vitest";
import { base64Lines } from "../../src/mail/base64-lines.ts";
import { collect, concatSized, readHead, sizedBytes, sizedFrom, type Sized } from "../../src/mail/chunks.ts";
import { decodeWords } from "../../src/mail/encoded-word.ts";
import { fieldsNamed, fieldValue, joinFields, readHeader } from "../../src/mail/header.ts";

/** The same bytes in chunks of the given sizes. */
function inPieces(bytes: Uint8Array, size: number): Sized {
  return {
    size: bytes.length,
    // eslint-disable-next-line @typescript-eslint/require-await -- the interface is asynchronous
    async *chunks() {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    },
  };
}

test("base64 in lines is what Node's own base64 gives, cut at 76, of the announced size, however the source is cut", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 200_000, size: "max" }),
      fc.integer({ min: 1, max: 70_000 }),
      async (bytes, size) => {
        const sized = base64Lines(inPieces(bytes, size));
        const text = await collect(sized);
        const expected = Buffer.from(bytes)
          .toString("base64")
          .replace(/.{1,76}/g, "$&\r\n");
        expect(text.toString()).toBe(expected);
        expect(sized.size).toBe(text.length);
      },
    ),
    { numRuns: 60 },
  );
});

test("what goes through its stages in one turn comes out as what is streamed", async () => {
  const whole = Buffer.from(Uint8Array.from({ length: 200_000 }, (_, at) => at * 7 + (at >> 8)));
  const made = (source: Sized) => base64Lines(concatSized(sizedBytes(Buffer.from("head")), sizedFrom(source, 70_001)));
  const streamed = made(inPieces(whole, 1_000));
  const short = made(sizedBytes(whole));
  expect([streamed.pieces, short.pieces === undefined]).toEqual([undefined, false]);
  expect((await collect(short)).equals(await collect(streamed))).toBe(true);
  const chunks: Uint8Array[] = [];
  for await (const chunk of short.chunks()) chunks.push(chunk);
  expect(Buffer.concat(chunks).equals(await collect(streamed))).toBe(true);
});

test("parts of sized bytes keep their size and order", async () => {
  const whole = concatSized(
    sizedBytes(Buffer.from("abc")),
    sizedBytes(Buffer.from("")),
    sizedBytes(Buffer.from("defg")),
  );
  expect([whole.size, (await collect(whole)).toString()]).toEqual([7, "abcdefg"]);
  const tail = sizedFrom(whole, 2);
  expect([tail.size, (await collect(tail)).toString()]).toEqual([5, "cdefg"]);
  expect((await readHead(whole, 4)).toString().slice(0, 4)).toBe("abcd");
  expect(() => sizedFrom(whole, 8)).toThrow(RangeError);
});

test("a header section is its fields, folds kept, and joining them gives back its very octets", () => {
  const text = "From: a@b\r\nSubject: one\r\n two\r\n\tthree\r\nX : spaced\r\n\r\nbody: x\r\n";
  const header = readHeader(Buffer.from(text), true);
  expect(header?.fields.map((field) => field.name)).toEqual(["from", "subject", "x"]);
  expect(fieldValue(fieldsNamed(header!, "subject")[0]!)).toBe("one two\tthree");
  expect(`${joinFields(header!.fields).toString()}\r\n`).toBe(text.slice(0, header!.size));
});

test("a line that is neither field nor fold begins the body", () => {
  const text = "Subject: s\r\nHello Ann\r\nPassword: hunter2\r\n\r\nbye\r\n";
  const header = readHeader(Buffer.from(text), true);
  expect(header?.fields.map((field) => field.name)).toEqual(["subject"]);
  expect(text.slice(header?.size)).toBe("Hello Ann\r\nPassword: hunter2\r\n\r\nbye\r\n");
  expect(readHeader(Buffer.from("Hello Ann\r\n"), true)).toEqual({ fields: [], size: 0 });
  expect(readHeader(Buffer.from(" folded\r\nA: b\r\n\r\n"), true)).toEqual({ fields: [], size: 0 });
});

test("a header that has not ended yet is none, and one without a body is all header", () => {
  expect(readHeader(Buffer.from("From: a@b\r\nSubject: x\r\n"), false)).toBeUndefined();
  expect(readHeader(Buffer.from("From: a@b\r\nSubject: x"), true)?.fields).toHaveLength(2);
  expect(readHeader(Buffer.from("\r\nbody"), false)).toEqual({ fields: [], size: 2 });
});

test.each([
  ["=?UTF-8?Q?=C3=9Cber?= uns", "Über uns"],
  ["=?utf-8?B?w5xiZXI=?=", "Über"],
  ["=?UTF-8?Q?a=C3?= =?UTF-8?Q?=9Cb?=", "aÜb"],
  ["=?ISO-8859-1?Q?=DCber?=", "Über"],
  ["[JIRA] =?UTF-8?Q?(SEC-42)_x?=", "[JIRA] (SEC-42) x"],
  ["plain =?nonsense", "plain =?nonsense"],
])("the words of %j read %j", (raw, text) => expect(decodeWords(raw)).toBe(text));
