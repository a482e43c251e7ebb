// The sender: message octets arrive exactly as they were handed in, or no message arrives at all.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Sized } from "../../src/mail/chunks.ts";
import { DotStuffing } from "../../src/smtp/upstream-dot-stuffing.ts";
import { mailTo, newUpstream, senderTo, shown } from "./sending.ts";

const DELIVERED = ["bob@b.test delivered 250 2.0.0 queued"];

/** The octets in chunks cut at the given places. */
function cutAt(bytes: Buffer, cuts: readonly number[]): Sized {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return {
    size: bytes.length,
    // eslint-disable-next-line @typescript-eslint/require-await -- chunks() is asynchronous by contract
    async *chunks() {
      for (let i = 1; i < places.length; i++) yield bytes.subarray(places[i - 1], places[i]);
    },
  };
}

test.each([
  ["an empty message", ""],
  ["nothing but a line end", "\r\n"],
  ["a lone dot", ".\r\n"],
  ["lines of dots", ".\r\n..\r\n...\r\n.\r\n"],
  ["what looks like the end of the message and a command", "A: b\r\n\r\n.\r\nMAIL FROM:<eve@e.test>\r\n"],
  ["a line of 5,000 octets", `${"x".repeat(5000)}\r\n.${"y".repeat(5000)}\r\n`],
  ["octets beyond ASCII", "A: b\r\n\r\n\xff\x80\xfe.\r\n"],
])("%s arrives octet by octet", async (_, content) => {
  const upstream = await newUpstream();
  expect(shown(await senderTo(upstream).send(mailTo(["bob@b.test"], content)))).toEqual(DELIVERED);
  expect(upstream.transactions[0]?.data.toString("latin1")).toBe(content);
});

test("a message whose last line has no end gets CRLF, and nothing else is added", async () => {
  const upstream = await newUpstream();
  const sender = senderTo(upstream);
  for (const content of ["A: b\r\n\r\nlast", "A: b\r\n\r\n.", "A: b\r\n\r\nlast\n"]) {
    const singly = cutAt(
      Buffer.from(content),
      Array.from({ length: content.length }, (_, i) => i),
    );
    await sender.send(mailTo(["bob@b.test"], singly));
  }
  expect(upstream.transactions.map(({ data }) => data.toString())).toEqual([
    "A: b\r\n\r\nlast\r\n",
    "A: b\r\n\r\n.\r\n",
    "A: b\r\n\r\nlast\n\r\n",
  ]);
});

test("any content of whole lines arrives exactly, however it is cut into chunks", async () => {
  const upstream = await newUpstream();
  const sender = senderTo(upstream);
  const octet = fc
    .oneof(fc.constantFrom(0x2e, 0x20, 0x2d), fc.integer({ min: 1, max: 255 }))
    .filter((one) => one !== 13 && one !== 10);
  const line = fc.array(octet, { maxLength: 12 }).map((octets) => Buffer.from([...octets, 13, 10]));
  const content = fc.array(line, { maxLength: 30 }).map((lines) => Buffer.concat(lines));
  await fc.assert(
    fc.asyncProperty(content, fc.array(fc.nat(), { maxLength: 8 }), async (bytes, cuts) => {
      const before = upstream.transactions.length;
      expect(shown(await sender.send(mailTo(["bob@b.test"], cutAt(bytes, cuts))))).toEqual(DELIVERED);
      expect(upstream.transactions[before]?.data.equals(bytes)).toBe(true);
    }),
    { numRuns: 300 },
  );
  expect(upstream.connections.accepted).toBe(1);
});

test("whatever the octets are, what is sent has no end of message but ours, for peers that take a bare LF for one too", () => {
  const octets = fc.array(fc.constantFrom(0x2e, 0x0d, 0x0a, 0x61), { maxLength: 40 }).map((all) => Buffer.from(all));
  fc.assert(
    fc.property(octets, fc.array(fc.nat(), { maxLength: 5 }), (bytes, cuts) => {
      const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
      const stuffing = new DotStuffing();
      const parts = places.slice(1).map((end, i) => Buffer.from(stuffing.push(bytes.subarray(places[i], end))));
      const sent = Buffer.concat([Buffer.from("\r\n"), ...parts, stuffing.end()]).toString("latin1");
      expect([...sent.matchAll(/\n\.\r?\n/g)].map((match) => match.index)).toEqual([sent.length - 4]);
    }),
    { numRuns: 2000 },
  );
});

test("25 MB arrive exactly, in clear and with a dot on each line", async () => {
  const upstream = await newUpstream();
  const sender = senderTo(upstream);
  for (const line of [`${"QUJD".repeat(19)}\r\n`, ".hidden dot and some more text of a usual length\r\n"]) {
    const content = Buffer.from(line.repeat(Math.ceil(26_214_400 / line.length)));
    expect(shown(await sender.send(mailTo(["bob@b.test"], content)))).toEqual(DELIVERED);
    expect(upstream.transactions.at(-1)?.data.equals(content)).toBe(true);
  }
});

describe("content that cannot be read to its end", () => {
  const head = Buffer.from("Subject: half\r\n\r\n" + "half of it\r\n".repeat(9000));
  const broken = (size: number, fault: () => void): Sized => ({
    size,
    // eslint-disable-next-line @typescript-eslint/require-await -- chunks() is asynchronous by contract
    async *chunks() {
      yield head;
      fault();
    },
  });
  const unreadable = () => {
    throw new Error("spool: the seal of chunk 2 does not verify");
  };

  test.each([
    ["throws in the middle", broken(head.length * 2, unreadable), "spool: the seal of chunk 2 does not verify"],
    ["throws behind its last octet", broken(head.length, unreadable), "spool: the seal of chunk 2 does not verify"],
    ["is shorter than announced", broken(head.length + 1, () => undefined), "the content is not the"],
    ["is longer than announced", broken(head.length - 1, () => undefined), "the content is not the"],
  ])("and %s is deferred, and upstream never sees a final dot", async (_, content, text) => {
    const upstream = await newUpstream();
    const sender = senderTo(upstream, { connections: 1 });
    const [line] = shown(await sender.send(mailTo(["bob@b.test"], content)));
    expect(line).toContain(`bob@b.test deferred not sent: ${text}`);
    await upstream.until(() => upstream.connections.open === 0);
    expect(upstream.finalDots).toBe(0);
    expect(shown(await sender.send(mailTo(["bob@b.test"])))).toEqual(DELIVERED);
    expect(upstream.transactions).toHaveLength(1);
  });
});
