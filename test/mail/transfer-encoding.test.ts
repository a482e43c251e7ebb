// Transfer encodings are undone to the octet, or refused; no input makes more than it has or takes long.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodedBody, readEntity } from "../../src/mail/mime.ts";

/** Far above what any of this takes. */
const MAX_MS = 5000;
const entity = (text: string) => readEntity(Buffer.from(text, "latin1"));

describe("a transfer encoding", () => {
  const decoded = (encoding: string, body: string) => {
    const read = decodedBody(entity(`Content-Transfer-Encoding: ${encoding}\r\n\r\n${body}`));
    return "fault" in read ? read : read.bytes.toString("latin1");
  };

  test.each([
    ["7bit", "a=20\r\n", "a=20\r\n"],
    ["8BIT ", "\xe9\r\n", "\xe9\r\n"],
    ["binary", "\0\n", "\0\n"],
    ["base64", "aGVs\r\nbG8=\r\n", "hello"],
    ["base64", "aGVsbG8=  \t\r\n\r\n", "hello"],
    ["base64", "aGVs\nbG8=", "hello"],
    ["Base64", "", ""],
    ["quoted-printable", "caf=E9=e9 =\r\n x=3D \t\r\ny=", { fault: "quoted-printable with a stray equals sign" }],
    ["quoted-printable", "caf=E9=e9 = \r\n x=3D \t\r\ny", "caf\xe9\xe9  x=\r\ny"],
  ])("%s is undone (%j)", (encoding, body, expected) => {
    expect(decoded(encoding, body)).toEqual(expected);
  });

  test("that is not said is 7bit", () => {
    expect(decodedBody(entity("A: 1\r\n\r\nx"))).toEqual({ bytes: Buffer.from("x") });
  });

  test.each([
    ["base64", "aGVs bG8="],
    ["base64", "aGVsbG8"],
    ["base64", "aGVsbG9="],
    ["base64", "aGU=aGU="],
    ["base64", "aGVs*bG8="],
    ["base64", "aGVs-G8="],
    ["base64", "aGVs\rbG8="],
    ["base64", "This is base64:\r\naGVsbG8="],
    ["quoted-printable", "a=4"],
    ["quoted-printable", "a=zz"],
    ["quoted-printable", "a\xe9"],
    ["quoted-printable", "a\0"],
    ["quoted-printable", "a\rb"],
    ["x-uuencode", "x"],
    ["base64 (comment)", "aGVsbG8="],
    ["7bit\r\nContent-Transfer-Encoding: base64", "aGVsbG8="],
  ])("%s of %j is refused", (encoding, body) => {
    expect(decoded(encoding, body)).toEqual({ fault: expect.stringMatching(/^\S.+[^.]$/) as string });
  });

  const PIECE = 256 * 1024;
  test.each([PIECE - 4, PIECE, PIECE + 4, 4 * PIECE])(
    "base64 is undone piece by piece: %i characters and more",
    (size) => {
      const bytes = Buffer.alloc((size / 4) * 3, "a text");
      const first = bytes.toString("base64");
      for (const rest of ["", "\r\nQQ==", "\r\nQUI=\r\n"])
        expect(decoded("base64", first + rest)).toBe(`${bytes.toString()}${Buffer.from(rest, "base64").toString()}`);
      const padded = `${first.slice(0, -4)}QQ==`;
      for (const wrong of [`${padded}QUJD`, `${first}Q`, `${first}Q*QQ`, `${first.slice(0, -3)}*QQ${first}`])
        expect(decoded("base64", wrong)).toHaveProperty("fault");
      const lines = first.replace(/.{76}/g, "$& \r\n");
      expect(decoded("base64", lines)).toBe(bytes.toString());
    },
  );

  test("of many megabytes of blanks is answered at once", () => {
    const start = performance.now();
    for (const encoding of ["base64", "quoted-printable"]) decoded(encoding, `${" ".repeat(8_000_000)}x`);
    expect(performance.now() - start).toBeLessThan(MAX_MS);
  });

  test("never makes more octets than it was given, and gives back what was encoded", () => {
    const property = fc.property(fc.uint8Array({ maxLength: 200 }), fc.string({ maxLength: 100 }), (bytes, junk) => {
      const base64 = Buffer.from(bytes).toString("base64").replace(/.{20}/g, "$& \r\n");
      expect(decoded("base64", base64)).toBe(Buffer.from(bytes).toString("latin1"));
      for (const encoding of ["base64", "quoted-printable"]) {
        const body = decoded(encoding, junk);
        if (typeof body === "string") expect(body.length).toBeLessThanOrEqual(Buffer.byteLength(junk, "latin1"));
      }
    });
    fc.assert(property, { numRuns: 500 });
  });
});
