// Content-Type is read as RFC 2045 and 2231 write it, or refused where two programs could read two things.
import { describe, expect, test } from "vitest";
import { contentType } from "../../src/mail/content-type.ts";
import { partsOf, readEntity } from "../../src/mail/mime.ts";

const entity = (text: string) => readEntity(Buffer.from(text, "latin1"));
const typed = (value: string) => contentType(readEntity(Buffer.from(`Content-Type: ${value}\r\n\r\n`)).header);

describe("Content-Type", () => {
  test("that is missing is text/plain", () => {
    expect(contentType(entity("A: 1\r\n\r\n").header)).toEqual({ type: "text/plain", parameters: new Map() });
  });

  test.each<[string, string, Record<string, string>]>([
    ["TEXT/Plain", "text/plain", {}],
    ["text/plain;", "text/plain", {}],
    ["text/plain; ; charset=utf-8 ;", "text/plain", { charset: "utf-8" }],
    ["text/plain;\r\n\tCharset=UTF-8;\r\n format=flowed", "text/plain", { charset: "UTF-8", format: "flowed" }],
    ['a/b; name="x \\"y\\"; z=1"', "a/b", { name: 'x "y"; z=1' }],
    ['a/b; name=""', "a/b", { name: "" }],
    ["a/b; name*=utf-8'de'J%C3%B6rg.asc", "a/b", { name: "Jörg.asc" }],
    ["a/b; name*=iso-8859-1''J%F6rg", "a/b", { name: "Jörg" }],
    ["a/b; name*1=b; name*0=a", "a/b", { name: "ab" }],
    ["a/b; name*0*=utf-8''%C3; name*1*=%B6; name*2=x", "a/b", { name: "öx" }],
  ])("%s is understood", (value, type, parameters) => {
    expect(typed(value)).toEqual({ type, parameters: new Map(Object.entries(parameters)) });
  });

  test.each([
    ["HARV-28: boundary twice", "multipart/mixed; boundary=a; boundary=b"],
    ["HARV-28: boundary twice in different case", 'multipart/mixed; boundary=a; BOUNDARY="a"'],
    ["boundary in pieces", "multipart/mixed; boundary*0=a; boundary*1=b"],
    ["boundary with a character set", "multipart/mixed; boundary*=us-ascii''a"],
    ["boundary with an escape", 'multipart/mixed; boundary="a\\b"'],
    ["protocol in pieces", "multipart/signed; protocol*0=application/; protocol*1=pgp-signature"],
    ["a parameter plain and encoded", "a/b; name=x; name*=utf-8''y"],
    ["a piece missing", "a/b; name*0=x; name*2=y"],
    ["a piece twice", "a/b; name*0=x; name*0=y"],
    ["a number with a zero before", "a/b; name*0=x; name*01=y"],
    ["an encoded piece without a character set", "a/b; name*0=x; name*1*=%41"],
    ["a character set that is not known", "a/b; name*=klingon''x"],
    ["octets that are not of the character set", "a/b; name*=utf-8''%ff"],
    ["a broken escape", "a/b; name*=utf-8''%4"],
    ["a line break that is encoded", "a/b; name*=utf-8''x%0D%0Ay"],
    ["a comment", "text/plain; charset=us-ascii (Plain text)"],
    ["white space around the equals sign", "text/plain; charset = us-ascii"],
    ["an open quote", 'a/b; name="x'],
    ["text after a quoted string", 'a/b; name="x"y'],
    ["a parameter without semicolon", "a/b name=x"],
    ["no subtype", "text"],
    ["nothing", ""],
    ["a special character in a token", "multipart/mixed; boundary=a=b"],
    ["a NUL", "text/plain; name=\0"],
    ["a bare line feed", "text/plain;\n charset=utf-8"],
    ["too many parameters", `a/b${Array.from({ length: 60 }, (_, at) => `; p${at}=x`).join("")}`],
    ["too many characters", `a/b; name="${"x".repeat(9000)}"`],
  ])("with %s is refused", (_, value) => {
    expect(typed(value)).toEqual({ fault: expect.stringMatching(/^[A-Za-z].+[^.]$/) as string });
  });

  test("HARV-28: of two fields is refused", () => {
    const two = entity("Content-Type: text/plain\r\ncontent-type : text/plain\r\n\r\n");
    expect(contentType(two.header)).toEqual({ fault: "more than one Content-Type" });
    expect(partsOf(two)).toEqual({ fault: "more than one Content-Type" });
  });
});
