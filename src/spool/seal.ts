// Seal: AES-256-GCM in chunks of 64 KiB under a key of the message's own, which the secret key wraps.
//
// Layout of a sealed body: "SPB1" | nonce (12) | wrapped content key (32) | tag (16) | chunks, each ciphertext | tag (16).
// The content key is random per message; its wrapping authenticates the message id, so a body put in another message's
// place does not open. Chunks are the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-
// Encryption and its Nonce-Reuse Misuse-Resistance, CRYPTO 2015; as in age): the nonce is the chunk number (11 octets) and
// one octet that is 1 for the last chunk only. A chunk left out, moved or cut off at the end therefore does not open.
import { createCipheriv, createDecipheriv, randomBytes, type KeyObject } from "node:crypto";
import { CHUNK_BYTES, type Sized } from "../mail/chunks.ts";

const ALGORITHM = "aes-256-gcm";
const MAGIC = Buffer.from("SPB1");
const NONCE_BYTES = 12;
const KEY_BYTES = 32;
const TAG_BYTES = 16;
const HEADER_BYTES = MAGIC.length + NONCE_BYTES + KEY_BYTES + TAG_BYTES;
const SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES;
const EMPTY = Buffer.alloc(0);

/** The stored body of this message is missing or does not open with the secret key; every other message is untouched. */
export class DamagedMessage extends Error {
  readonly id: string;
  constructor(id: string, what: string, options?: ErrorOptions) {
    super(`the stored body of message ${id} ${what}`, options);
    this.id = id;
  }
}

/** Seals one message as it arrives. Both calls return sealed octets to be stored in this order; clear ones are copied. */
export type Sealer = {
  update(clear: Uint8Array): Uint8Array[];
  /** Ends the message; nothing may follow. */
  finish(): Uint8Array[];
  /** All clear octets, of a message that is no longer than a chunk: once, after the end. */
  takeWhole(): Uint8Array | undefined;
};

/** Sealed octets wherever they lie. `open` is called anew for each reading. */
export type SealedSource = {
  readonly size: number;
  open(): Promise<OpenSource>;
};
export type OpenSource = {
  /** Exactly `length` octets from `offset`, or it throws. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
};

/** How many octets the seal makes of `clearBytes`. An empty message has one empty chunk. */
export function sealedSize(clearBytes: number): number {
  return HEADER_BYTES + clearBytes + TAG_BYTES * Math.max(1, Math.ceil(clearBytes / CHUNK_BYTES));
}

/** How many clear octets lie in `sealedBytes`; undefined when no message has a sealed body of this size. */
export function clearSize(sealedBytes: number): number | undefined {
  const body = sealedBytes - HEADER_BYTES;
  const clear = body - TAG_BYTES * Math.max(1, Math.ceil(body / SEALED_CHUNK_BYTES));
  return clear >= 0 && sealedSize(clear) === sealedBytes ? clear : undefined;
}

/** Begins sealing the message `id`. Memory: one chunk. */
export function sealer(secretKey: KeyObject, id: string): Sealer {
  // one draw for both: each call costs as much as the octets
  const random = randomBytes(KEY_BYTES + NONCE_BYTES);
  const contentKey = random.subarray(0, KEY_BYTES);
  let header: Uint8Array[] = [wrapKey(secretKey, id, contentKey, random.subarray(KEY_BYTES))];
  let pending: Buffer | undefined;
  let pendingBytes = 0;
  let number = 0;

  const chunk = (clear: Uint8Array, isLast: boolean): Uint8Array[] => {
    const cipher = createCipheriv(ALGORITHM, contentKey, chunkNonce(number++, isLast));
    const sealed = [...header, cipher.update(clear), cipher.final(), cipher.getAuthTag()];
    header = [];
    return sealed;
  };

  return {
    update(clear) {
      const sealed: Uint8Array[] = [];
      pending ??= Buffer.allocUnsafe(CHUNK_BYTES);
      for (let at = 0; at < clear.length;) {
        // a full chunk waits here until more arrives: only then is it known not to be the last
        if (pendingBytes === CHUNK_BYTES) {
          sealed.push(...chunk(pending, false));
          pendingBytes = 0;
        }
        const part = clear.subarray(at, at + CHUNK_BYTES - pendingBytes);
        pending.set(part, pendingBytes);
        pendingBytes += part.length;
        at += part.length;
      }
      return sealed;
    },
    finish() {
      const sealed = chunk(pending?.subarray(0, pendingBytes) ?? EMPTY, true);
      contentKey.fill(0);
      return sealed;
    },
    takeWhole() {
      const whole = number === 1 ? pending?.subarray(0, pendingBytes) : undefined;
      pending = undefined;
      return whole;
    },
  };
}

/** A message that is whole in memory, sealed into one buffer. */
export function sealWhole(secretKey: KeyObject, id: string, clear: Uint8Array): Buffer {
  const seal = sealer(secretKey, id);
  return Buffer.concat([...seal.update(clear), ...seal.finish()]);
}

/**
 * The clear octets of the message `id`, opened chunk by chunk as they are read; no octet is yielded before its chunk has
 * proved genuine. Throws DamagedMessage at once when the size cannot be right, or while reading.
 */
export function opened(secretKey: KeyObject, id: string, source: SealedSource): Sized {
  const size = clearSize(source.size);
  if (size === undefined) throw new DamagedMessage(id, `has an impossible size of ${source.size} octets`);
  return {
    size,
    async *chunks() {
      const open = await source.open();
      try {
        const contentKey = unwrapKey(secretKey, id, await open.read(0, HEADER_BYTES));
        let number = 0;
        for (let at = HEADER_BYTES; at < source.size; at += SEALED_CHUNK_BYTES) {
          const sealed = await open.read(at, Math.min(SEALED_CHUNK_BYTES, source.size - at));
          const clear = openChunk(id, contentKey, number++, at + sealed.length === source.size, sealed);
          if (clear.length > 0) yield clear;
        }
      } finally {
        await open.close();
      }
    },
  };
}

function openChunk(id: string, key: Uint8Array, number: number, isLast: boolean, sealed: Uint8Array): Uint8Array {
  const decipher = createDecipheriv(ALGORITHM, key, chunkNonce(number, isLast), { authTagLength: TAG_BYTES });
  const clear = decipher.update(sealed.subarray(0, -TAG_BYTES));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  try {
    decipher.final();
  } catch (cause) {
    throw new DamagedMessage(id, `is damaged in chunk ${number}`, { cause });
  }
  return clear;
}

function wrapKey(secretKey: KeyObject, id: string, contentKey: Uint8Array, nonce: Uint8Array): Buffer {
  const cipher = createCipheriv(ALGORITHM, secretKey, nonce);
  cipher.setAAD(wrapContext(id));
  return Buffer.concat([MAGIC, nonce, cipher.update(contentKey), cipher.final(), cipher.getAuthTag()]);
}

function unwrapKey(secretKey: KeyObject, id: string, header: Uint8Array): Buffer {
  if (!MAGIC.equals(header.subarray(0, MAGIC.length))) throw new DamagedMessage(id, "does not begin with a seal");
  const at = MAGIC.length + NONCE_BYTES;
  const nonce = header.subarray(MAGIC.length, at);
  const decipher = createDecipheriv(ALGORITHM, secretKey, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(wrapContext(id));
  const contentKey = decipher.update(header.subarray(at, at + KEY_BYTES));
  decipher.setAuthTag(header.subarray(at + KEY_BYTES));
  try {
    decipher.final();
  } catch (cause) {
    throw new DamagedMessage(id, "was sealed for another message or with another secret key, or is damaged", { cause });
  }
  return contentKey;
}

function wrapContext(id: string): Buffer {
  return Buffer.from(`sealpost spool body 1\0${id}`);
}

function chunkNonce(number: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.writeUIntBE(number, NONCE_BYTES - 1 - 6, 6);
  nonce[NONCE_BYTES - 1] = isLast ? 1 : 0;
  return nonce;
}
