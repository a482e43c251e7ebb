// The wire reader against a naive reference: what comes out never depends on how the bytes were cut.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MAX_LINE_BYTES, MAX_SASL_LINE_BYTES, WireReader } from "../../src/smtp/wire-reader.ts";

const bytes = (text: string) => Buffer.from(text, "latin1");

const octets = (text: string) => Array.from(bytes(text), (octet) => Buffer.of(octet));

/** All content until the end of data, which must come, and what is left behind it. */
function readContent(pieces: readonly Buffer[]) {
  const reader = new WireReader();
  reader.beginContent();
  const content: Buffer[] = [];
  let hasEnded = false;
  for (const piece of pieces) {
    reader.push(piece);
    while (!hasEnded) {
      const event = reader.nextContent();
      if (event === undefined) break;
      content.push(event.content);
      hasEnded = event.isEnd;
    }
  }
  return {
    content: Buffer.concat(content).toString("latin1"),
    hasEnded,
    findings: reader.findings,
    unread: reader.unreadBytes,
  };
}

/** The definition in one line each: the whole stream as text, searched with regular expressions. */
function reference(wire: string) {
  const end = `\r\n${wire}`.indexOf("\r\n.\r\n");
  const raw = wire.slice(0, end);
  return {
    content: raw.replace(/(?<=^|\r\n)\./g, ""),
    hasEnded: true,
    findings: { bareCr: /\r(?!\n)/.test(raw), bareLf: /(?<!\r)\n/.test(raw), nul: raw.includes("\0") },
    unread: wire.length - end - 3,
  };
}

function cut(whole: Buffer, at: readonly number[]): Buffer[] {
  const edges = [0, ...at.map((place) => place % (whole.length + 1)).sort((a, b) => a - b), whole.length];
  return edges.slice(1).map((edge, index) => whole.subarray(edges[index], edge));
}

const fragments = fc.constantFrom(
  "\r\n",
  "\r",
  "\n",
  ".",
  "..",
  "\r\n.",
  ".\r",
  ".\r\n",
  "\0",
  "a",
  "line",
  "\xff",
  " ",
);
const wireText = fc.array(fragments, { maxLength: 40 }).map((parts) => parts.join(""));
const cuts = fc.array(fc.nat(), { maxLength: 12 });

test("content, findings and the rest of any byte stream are the same as the reference says, however it is cut", () => {
  fc.assert(
    fc.property(wireText, cuts, (text, places) => {
      const wire = `${text}\r\n.\r\nQUIT\r\n`;
      const expected = reference(wire);
      expect(readContent(cut(bytes(wire), places))).toEqual(expected);
      expect(readContent(octets(wire))).toEqual(expected);
    }),
    { numRuns: 3_000 },
  );
});

test("what a sender stuffs comes out as it was", () => {
  fc.assert(
    fc.property(wireText, cuts, (text, places) => {
      const message = `${text}\r\n`;
      const stuffed = message.replace(/(?<=^|\r\n)\./g, "..");
      expect(readContent(cut(bytes(`${stuffed}.\r\n`), places)).content).toBe(message);
    }),
    { numRuns: 2_000 },
  );
});

/** All lines and the fault that ends them. */
function readLines(pieces: readonly Buffer[]): string[] {
  const reader = new WireReader();
  const seen: string[] = [];
  for (const piece of pieces) {
    reader.push(piece);
    for (;;) {
      const event = reader.nextLine(false);
      if (event === undefined) break;
      seen.push(event.kind === "line" ? event.line.toString("latin1") : `fault ${event.fault}`);
    }
  }
  return seen;
}

test("command lines and the fault that ends them are the same however the stream is cut", () => {
  const lines = fc.array(
    fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom("NOOP\r\n", "\r\n", "EHLO x\r\n", "AUTH ", "auth PLAIN x\r\n") },
      fragments,
      fc.constantFrom("x".repeat(MAX_LINE_BYTES - 3), "y".repeat(MAX_SASL_LINE_BYTES - 8), "\x16", "\x16\x03"),
    ),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(lines, cuts, (parts, places) => {
      const wire = bytes(parts.join(""));
      const whole = readLines([wire]);
      expect(readLines(cut(wire, places))).toEqual(whole);
      if (wire.length < 200) expect(readLines(cut(wire, [...wire.keys()]))).toEqual(whole);
    }),
    { numRuns: 1_000 },
  );
});

describe("a command line", () => {
  test.each([
    ["ended by a bare LF", "NOOP\nQUIT\r\n", ["fault bare-lf"]],
    ["with a bare CR", "RCPT TO:<a\rRCPT TO:<evil@x>@b>\r\n", ["fault bare-cr"]],
    ["ended by CR CR LF", "NOOP\r\r\n", ["fault bare-cr"]],
    ["with a NUL", "RCPT TO:<a\0b@b.test>\r\n", ["fault nul"]],
    ["of the greatest length", `${"a".repeat(4_094)}\r\nNOOP\r\n`, ["a".repeat(4_094), "NOOP"]],
    ["one octet longer", `${"a".repeat(4_095)}\r\nNOOP\r\n`, ["fault too-long"]],
    ["without an end", "a".repeat(4_095), ["fault too-long"]],
    ["of AUTH with the greatest length", `AUTH ${"a".repeat(16_377)}\r\n`, [`AUTH ${"a".repeat(16_377)}`]],
    ["of AUTH one octet longer", `AUTH ${"a".repeat(16_378)}\r\n`, ["fault too-long"]],
    ["that is a TLS ClientHello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ["fault tls-record"]],
  ])("%s reads as it must", (_name, wire, expected) => {
    expect(readLines([bytes(wire)])).toEqual(expected);
    expect(readLines(octets(wire))).toEqual(expected);
  });

  test("behind a fault nothing is read any more", () => {
    const reader = new WireReader();
    reader.push(bytes("NOOP\nQUIT\r\n"));
    expect(reader.nextLine(false)).toEqual({ kind: "fault", fault: "bare-lf" });
    reader.push(bytes("QUIT\r\n"));
    expect(reader.nextLine(false)).toBeUndefined();
  });
});

describe("content", () => {
  test.each([
    ["SMUG-12: that is empty", ".\r\n", ""],
    ["SMUG-12: whose first line is a dot", "..\r\n.\r\n", ".\r\n"],
    ["SMUG-13: with a line that starts with one dot", "a\r\n.foo\r\n.\r\n", "a\r\nfoo\r\n"],
    ["SMUG-06: with CRLF.CRCRLF", "a\r\n.\r\r\nb\r\n.\r\n", "a\r\n\r\r\nb\r\n"],
    ["SMUG-01: with LF.LF", "a\n.\nb\r\n.\r\n", "a\n.\nb\r\n"],
    ["SMUG-09: with a dot and a blank", "a\r\n. \r\n.\r\n", "a\r\n \r\n"],
    [
      "SMUG-10: with low-byte CRLF of UTF-8",
      "\xc4\x8d\xc4\x8a.\xc4\x8d\xc4\x8a\r\n.\r\n",
      "\xc4\x8d\xc4\x8a.\xc4\x8d\xc4\x8a\r\n",
    ],
  ])("%s is read to its genuine end", (_name, wire, content) => {
    expect(readContent([bytes(wire)])).toMatchObject({ content, hasEnded: true, unread: 0 });
  });

  test("without dots is handed on without a copy", () => {
    const reader = new WireReader();
    const wire = bytes("Subject: x\r\n\r\nbody\r\n.\r\n");
    reader.beginContent();
    reader.push(wire);
    expect(reader.nextContent()?.content.buffer).toBe(wire.buffer);
  });

  test("comes in pieces of at most 64 KiB and one octet", () => {
    const reader = new WireReader();
    reader.beginContent();
    reader.push(Buffer.alloc(300_000, 97));
    for (let event = reader.nextContent(); event !== undefined; event = reader.nextContent())
      expect(event.content.length).toBeLessThanOrEqual(65_537);
    expect(reader.unreadBytes).toBe(0);
  });
});
