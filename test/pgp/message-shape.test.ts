// What is seen of messages that gpg, rnp and openpgp.js wrote, and what is no encrypted message.
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { decodeArmor } from "../../src/pgp/armor.ts";
import { isWholeMessage, readMessageShape } from "../../src/pgp/message-shape.ts";
import { writePacket } from "../../src/pgp/packets.ts";
import { fixtureBytes } from "../fixtures.ts";
import { gnupgHome } from "./gnupg.ts";

const home = gnupgHome(true);
afterAll(() => home.close());

const sample = (name: string) =>
  decodeArmor(fixtureBytes(`pgp-messages/${name}.asc`).toString("latin1")).blocks[0]!.bytes;
const ALICE = "2f50a34d0942ee83";
const OLAF = "9d543aeb36079fd1";

describe("samples of other programs", () => {
  test.each([
    ["v4-cv25519-seipd1", 1],
    ["v4-rsa-seipd1", 1],
    ["v4-p256-seipd1", 1],
    ["v4-elgamal-seipd1", 1],
    ["v4-two-recips", 2],
    ["gpg-rsa-cv", 1],
    ["gpg-throw", 1],
    ["v4-cv25519-hiddenrecip", 1],
    ["v6-x25519-seipd2", 1],
    ["v4-x25519-seipd2-ocb-featflag", 1],
  ])("%s is a whole message for %d", (name, readers) => {
    const bytes = sample(name);
    expect(readMessageShape(bytes).readerIds.length).toBe(readers);
    expect(isWholeMessage(bytes)).toBe(true);
    expect(isWholeMessage(bytes.subarray(0, -1))).toBe(false);
    expect(isWholeMessage(Buffer.concat([bytes, Buffer.from([0])]))).toBe(false);
    expect(isWholeMessage(Buffer.concat([bytes, writePacket(11, Buffer.from("b"))]))).toBe(false);
  });

  test("hidden readers are sixteen zeros", () => {
    expect(readMessageShape(sample("gpg-throw")).readerIds).toEqual(["0".repeat(16)]);
  });

  test("a v6 reader is its fingerprint", () => {
    expect(readMessageShape(sample("v6-x25519-seipd2"))).toMatchObject({
      readerIds: [expect.stringMatching(/^c5cf213d31a69ab9[0-9a-f]{48}$/) as string],
      seipdVersion: 2,
    });
  });

  test.each([
    ["gpg-nomdc", /without integrity protection/],
    ["rnp-aead-EAX", /LibrePGP/],
    ["rnp-aead-OCB", /LibrePGP/],
  ])("%s is refused", (name, reason) => {
    expect(() => readMessageShape(sample(name))).toThrow(reason);
    expect(isWholeMessage(sample(name))).toBe(false);
  });
});

describe("messages of gpg", () => {
  test("with partial lengths are whole, without their end they are not", () => {
    const { stdout, status } = home.run(
      ["--encrypt", "--trust-model", "always", "-z0", "-r", ALICE, "-r", OLAF],
      randomBytes(200_000),
    );
    expect(status).toBe(0);
    const shape = readMessageShape(stdout);
    expect([...shape.readerIds].toSorted()).toEqual([ALICE, OLAF]);
    expect(shape.totalSize).toBeUndefined();
    expect(isWholeMessage(stdout)).toBe(true);
    expect(isWholeMessage(stdout.subarray(0, -1))).toBe(false);
    expect(isWholeMessage(Buffer.concat([stdout, stdout]))).toBe(false);
  });

  test("for a password as well are refused: anybody who knows it could read", () => {
    const { stdout, status } = home.run(
      [
        "--encrypt",
        "--symmetric",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        "x",
        "--trust-model",
        "always",
        "-r",
        ALICE,
      ],
      Buffer.from("secret"),
    );
    expect(status).toBe(0);
    expect(() => readMessageShape(stdout)).toThrow(/password/);
  });

  test("that are only signed or stored are refused", () => {
    const signed = home.run(["--sign", "-z0", "-u", "alice@example.com"], Buffer.from("clear"));
    expect(signed.status).toBe(0);
    expect(() => readMessageShape(signed.stdout)).toThrow(/one-pass/);
    expect(() => readMessageShape(home.run(["--store", "-z0"], Buffer.from("clear")).stdout)).toThrow(/literal data/);
  });
});

describe("made by hand", () => {
  const pkesk3 = writePacket(1, Buffer.concat([Buffer.from([3]), Buffer.alloc(8, 0xab), Buffer.from([1, 0, 8, 1])]));
  const pkesk6 = writePacket(1, Buffer.concat([Buffer.from([6, 21, 4]), Buffer.alloc(20, 0xcd), Buffer.from([25, 1])]));
  const hidden6 = writePacket(1, Buffer.from([6, 0, 25, 1]));
  const seipd = (version: number) => writePacket(18, Buffer.concat([Buffer.from([version]), Buffer.alloc(60)]));

  test("readers are told in their order, with where the content begins and the message ends", () => {
    const bytes = Buffer.concat([pkesk6, hidden6, seipd(2)]);
    expect(readMessageShape(bytes)).toEqual({
      readerIds: ["cd".repeat(20), "0".repeat(16)],
      seipdVersion: 2,
      contentStart: bytes.length - 61,
      totalSize: bytes.length,
    });
  });

  test.each([
    ["nothing", Buffer.alloc(0), /cut off/],
    ["text", Buffer.from("hello"), /no OpenPGP packet/],
    ["no reader", seipd(1), /no reader/],
    ["a reader of version 6 before SEIPDv1", Buffer.concat([pkesk6, seipd(1)]), /do not fit/],
    ["a reader of version 3 before SEIPDv2", Buffer.concat([pkesk3, seipd(2)]), /do not fit/],
    ["readers of both versions", Buffer.concat([pkesk3, pkesk6, seipd(1)]), /do not fit/],
    ["SEIPD of version 3", Buffer.concat([pkesk3, seipd(3)]), /unknown version/],
    ["a reader without data", pkesk3, /cut off/],
    ["clear text after a reader", Buffer.concat([pkesk3, writePacket(11, Buffer.from("b"))]), /literal data/],
    ["a marker before all", Buffer.concat([writePacket(10, Buffer.from("PGP")), pkesk3, seipd(1)]), /type 10/],
    ["a reader cut off", pkesk3.subarray(0, 9), /cut off/],
    [
      "a reader with a fingerprint of wrong length",
      Buffer.concat([writePacket(1, Buffer.from([6, 3, 4, 1, 1, 25, 1])), seipd(2)]),
      /malformed/,
    ],
  ])("%s is refused", (_, bytes, reason) => {
    expect(() => readMessageShape(bytes)).toThrow(reason);
    expect(isWholeMessage(bytes)).toBe(false);
  });

  test("a definite length beyond the end is no whole message", () => {
    const bytes = Buffer.concat([pkesk3, seipd(1)]);
    expect(isWholeMessage(bytes)).toBe(true);
    bytes[pkesk3.length + 1]! += 1;
    expect(isWholeMessage(bytes)).toBe(false);
  });

  test("whatever octets there are, an answer is given", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.boolean(), (bytes, isBehindReader) => {
        expect(typeof isWholeMessage(isBehindReader ? Buffer.concat([pkesk3, bytes]) : bytes)).toBe("boolean");
      }),
      { numRuns: 1000 },
    );
  });
});
