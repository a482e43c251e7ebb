// Sized: bytes whose number is known before the first one is read, in chunks of at most 64 KiB, and what is done to them on their way.

/** Largest chunk that any producer yields, in bytes. */
export const CHUNK_BYTES = 65_536;
/** What is no longer than this goes through all its stages in one turn. */
const SHORT_BYTES = 1024 * 1024;

/**
 * A byte sequence of known length. `chunks()` may be called again and starts over each time; the chunks sum up to exactly
 * `size` bytes or the iteration throws. Known lengths let CMS and OpenPGP be written with definite lengths in one pass.
 */
export type Sized = {
  readonly size: number;
  chunks(): AsyncIterable<Uint8Array>;
  /** The same chunks without waiting: of short sequences in memory and of what is made of them. They stay as they are. */
  readonly pieces?: () => readonly Uint8Array[];
};

/** What becomes of each chunk, and of the end. Octets that it keeps back must be copies: the producer may use its chunk again. */
export type Stage<Piece extends Uint8Array = Uint8Array> = {
  next(chunk: Uint8Array): readonly Piece[];
  end(): readonly Piece[];
};

/** The given bytes as `Sized`, without copying them. */
export function sizedBytes(bytes: Uint8Array): Sized {
  if (bytes.length <= SHORT_BYTES) return sizedPieces(bytes.length, () => [...cut(bytes)]);
  return {
    size: bytes.length,
    // eslint-disable-next-line @typescript-eslint/require-await
    async *chunks() {
      yield* cut(bytes);
    },
  };
}

function* cut(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES);
}

/** What is short and in memory; `pieces` is called for each reading. */
export function sizedPieces(size: number, pieces: () => readonly Uint8Array[]): Sized {
  return {
    size,
    pieces,
    // eslint-disable-next-line @typescript-eslint/require-await
    async *chunks() {
      yield* pieces();
    },
  };
}

/** `source` as it comes out of a stage, `size` bytes of it; each reading begins the stage anew. */
export function throughStage(source: Sized, size: number, begin: () => Stage): Sized {
  const { pieces } = source;
  if (pieces !== undefined)
    return sizedPieces(size, () => {
      const stage = begin();
      return [...pieces().flatMap((chunk) => stage.next(chunk)), ...stage.end()];
    });
  return {
    size,
    async *chunks() {
      const stage = begin();
      for await (const chunk of source.chunks()) yield* stage.next(chunk);
      yield* stage.end();
    },
  };
}

/** Several byte sequences one after the other. */
export function concatSized(...parts: readonly Sized[]): Sized {
  const size = parts.reduce((sum, part) => sum + part.size, 0);
  const all = parts.flatMap(({ pieces }) => pieces ?? []);
  if (all.length === parts.length) return sizedPieces(size, () => all.flatMap((pieces) => pieces()));
  return {
    size,
    async *chunks() {
      for (const part of parts) yield* part.chunks();
    },
  };
}

/** Everything from octet `offset` on. Throws a RangeError when `offset` lies beyond the end. */
export function sizedFrom(whole: Sized, offset: number): Sized {
  if (offset > whole.size) throw new RangeError(`offset ${offset} is beyond the ${whole.size} octets there are`);
  return throughStage(whole, whole.size - offset, () => {
    let skip = offset;
    return {
      next(chunk) {
        const rest = skip === 0 ? chunk : chunk.subarray(skip);
        skip = Math.max(0, skip - chunk.length);
        return rest.length === 0 ? [] : [rest];
      },
      end: () => [],
    };
  });
}

/** The same bytes, or an error as soon as there are more or fewer than announced: before the surplus is put to any use. */
export function exactly(plain: Sized): Sized {
  return throughStage(plain, plain.size, () => {
    let left = plain.size;
    return {
      next(chunk) {
        left -= chunk.length;
        if (left < 0) throw new Error(`plaintext has more octets than the ${plain.size} it announced`);
        return [chunk];
      },
      end() {
        if (left > 0) throw new Error(`plaintext ends ${left} octets before the ${plain.size} it announced`);
        return [];
      },
    };
  });
}

/** All bytes in one buffer. For small things, tests and the command line; mail on its way is streamed. */
export async function collect(sized: Sized): Promise<Buffer> {
  if (sized.pieces !== undefined) return joined(sized.pieces());
  const parts: Uint8Array[] = [];
  for await (const chunk of sized.chunks()) parts.push(chunk);
  return joined(parts);
}

/** At least the first `count` bytes (fewer only when there are no more), as one buffer; all of a short sequence. */
export async function readHead(sized: Sized, count: number): Promise<Buffer> {
  if (sized.pieces !== undefined) return joined(sized.pieces());
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
