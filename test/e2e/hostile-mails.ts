// Mails made to keep the relay busy: flooded and forged keys, bombs, parts and ASN.1 without end, as much as may be looked at.
import { randomBytes } from "node:crypto";
import { deflateRawSync } from "node:zlib";
import { readPacket, TAG, writePacket } from "../../src/pgp/packets.ts";
import { fixtureBytes } from "../fixtures.ts";
import { certified, integer, rsaBody } from "../pgp/forged-keys.ts";
import { fixtureSigner, opensslSign } from "../smime/signed-mail.ts";

const FROM = "alice@example.com";
const MIB = 1024 * 1024;

/** By what each is. */
export function hostileMails(): ReadonlyMap<string, Buffer> {
  return new Map([
    ["a key with 4,500 third-party certifications", withKeys(floodedKey(1.4 * MIB))],
    ["three such keys that are just small enough to be read", withKeys(...[1, 2, 3].map(() => floodedKey(0.45 * MIB)))],
    ["five keys with 190 forged self-signatures each", withKeys(...[1, 2, 3, 4, 5].map(forgedKey))],
    ["a compressed bomb as keys", withKeys(bomb())],
    ["a compressed bomb as the signature", signed("pgp", keysPart(fixtureBytes("pgp/alice.gpg")), base64(bomb()))],
    ["parts in 400 multiparts", signed("pgp", nested(400), ARMOR)],
    ["200,000 octets of ASN.1 that only open", signed("pkcs7", TEXT, base64(Buffer.alloc(200_000, "3080", "hex")))],
    ["2 MiB of keys hidden in the packets of other keys", withKeys(hiddenKeys(1.45 * MIB))],
    ["15 MiB of opaque S/MIME in pieces", opaque(10.9 * MIB, ["-stream"])],
  ]);
}

const TEXT = "Content-Type: text/plain\r\n\r\nx";
const ARMOR = "\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\nwsBz\r\n-----END PGP SIGNATURE-----";

/** A multipart/signed mail of Alice's; `signature` begins with what is left of its header. */
function signed(by: "pgp" | "pkcs7", first: string, signature: string): Buffer {
  return Buffer.from(
    `From: ${FROM}\r\nContent-Type: multipart/signed; protocol="application/${by}-signature"; boundary=q\r\n\r\n--q\r\n` +
      `${first}\r\n--q\r\nContent-Type: application/${by}-signature\r\n${signature}\r\n--q--\r\n`,
  );
}

function withKeys(...keys: readonly Uint8Array[]): Buffer {
  const parts = keys.map((key) => `--m\r\n${keysPart(key)}\r\n`).join("");
  return signed("pgp", `Content-Type: multipart/mixed; boundary=m\r\n\r\n${parts}--m--\r\n`, ARMOR);
}

const keysPart = (key: Uint8Array) => `Content-Type: application/pgp-keys\r\n${base64(key)}`;

function base64(bytes: Uint8Array): string {
  const lines = Buffer.from(bytes).toString("base64").replace(/.{76}/g, "$&\r\n");
  return `Content-Transfer-Encoding: base64\r\n\r\n${lines}`;
}

/** Alice's key, its User ID certified by as many strangers as fit into this size. */
function floodedKey(sizeBytes: number): Buffer {
  const key = fixtureBytes("pgp/alice.gpg");
  let at = 0;
  for (let tag = 0; tag !== TAG.userId;) {
    const packet = readPacket(key, at);
    if ("fault" in packet) throw new Error(`the fixture has a ${packet.fault} packet`);
    [tag, at] = [packet.tag, packet.end];
  }
  const certifications: Buffer[] = [];
  for (let size = key.length; size < sizeBytes; size += certifications.at(-1)!.length)
    certifications.push(certification());
  return Buffer.concat([key.subarray(0, at), ...certifications, key.subarray(at)]);
}

/** By a stranger with an RSA key: version 4, type 0x10, SHA-256, and random integers. */
function certification(): Buffer {
  const hashed = Buffer.from("000605025f5e1001", "hex");
  const unhashed = Buffer.concat([Buffer.from("000a0910", "hex"), randomBytes(8)]);
  return writePacket(
    TAG.signature,
    Buffer.concat([Buffer.from("04100108", "hex"), hashed, unhashed, randomBytes(2), integer(2048)]),
  );
}

/** A key of its own whose self-signatures all name it and none of which verifies. */
function forgedKey(): Buffer {
  return certified(rsaBody(4096), `Alice <${FROM}>`, { count: 190, sign: () => [integer(4096)] });
}

/** Each User ID packet holds another key, so that the ring is read anew from each; an octet that is no packet ends it. */
function hiddenKeys(sizeBytes: number): Buffer {
  const key = writePacket(TAG.publicKey, Buffer.from("040101010101000101000101", "hex"));
  return Buffer.concat([key, Buffer.alloc(sizeBytes, writePacket(TAG.userId, key)), Buffer.from([0])]);
}

/** A SignedData of Alice's with its content inside, one octet of which is another now. */
function opaque(sizeBytes: number, options: readonly string[]): Buffer {
  const content = Buffer.alloc(sizeBytes, "Text of a mail.\r\n");
  const cms = opensslSign(content, { by: fixtureSigner("alice"), isOpaque: true, options });
  cms[cms.indexOf("Text")] = 0;
  return Buffer.from(
    `From: ${FROM}\r\nContent-Type: application/pkcs7-mime; smime-type=signed-data\r\n${base64(cms)}\r\n`,
  );
}

/** Compressed data (RFC 9580 5.6) in compressed data: 256 MiB of a literal in a few hundred octets. */
function bomb(): Buffer {
  const compressed = (content: Uint8Array) =>
    writePacket(8, Buffer.concat([Buffer.from([1]), deflateRawSync(content, { level: 9 })]));
  const literal = writePacket(11, Buffer.concat([Buffer.from("b\0\0\0\0\0", "latin1"), Buffer.alloc(256 * MIB)]));
  return compressed(compressed(literal));
}

function nested(depth: number): string {
  const heads = Array.from(
    { length: depth },
    (_, n) => `Content-Type: multipart/mixed; boundary=b${n}\r\n\r\n--b${n}\r\n`,
  );
  return `${heads.join("")}x`;
}
