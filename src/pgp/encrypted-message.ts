// An OpenPGP encrypted message (RFC 9580 10.3) as a stream of known length: PKESKs, then SEIPD version 1 or 2 around literal data.
import { createCipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { CHUNK_BYTES, concatSized, exactly, sizedBytes, throughStage, type Sized, type Stage } from "../mail/chunks.ts";
import type { PgpEncryptionKey } from "./encryption-key.ts";
import { writeLength } from "./packets.ts";
import { publicKeyEncryptedSessionKey } from "./pkesk.ts";

const TAG_LITERAL = 11;
const TAG_SEIPD = 18;
const AES_256 = 9;
const OCB = 2;
const KEY_BYTES = 32;
const BLOCK_BYTES = 16;
const NONCE_BYTES = 15;
const AEAD_TAG_BYTES = 16;
/** Chunks of 2^(10 + 6) octets, RFC 9580 5.13.2. */
const CHUNK_SIZE_OCTET = 10;
const SALT_BYTES = 32;
/** The head of the modification detection code packet, which is hashed into itself (RFC 9580 5.13.1). */
const MDC_HEAD = Buffer.from([0xd3, 0x14]);
const MDC_BYTES = MDC_HEAD.length + 20;
const READERS_PER_TURN = 16;

/**
 * Encrypts `plain` to all `keys`, uncompressed and unsigned, AES-256: as SEIPDv2 with OCB when `seipd2` (for readers who all
 * advertise it), else as SEIPDv1. Session key, salts and PKESKs are made once, here: `chunks()` called again encrypts again and
 * yields the same octets, for which `plain` must yield the same too, or one key stream would cover two texts. Iterating throws
 * when `plain` does not have as many octets as it announced. Throws when a key cannot be encrypted to, and beyond 4 GiB.
 */
export async function encryptedMessage(
  plain: Sized,
  keys: readonly PgpEncryptionKey[],
  options: { readonly seipd2: boolean },
): Promise<Sized> {
  if (keys.length === 0) throw new Error("an encrypted message needs a reader");
  const sessionKey = randomBytes(KEY_BYTES);
  const head: Uint8Array[] = [];
  for (const [index, key] of keys.entries()) {
    if (index > 0 && index % READERS_PER_TURN === 0) await setImmediate();
    head.push(publicKeyEncryptedSessionKey(key, sessionKey, AES_256, options.seipd2 ? 6 : 3));
  }
  const literal = literalData(plain);
  const body = options.seipd2 ? seipdVersion2(literal, sessionKey) : seipdVersion1(literal, sessionKey);
  head.push(Buffer.from([0xc0 | TAG_SEIPD]), writeLength(body.size));
  return concatSized(sizedBytes(Buffer.concat(head)), body);
}

/** A literal data packet: binary, no file name, no date. */
function literalData(plain: Sized): Sized {
  const fields = Buffer.from([0x62, 0, 0, 0, 0, 0]);
  const head = Buffer.concat([Buffer.from([0xc0 | TAG_LITERAL]), writeLength(fields.length + plain.size), fields]);
  return concatSized(sizedBytes(head), exactly(plain));
}

/** RFC 9580 5.13.1: random prefix, literal data and its SHA-1 under AES-256 in OpenPGP's CFB, whose IV is zero. */
function seipdVersion1(literal: Sized, sessionKey: Buffer): Sized {
  const random = randomBytes(BLOCK_BYTES);
  const hashed = concatSized(sizedBytes(Buffer.concat([random, random.subarray(-2)])), literal);
  const encrypted = throughStage(hashed, hashed.size + MDC_BYTES, () => {
    const cipher = createCipheriv("aes-256-cfb", sessionKey, Buffer.alloc(BLOCK_BYTES));
    const hash = createHash("sha1");
    return {
      next(chunk) {
        hash.update(chunk);
        return [cipher.update(chunk)];
      },
      end: () => [cipher.update(Buffer.concat([MDC_HEAD, hash.update(MDC_HEAD).digest()]))],
    };
  });
  return concatSized(sizedBytes(Buffer.from([1])), encrypted);
}

/** RFC 9580 5.13.2: chunks of 64 KiB, each with its tag, and a last tag over their number; key and nonce by HKDF from the salt. */
function seipdVersion2(literal: Sized, sessionKey: Buffer): Sized {
  const parameters = Buffer.from([2, AES_256, OCB, CHUNK_SIZE_OCTET]);
  const salt = randomBytes(SALT_BYTES);
  const associated = Buffer.concat([Buffer.from([0xc0 | TAG_SEIPD]), parameters]);
  const derived = Buffer.from(hkdfSync("sha256", sessionKey, salt, associated, KEY_BYTES + NONCE_BYTES - 8));
  const seal = (index: number, chunk: Uint8Array, data: Uint8Array): readonly [Buffer, Buffer] => {
    const nonce = Buffer.concat([derived.subarray(KEY_BYTES), uint64(index)]);
    const cipher = createCipheriv("aes-256-ocb", derived.subarray(0, KEY_BYTES), nonce, {
      authTagLength: AEAD_TAG_BYTES,
    });
    cipher.setAAD(data);
    const sealed = Buffer.concat([cipher.update(chunk), cipher.final()]);
    return [sealed, cipher.getAuthTag()];
  };
  const chunkCount = Math.ceil(literal.size / CHUNK_BYTES);
  const sealed = throughStage(literal, literal.size + AEAD_TAG_BYTES * (chunkCount + 1), () => {
    const full = fullChunks();
    let index = 0;
    const sealAll = (chunks: readonly Buffer[]) => chunks.flatMap((chunk) => seal(index++, chunk, associated));
    return {
      next: (chunk) => sealAll(full.next(chunk)),
      end() {
        const last = sealAll(full.end());
        const total = Buffer.concat([associated, uint64(literal.size)]);
        return [...last, seal(index, new Uint8Array(0), total)[1]];
      },
    };
  });
  return concatSized(sizedBytes(Buffer.concat([parameters, salt])), sealed);
}

/** The same bytes in chunks of exactly 64 KiB, but for the last. */
function fullChunks(): Stage<Buffer> {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  return {
    next(chunk) {
      const full: Buffer[] = [];
      let at = 0;
      while (heldBytes + chunk.length - at >= CHUNK_BYTES) {
        const end = at + CHUNK_BYTES - heldBytes;
        full.push(Buffer.concat([...held, chunk.subarray(at, end)]));
        held = [];
        heldBytes = 0;
        at = end;
      }
      if (at < chunk.length) held.push(Buffer.from(chunk.subarray(at)));
      heldBytes += chunk.length - at;
      return full;
    },
    end: () => (heldBytes > 0 ? [Buffer.concat(held)] : []),
  };
}

function uint64(value: number): Buffer {
  const octets = Buffer.alloc(8);
  octets.writeBigUInt64BE(BigInt(value));
  return octets;
}
