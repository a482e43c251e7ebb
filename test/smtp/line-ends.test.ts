// Line ends against the obvious loop: wherever in memory the octets lie, and whatever they are.
import fc from "fast-check";
import { expect, test } from "vitest";
import { LineEnds } from "../../src/smtp/line-ends.ts";

function obvious(bytes: Uint8Array, from: number): number {
  const at = bytes.findIndex((octet, index) => index >= from && (octet === 13 || octet === 10));
  return at < 0 ? bytes.length : at;
}

// line ends, their neighbours, and the octets at which a word's sign or a borrow could go wrong
const octet = fc.oneof(fc.constantFrom(9, 10, 11, 12, 13, 14, 0, 127, 128, 255), fc.integer({ min: 14, max: 255 }));

test("finds the same line ends as a loop over the octets, from every place on", () => {
  fc.assert(
    fc.property(fc.array(octet, { maxLength: 40 }), fc.nat(7), (octets, offset) => {
      const bytes = new Uint8Array(64).subarray(offset, offset + octets.length);
      bytes.set(octets);
      const lineEnds = new LineEnds(bytes);
      for (let from = 0; from <= bytes.length; from++) expect(lineEnds.next(from)).toBe(obvious(bytes, from));
    }),
    { numRuns: 2_000 },
  );
});
