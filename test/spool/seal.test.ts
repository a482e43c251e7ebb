// The seal: what was sealed opens, and nothing that was touched does.
import { createSecretKey, randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { collect } from "../../src/mail/chunks.ts";
import { clearSize, DamagedMessage, opened, sealedSize, sealer, sealWhole } from "../../src/spool/seal.ts";
import type { SealedSource } from "../../src/spool/seal.ts";

const key = createSecretKey(Buffer.alloc(32, 7));
const HEADER = 64;
const CHUNK = 65_536 + 16;

function inMemory(sealed: Uint8Array): SealedSource & { closed: () => number } {
  let closes = 0;
  return {
    size: sealed.length,
    closed: () => closes,
    open: () =>
      Promise.resolve({
        read: (offset, length) => Promise.resolve(sealed.subarray(offset, offset + length)),
        close() {
          closes++;
          return Promise.resolve();
        },
      }),
  };
}

const open = (id: string, sealed: Uint8Array, secretKey = key) => collect(opened(secretKey, id, inMemory(sealed)));

describe("a sealed message", () => {
  test.each([0, 1, 65_535, 65_536, 65_537, 131_072, 200_000])("of %i octets opens to the same octets", async (size) => {
    const clear = randomBytes(size);
    const sealed = sealWhole(key, "m1", clear);
    expect(sealed.length).toBe(sealedSize(size));
    expect(opened(key, "m1", inMemory(sealed)).size).toBe(size);
    expect((await open("m1", sealed)).equals(clear)).toBe(true);
  });

  test("is the same to a reader however it was cut while it arrived", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 90_000 }), { maxLength: 6 }), async (sizes) => {
        const parts = sizes.map((size) => randomBytes(size));
        const seal = sealer(key, "m1");
        const sealed: Uint8Array[] = [];
        for (const part of parts) {
          const lent = Buffer.from(part);
          sealed.push(...seal.update(lent));
          lent.fill(0); // the caller may use its buffer again
        }
        sealed.push(...seal.finish());
        const clear = Buffer.concat(parts);
        expect((await open("m1", Buffer.concat(sealed))).equals(clear)).toBe(true);
        const whole = seal.takeWhole();
        if (clear.length > 65_536) expect(whole).toBeUndefined();
        else expect(Buffer.from(whole ?? []).equals(clear)).toBe(true);
        expect(seal.takeWhole()).toBeUndefined();
      }),
      { numRuns: 40 },
    );
  });

  test("can be read twice, and closes its source also when reading stops early", async () => {
    const source = inMemory(sealWhole(key, "m1", randomBytes(200_000)));
    const content = opened(key, "m1", source);
    for await (const chunk of content.chunks()) {
      expect(chunk.length).toBe(65_536);
      break;
    }
    expect(source.closed()).toBe(1);
    expect((await collect(content)).length).toBe(200_000);
    expect(source.closed()).toBe(2);
  });

  test("never has the same octets twice", () => {
    const clear = Buffer.alloc(1000);
    expect(sealWhole(key, "m1", clear).equals(sealWhole(key, "m1", clear))).toBe(false);
  });
});

describe("a seal does not open", () => {
  const clear = randomBytes(150_000);
  const sealed = sealWhole(key, "m1", clear);

  test("when any one bit was changed", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(sealed.length - 1), fc.nat(7), async (at, bit) => {
        const touched = Buffer.from(sealed);
        touched[at]! ^= 1 << bit;
        await expect(open("m1", touched)).rejects.toThrow(DamagedMessage);
      }),
      { numRuns: 60 },
    );
  });

  test("when it was cut anywhere, also exactly between chunks", async () => {
    const cut = async (size: number) => open("m1", sealed.subarray(0, size));
    for (const size of [0, 1, HEADER - 1, HEADER, HEADER + 16, HEADER + CHUNK, HEADER + 2 * CHUNK, sealed.length - 1])
      await expect(cut(size), `cut at ${size}`).rejects.toThrow(DamagedMessage);
  });

  test("when chunks were swapped, repeated or appended", async () => {
    const head = sealed.subarray(0, HEADER);
    const one = sealed.subarray(HEADER, HEADER + CHUNK);
    const two = sealed.subarray(HEADER + CHUNK, HEADER + 2 * CHUNK);
    const last = sealed.subarray(HEADER + 2 * CHUNK);
    for (const order of [
      [two, one, last],
      [one, one, last],
      [one, two, two, last],
      [one, last],
      [two, last],
      [one, two, last, last],
    ])
      await expect(open("m1", Buffer.concat([head, ...order]))).rejects.toThrow(DamagedMessage);
  });

  test("in the place of another message, nor with chunks of another message", async () => {
    await expect(open("m2", sealed)).rejects.toThrow("message m2 was sealed for another message");
    const other = sealWhole(key, "m1", clear);
    const mixed = Buffer.concat([sealed.subarray(0, HEADER + CHUNK), other.subarray(HEADER + CHUNK)]);
    await expect(open("m1", mixed)).rejects.toThrow("is damaged in chunk 1");
  });

  test("with another secret key", async () => {
    const other = createSecretKey(Buffer.alloc(32, 8));
    await expect(open("m1", sealed, other)).rejects.toThrow("with another secret key");
  });
});

test("the clear size follows from the sealed size and impossible sizes are known", () => {
  fc.assert(fc.property(fc.nat(50_000_000), (size) => clearSize(sealedSize(size)) === size));
  expect(clearSize(HEADER + 15)).toBeUndefined();
  expect(clearSize(HEADER + CHUNK + 16)).toBeUndefined(); // a second chunk is never empty
});
