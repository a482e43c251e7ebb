// Replies of the upstream: read from any cut of octets, shown without harm.
import fc from "fast-check";
import { expect, test } from "vitest";
import { ReplyFault, ReplyReader, shownReply } from "../../src/smtp/upstream-reply.ts";

const read = (...octets: string[]) => {
  const reader = new ReplyReader();
  return octets.flatMap((part) => reader.push(Buffer.from(part)));
};

test.each([
  ["250 2.1.0 ok\r\n", { code: 250, status: "2.1.0", lines: ["2.1.0 ok"] }],
  ["250\r\n", { code: 250, status: undefined, lines: [""] }],
  ["250 ok\n", { code: 250, status: undefined, lines: ["ok"] }],
  ["250-one\r\n250-two\r\n250 three\r\n", { code: 250, status: undefined, lines: ["one", "two", "three"] }],
  ["550 4.1.1 the status is of another class\r\n", { code: 550, status: undefined }],
  ["550 5.1.1234 no status\r\n", { code: 550, status: undefined }],
  ["550 5.7.1\r\n", { code: 550, status: "5.7.1" }],
])("%j is one reply", (text, reply) => {
  expect(read(text)).toMatchObject([reply]);
});

test("a reply is shown in one line, its status once", () => {
  const [reply] = read("550-5.7.1 refused\r\n550-5.7.1 by policy\r\n550 5.7.1 12\r\n");
  expect(shownReply(reply!)).toBe("550 5.7.1 refused by policy 12");
});

test.each(["25\r\n", "2500 ok\r\n", "250_ok\r\n", "\r\n", " 250 ok\r\n", "650 ok\r\n", "250-a\r\n251 b\r\n"])(
  "%j is no reply",
  (text) => {
    expect(() => read(text)).toThrow(ReplyFault);
  },
);

test("the same octets give the same replies however they are cut", () => {
  const stream = "220 hello\r\n250-a\r\n250-PIPELINING\r\n250 SIZE 10\r\n354 gö\r\n";
  fc.assert(
    fc.property(fc.array(fc.nat(Buffer.byteLength(stream)), { maxLength: 12 }), (cuts) => {
      const octets = Buffer.from(stream);
      const places = [0, ...cuts.sort((a, b) => a - b), octets.length];
      const reader = new ReplyReader();
      const replies = places.slice(1).flatMap((end, i) => reader.push(octets.subarray(places[i], end)));
      expect(replies).toEqual(read(stream));
      expect(reader.isMidway).toBe(false);
    }),
  );
});
