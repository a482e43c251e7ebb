// OpenPGP keys made by hand, of any algorithm and size, with as many self-signatures as wanted that need no secret key.
import { createHash, generateKeyPairSync, generatePrimeSync, randomBytes } from "node:crypto";
import { writePacket } from "../../src/pgp/packets.ts";
import { fingerprintOf } from "../../src/pgp/public-key.ts";

const DIGESTS: Readonly<Record<number, string>> = { 8: "sha256", 10: "sha512", 11: "sha224", 12: "sha3-256" };
const CREATED_S = 1_600_000_000;

export type Signing = {
  readonly count: number;
  readonly digest?: number;
  /** The integers of a signature over these octets; random ones, which verify nothing, by default. */
  readonly sign?: (content: Buffer) => readonly Buffer[];
  /** Signatures are dated later and later until the digest is as wanted. */
  readonly isWanted?: (digest: Buffer) => boolean;
};

/** A multiprecision integer (RFC 9580 3.2) of exactly `bits` bits, random and odd, or with these octets. */
export function integer(bits: number, octets: Buffer = randomBytes(Math.ceil(bits / 8))): Buffer {
  const top = (bits - 1) % 8;
  octets[0] = ((octets[0] ?? 0) & (2 ** (top + 1) - 1)) | (2 ** top);
  octets[octets.length - 1]! |= 1;
  return Buffer.concat([Buffer.from([bits >> 8, bits & 0xff]), octets]);
}

/** The body of a version 4 public-key packet. */
export function keyBody(algorithm: number, fields: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(6);
  head[0] = 4;
  head.writeUInt32BE(CREATED_S, 1);
  head[5] = algorithm;
  return Buffer.concat([head, ...fields]);
}

export const rsaBody = (bits: number, exponentBits = 17) => keyBody(1, [integer(bits), integer(exponentBits)]);

export function dsaBody(bits: number, groupBits = 256): Buffer {
  const group = groupBits > 256 ? undefined : Buffer.from(generatePrimeSync(groupBits));
  return keyBody(17, [integer(bits), integer(groupBits, group), integer(bits - 1), integer(bits - 1)]);
}

/** An ECDSA key of a curve of OpenSSL's, with its secret half. */
export function ecdsaKey(curve: string, oid: string, bits: number) {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: curve });
  const octets = Math.ceil(bits / 8);
  const point = publicKey.export({ type: "spki", format: "der" }).subarray(-2 * octets - 1);
  const pointBits = 2 * octets * 8 + 3;
  const head = Buffer.from([pointBits >> 8, pointBits & 0xff]);
  const identifier = Buffer.from(oid, "hex");
  const body = keyBody(19, [Buffer.from([identifier.length]), identifier, head, point]);
  return { body, privateKey };
}

/** A transferable public key with one User ID, and certifications of it whose digest is as it says and which need not verify. */
export function certified(body: Buffer, userId: string, signing: Signing): Buffer {
  const signatures: Buffer[] = [];
  for (let created = CREATED_S + 1; signatures.length < signing.count; created++) {
    const signature = certification(body, userId, created, signing);
    if (signature !== undefined) signatures.push(writePacket(2, signature));
  }
  return Buffer.concat([writePacket(6, body), writePacket(13, Buffer.from(userId)), ...signatures]);
}

function certification(body: Buffer, userId: string, created: number, signing: Signing): Buffer | undefined {
  const { digest = 8, sign = () => [integer(250), integer(249)], isWanted = () => true } = signing;
  const time = uint32(created);
  const hashedArea = Buffer.concat([Buffer.from([5, 2]), time, Buffer.from([2, 27, 0x0f])]);
  const head = Buffer.concat([Buffer.from([4, 0x13, body[5]!, digest]), uint16(hashedArea.length), hashedArea]);
  const user = Buffer.from(userId);
  const content = Buffer.concat([
    ...[Buffer.from([0x99]), uint16(body.length), body, Buffer.from([0xb4]), uint32(user.length), user],
    ...[head, Buffer.from([4, 0xff]), uint32(head.length)],
  ]);
  const hash = createHash(DIGESTS[digest]!).update(content).digest();
  if (!isWanted(hash)) return undefined;
  const keyId = Buffer.from(fingerprintOf(body), "hex").subarray(12);
  const issuer = Buffer.concat([Buffer.from([9, 16]), keyId]);
  return Buffer.concat([head, uint16(issuer.length), issuer, hash.subarray(0, 2), ...sign(content)]);
}

function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

function uint32(value: number): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(value);
  return octets;
}
