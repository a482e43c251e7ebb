// Line blocks: however the octets come in chunks, each piece is whole lines, and nothing is lost or moved.
import { expect, test } from "vitest";
import { base64Lines } from "../../src/mail/base64-lines.ts";
import { CHUNK_BYTES, collect, type Sized } from "../../src/mail/chunks.ts";
import { lineBlocks } from "../../src/mail/line-blocks.ts";

/** Octets that differ, in chunks of these sizes one after the other. */
function inChunksOf(size: number, sizes: readonly number[]): Sized & { readonly whole: Buffer } {
  const whole = Buffer.from(Uint8Array.from({ length: size }, (_, at) => at * 7 + (at >> 8)));
  return {
    size,
    whole,
    // eslint-disable-next-line @typescript-eslint/require-await
    async *chunks() {
      for (let at = 0, number = 0; at < size; number++) {
        const end = at + sizes[number % sizes.length]!;
        yield whole.subarray(at, end);
        at = end;
      }
    },
  };
}

test.each([
  ["in one chunk", [CHUNK_BYTES]],
  ["octet by octet", [1]],
  ["in chunks of a line", [57]],
  ["in chunks of a line and one octet", [58]],
  ["in chunks of less than a line, and more", [20, 20, 100]],
  ["in chunks of all sizes", [3, 700, 1, 56, 40_000]],
])("%s", async (_, sizes) => {
  for (const size of [0, 1, 56, 57, 58, 114, 10_000, 150_001]) {
    const binary = inChunksOf(size, sizes);
    const pieces: Buffer[] = [];
    const blocks = lineBlocks(57);
    for await (const chunk of binary.chunks()) pieces.push(...blocks.next(chunk).map((piece) => Buffer.from(piece)));
    pieces.push(...blocks.end());
    expect(Buffer.concat(pieces).equals(binary.whole)).toBe(true);
    expect(pieces.slice(0, -1).filter(({ length }) => length === 0 || length % 57 !== 0)).toEqual([]);
    expect(pieces.filter(({ length }) => (length / 57) * 78 > CHUNK_BYTES)).toEqual([]);
    const lines = binary.whole.toString("base64").match(/.{1,76}/g) ?? [];
    expect((await collect(base64Lines(binary))).toString()).toBe(lines.map((line) => `${line}\r\n`).join(""));
  }
});
