// Contents and signature parts in a table: the verdict is gpg's, or a stricter one whose reason stands beside it.
import { afterAll, describe, expect, test } from "vitest";
import { decodeArmor } from "../../src/pgp/armor.ts";
import { writePacket } from "../../src/pgp/packets.ts";
import { verifyPgpSignature } from "../../src/pgp/signed-message.ts";
import { fixtureCertificates, NOW } from "./fixture-keys.ts";
import { gnupgHome } from "./gnupg.ts";
import { isGoodForGpg } from "./made-signatures.ts";
import { atTime, detachedSignature } from "./signed-mail.ts";

const alice = (await fixtureCertificates()).get("alice")!;
const home = gnupgHome(true);
afterAll(() => home.close());

const sign = (content: string, options: { isTextMode?: boolean; isBinary?: boolean; digest?: string } = {}) =>
  detachedSignature(home, Buffer.from(content, "latin1"), { signer: alice.fingerprint, signedAt: NOW, ...options });

async function verdicts(content: string, signature: Uint8Array) {
  const bytes = Buffer.from(content, "latin1");
  const ours = await verifyPgpSignature(bytes, signature, [alice.bytes], NOW);
  return {
    gpg: isGoodForGpg(home, bytes, signature, atTime(NOW)) ? "good" : "bad",
    ours: ours.kind === "good" ? "good" : "bad",
    reason: ours.kind === "good" ? undefined : ours.reason,
  };
}

describe("what was signed and what is shown", () => {
  test.each([
    ["binary", "a\r\nb\r\n", "a\r\nb\r\n", "good"],
    ["binary", "a\r\nb\r\n", "a\nb\n", "bad"],
    ["binary", "a\nb\n", "a\nb\n", "good"],
    ["binary", "a\r\nb\r\n", "a\r\nb", "bad"],
    ["binary", "a\r\nb\r\n", "a\r\nb\r\n\r\n", "bad"],
    ["binary", "a\r\nb\r\n", "a \r\nb\r\n", "bad"],
    ["binary", "a \t\r\nb\r\n", "a \t\r\nb\r\n", "good"],
    ["binary", "a\0b\xff\r\n", "a\0b\xff\r\n", "good"],
    ["binary", "", "", "good"],
    ["binary", "- a\r\nFrom b\r\n", "- a\r\nFrom b\r\n", "good"],
    ["text", "a\r\nb\r\n", "a\r\nb\r\n", "good"],
    ["text", "a\r\nb\r\n", "a\nb\n", "good"],
    ["text", "a\nb\n", "a\r\nb\r\n", "good"],
    ["text", "a\nb\n", "a\r\nb\n", "good"],
    ["text", "a\r\nb\r\n", "a\r\nb", "bad"],
    ["text", "a\r\nb", "a\r\nb", "good"],
    ["text", "a\r\nb\r\n", "a \r\nb\r\n", "bad"],
    ["text", "a\r\nb\r\n", "a\t\r\nb\r\n", "bad"],
    ["text", "a \t\r\nb\r\n", "a \t\r\nb\r\n", "good"],
    ["text", "a \t\r\nb\r\n", "a\r\nb\r\n", "bad"],
    ["text", "a\rb\r\n", "a\rb\r\n", "good"],
    ["text", "a\rb\r\n", "a\r\nb\r\n", "bad"],
    ["text", "a\xe9\r\n", "a\xe9\n", "good"],
    ["text", "a\r\n", "a\r\n\r\n", "bad"],
    ["text", "", "", "good"],
  ])("a %s signature over %j is, shown %j, %s", async (mode, signed, shown, verdict) => {
    const signature = sign(signed, { isTextMode: mode === "text" });
    expect(await verdicts(shown, signature)).toMatchObject({ gpg: verdict, ours: verdict });
  });

  test.each([
    ["gpg drops every CR before a line end", "a\r\nb\r\n", "a\r\r\nb\r\n"],
    ["gpg drops a CR at the very end", "a\r\nb", "a\r\nb\r"],
  ])("a text signature is judged more strictly where %s", async (_, signed, shown) => {
    const { gpg, ours } = await verdicts(shown, sign(signed, { isTextMode: true }));
    expect([gpg, ours]).toEqual(["good", "bad"]);
  });
});

describe("the signature part", () => {
  const CONTENT = "a\r\nb\r\n";
  const text = sign(CONTENT).toString("latin1");
  const binary = sign(CONTENT, { isBinary: true });
  const from = (armor: string) => Buffer.from(armor, "latin1");
  const body = decodeArmor(text).blocks[0]!.bytes;
  const base64 = Buffer.from(body).toString("base64");
  const block = (type: string, content: string) =>
    from(`-----BEGIN PGP ${type}-----\n\n${content}\n-----END PGP ${type}-----\n`);

  test.each([
    ["armored", from(text), "good"],
    ["binary", binary, "good"],
    ["armored with CRLF", from(text.replace(/\n/g, "\r\n")), "good"],
    ["with armor headers", from(text.replace("\n\n", "\nVersion: 1\nComment: x\n\n")), "good"],
    ["without a checksum", from(text.replace(/^=[A-Za-z0-9+/]{4}\n/m, "")), "good"],
    ["with text around", from(`before\n${text}after\n`), "good"],
    ["cut off", binary.subarray(0, -1), "bad"],
    ["cut off within the armor", from(text.slice(0, 120)), "bad"],
    ["empty", Buffer.alloc(0), "bad"],
    ["no OpenPGP at all", from("hello\n"), "bad"],
    ["a key", Buffer.from(alice.bytes), "bad"],
    ["a literal message", writePacket(11, from("b\0\0\0\0\0a\r\nb\r\n")), "bad"],
  ] as const)("%s is judged as by gpg", async (_, signature, verdict) => {
    expect(await verdicts(CONTENT, signature)).toMatchObject({ gpg: verdict, ours: verdict });
  });

  test.each([
    ["HARV-20: SHA-1 is weak", sign(CONTENT, { digest: "SHA1" }), /weak digest, SHA-1/],
    ["HARV-20: SHA-224 is weak", sign(CONTENT, { digest: "SHA224" }), /weak digest, SHA-224/],
    ["one signature twice", Buffer.concat([binary, binary]), /several signatures/],
    ["a signature in armor of a message", block("MESSAGE", base64), /an OpenPGP message instead/],
    ["a second armored block", from(text + text), /2 armored blocks/],
  ] as const)("%s: refused, although gpg takes it", async (_, signature, reason) => {
    const { gpg, ours, reason: given } = await verdicts(CONTENT, signature);
    expect([gpg, ours]).toEqual(["good", "bad"]);
    expect(given).toMatch(reason);
  });

  test("a wrong checksum of the armor is refused", async () => {
    const wrong = from(text.replace(/^=[A-Za-z0-9+/]{4}$/m, "=AAAA"));
    expect((await verdicts(CONTENT, wrong)).reason).toMatch(/checksum of the armor is wrong/);
  });

  test("HARV-34: compressed data, even a bomb, is refused without being opened", async () => {
    const bomb = writePacket(8, Buffer.from([1, 0xed, 0xc1, 0x01, 0x01, 0, 0, 0, 0x80, 0x90, 0xfe, 0xaf]));
    for (const signature of [bomb, Buffer.concat([binary, bomb]), block("SIGNATURE", bomb.toString("base64"))])
      expect((await verdicts(CONTENT, signature)).reason).toMatch(/a packet of type 8; only detached/);
  });

  test.each([
    ["HARV-34: a one-pass signature", writePacket(4, Buffer.alloc(13, 3)), /a packet of type 4; only detached/],
    ["a signature of version 3", writePacket(2, Buffer.alloc(40, 3)), /of a version that is not read/],
    ["more than 16 KiB", Buffer.alloc(17_000, 0xc2), /at most 16384 are read/],
    ["11 signatures", Buffer.concat(Array.from({ length: 11 }, () => binary)), /more than 10 signatures/],
    [
      "a signature without issuer",
      writePacket(2, Buffer.from([4, 0, 22, 8, 0, 6, 5, 2, 0x6a, 0, 0, 0, 0, 0, 1, 2, 0, 8, 1, 0, 8, 1])),
      /no key came along for key id none/,
    ],
    ["a signature over a User ID", writePacket(2, retyped(binary, 0x13)), /is of type 19 and not over a message/],
    ["a stand-alone signature", writePacket(2, retyped(binary, 0x02)), /is of type 2 and not over a message/],
  ])("%s is refused", async (_, signature, reason) => {
    const { ours, reason: given } = await verdicts(CONTENT, signature);
    expect(ours).toBe("bad");
    expect(given).toMatch(reason);
  });

  function retyped(signature: Buffer, type: number): Buffer {
    const changed = Buffer.from(signature.subarray(2));
    changed.writeUInt8(type, 1);
    return changed;
  }
});
