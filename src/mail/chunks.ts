// Sized: bytes whose number is known before the first one is read, in chunks of at most 64 KiB.

/** Largest chunk that any producer yields, in bytes. */
export const CHUNK_BYTES = 65_536;

/**
 * A byte sequence of known length. `chunks()` may be called again and starts over each time; the chunks sum up to exactly
 * `size` bytes or the iteration throws. Known lengths let CMS and OpenPGP be written with definite lengths in one pass.
 */
export type Sized = {
  readonly size: number;
  chunks(): AsyncIterable<Uint8Array>;
};

/** The given bytes as `Sized`, without copying them. */
export function sizedBytes(bytes: Uint8Array): Sized {
  return {
    size: bytes.length,
    // eslint-disable-next-line @typescript-eslint/require-await
    async *chunks() {
      for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES);
    },
  };
}

/** Several byte sequences one after the other. */
export function concatSized(...parts: readonly Sized[]): Sized {
  return {
    size: parts.reduce((sum, part) => sum + part.size, 0),
    async *chunks() {
      for (const part of parts) yield* part.chunks();
    },
  };
}

/** Everything from octet `offset` on. Throws a RangeError when `offset` lies beyond the end. */
export function sizedFrom(whole: Sized, offset: number): Sized {
  if (offset > whole.size) throw new RangeError(`offset ${offset} is beyond the ${whole.size} octets there are`);
  return {
    size: whole.size - offset,
    async *chunks() {
      let skip = offset;
      for await (const chunk of whole.chunks()) {
        if (skip < chunk.length) yield skip === 0 ? chunk : chunk.subarray(skip);
        skip = Math.max(0, skip - chunk.length);
      }
    },
  };
}

/** All bytes in one buffer. For small things, tests and the command line; mail on its way is streamed. */
export async function collect(sized: Sized): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of sized.chunks()) parts.push(chunk);
  return joined(parts);
}

/** At least the first `count` bytes (fewer only when there are no more), as one buffer. */
export async function readHead(sized: Sized, count: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let have = 0;
  for await (const chunk of sized.chunks()) {
    parts.push(chunk);
    have += chunk.length;
    if (have >= count) break;
  }
  return joined(parts);
}

/** One after the other; what is one piece already is not copied. */
export function joined(parts: readonly Uint8Array[]): Buffer {
  const [only, ...more] = parts;
  if (only === undefined || more.length > 0) return Buffer.concat(parts);
  return Buffer.from(only.buffer, only.byteOffset, only.length);
}
