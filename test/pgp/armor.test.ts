// ASCII armor: what is read back, what is refused, and that gpg and openpgp.js agree.
import fc from "fast-check";
import { unarmor } from "openpgp";
import { describe, expect, test } from "vitest";
import { collect, concatSized, sizedBytes } from "../../src/mail/chunks.ts";
import { armored, decodeArmor } from "../../src/pgp/armor.ts";
import { crc24 } from "../../src/pgp/crc24.ts";
import { fixtureBytes } from "../fixtures.ts";

const armor = async (bytes: Uint8Array) => (await collect(armored(sizedBytes(bytes), "MESSAGE"))).toString("latin1");

test("the checksum of 123456789 is the published check value of CRC-24/OPENPGP", () => {
  expect(crc24(Buffer.from("123456789")).toString(16)).toBe("21cf02");
});

test("the checksum is the same however the octets are cut", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(), (bytes, nat) => {
      const cut = bytes.length === 0 ? 0 : nat % bytes.length;
      expect(crc24(bytes.subarray(cut), crc24(bytes.subarray(0, cut)))).toBe(crc24(bytes));
    }),
  );
});

describe("writing", () => {
  test("the block has 64 characters a line, CRLF line ends, a checksum and the announced size", async () => {
    const sized = armored(sizedBytes(Buffer.from("a".repeat(100))), "MESSAGE");
    const bytes = await collect(sized);
    const lines = bytes.toString("latin1").split("\r\n");
    expect(lines.slice(0, 2)).toEqual(["-----BEGIN PGP MESSAGE-----", ""]);
    expect(lines.slice(2, -3).map((line) => line.length)).toEqual([64, 64, 8]);
    expect(lines.at(-3)).toMatch(/^=[A-Za-z0-9+/]{4}$/);
    expect(lines.slice(-2)).toEqual(["-----END PGP MESSAGE-----", ""]);
    expect(bytes.toString("latin1").replaceAll("\r\n", "")).not.toMatch(/[\r\n]/);
    expect(bytes.length).toBe(sized.size);
  });

  test("whatever the content and its chunks, the size is kept and openpgp.js and our reader give the content back", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }), async (chunks) => {
        const content = Buffer.concat(chunks);
        const sized = armored(concatSized(...chunks.map(sizedBytes)), "MESSAGE");
        const bytes = await collect(sized);
        expect(bytes.length).toBe(sized.size);
        const text = bytes.toString("latin1");
        expect(decodeArmor(text)).toMatchObject({ blocks: [{ type: "MESSAGE", line: 1 }], faults: [] });
        expect(Buffer.compare(decodeArmor(text).blocks[0]!.bytes, content)).toBe(0);
        expect(Buffer.compare((await unarmor(text)).data as Uint8Array, content)).toBe(0);
      }),
    );
  });

  test("no chunk of a long block is larger than 64 KiB", async () => {
    const content = Buffer.alloc(300_000, 7);
    const parts: Uint8Array[] = [];
    for await (const chunk of armored(sizedBytes(content), "MESSAGE").chunks()) parts.push(chunk);
    expect(Math.max(...parts.map((part) => part.length))).toBeLessThanOrEqual(65_536);
    expect(decodeArmor(Buffer.concat(parts).toString("latin1")).blocks[0]!.bytes).toEqual(content);
  });
});

describe("reading", () => {
  test("sixteen blocks with text between them and Comment headers are all found, with LF and with CRLF", () => {
    const lf = decodeArmor(fixtureBytes("pgp/concat.asc").toString("latin1"));
    const crlf = decodeArmor(fixtureBytes("pgp/concat-crlf.asc").toString("latin1"));
    expect(lf.blocks.length).toBe(16);
    expect(lf.faults).toEqual([]);
    expect(crlf).toEqual(lf);
  });

  test("a block with a wrong checksum is a fault and its neighbours are read", async () => {
    const good = await armor(Buffer.from("first"));
    const bad = (await armor(Buffer.from("second"))).replace(/=....\r\n-/, "=AAAA\r\n-");
    const { blocks, faults } = decodeArmor(good + bad + good);
    expect(blocks.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(["first", "first"]);
    expect(faults).toEqual([{ type: "MESSAGE", line: 6, reason: "the checksum of the armor is wrong" }]);
  });

  test("a block without a checksum is read", async () => {
    const text = (await armor(Buffer.from("no sum"))).replace(/=....\r\n-/, "-");
    expect(Buffer.from(decodeArmor(text).blocks[0]!.bytes).toString()).toBe("no sum");
  });

  test("a block that breaks off is a fault which keeps what could be read, and the next block is read", async () => {
    const whole = await armor(Buffer.alloc(96, 1));
    const cut = whole.slice(0, whole.indexOf("=")) + "\r\n";
    const { blocks, faults } = decodeArmor(cut + whole);
    expect(blocks.length).toBe(1);
    expect(faults).toEqual([
      { type: "MESSAGE", line: 1, reason: "the END line is missing", bytes: Buffer.alloc(96, 1) },
    ]);
  });

  test.each([
    ["a line that is not base64", "AAAA\nAA*A\n"],
    ["padding in the middle", "AA==\nAAAA\n"],
    ["a single character over", "AAAAA\n"],
  ])("a block with %s is a fault", (_, body) => {
    const { blocks, faults } = decodeArmor(`-----BEGIN PGP MESSAGE-----\n\n${body}-----END PGP MESSAGE-----\n`);
    expect(blocks).toEqual([]);
    expect(faults.length).toBe(1);
  });

  test("an END line of another type does not end a block", () => {
    const text = "-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n";
    expect(decodeArmor(text)).toMatchObject({ blocks: [], faults: [{ reason: "the END line is missing" }] });
  });

  test("any text is read without an error", () => {
    const pieces = fc.constantFrom(
      "-----BEGIN PGP ",
      "-----END PGP ",
      "MESSAGE",
      "-----",
      "\n",
      "\r\n",
      "=",
      "AAAA",
      ":",
      "\0",
      "é",
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 60 }), (parts) => {
        const { blocks, faults } = decodeArmor(parts.join(""));
        expect(blocks.length + faults.length).toBeLessThanOrEqual(parts.length);
      }),
    );
  });
});
