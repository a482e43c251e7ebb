// Parts of incoming mail are the octets that other programs take for them too, or there are none.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bodyOf, decodedBody, partsOf, readEntity, walk } from "../../src/mail/mime.ts";
import { verifySignedData } from "../../src/smime/signed-data.ts";
import {
  clearSignedMail,
  fixtureSigner,
  opensslMail,
  opensslReads,
  opensslSign,
  textEntity,
} from "../smime/signed-mail.ts";

const NOW = Date.UTC(2026, 10, 25);
/** Far above what any of this takes. */
const MAX_MS = 5000;
const entity = (text: string) => readEntity(Buffer.from(text, "latin1"));
const multipart = (body: string, boundary = "b", type = "mixed") =>
  entity(`Content-Type: multipart/${type}; boundary="${boundary}"\r\n\r\n${body}`);
const texts = (body: string, boundary?: string, type?: string) => {
  const split = partsOf(multipart(body, boundary, type));
  return "fault" in split ? split : split.parts.map((part) => part.toString("latin1"));
};

describe("an entity", () => {
  test("keeps the octets of its body", () => {
    const bytes = Buffer.from("A: 1\r\n\r\n\xff\0x\r\n", "latin1");
    expect(bodyOf(readEntity(bytes))).toEqual(Buffer.from("\xff\0x\r\n", "latin1"));
  });

  test("without a header begins with a blank line", () => {
    expect(bodyOf(entity("\r\nbody")).toString()).toBe("body");
  });

  test("with a header above the limit has no field and no body", () => {
    const large = entity(`A: ${"x".repeat(300_000)}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nbody`);
    expect(large.header.fields).toEqual([]);
    expect(bodyOf(large)).toHaveLength(0);
  });
});

describe("a multipart", () => {
  test("gives its parts without the line end before the delimiter", () => {
    expect(texts("--b\r\n\r\none\r\n\r\n--b\r\nA: 1\r\n\r\ntwo\r\n--b--\r\n")).toEqual([
      "\r\none\r\n",
      "A: 1\r\n\r\ntwo",
    ]);
  });

  test("may have a preamble, an epilogue and white space after its delimiters", () => {
    expect(texts("pre\r\n--b \t\r\n\r\none\r\n--b-- \r\nepilogue --b")).toEqual(["\r\none"]);
  });

  test("may end with its closing delimiter", () => {
    expect(texts("--b\r\n\r\none\r\n--b--")).toEqual(["\r\none"]);
  });

  test("HARV-28: text like a delimiter within a line is text", () => {
    expect(texts("--b\r\n\r\nx --b\r\n> --b--\r\n--b--\r\n")).toEqual(["\r\nx --b\r\n> --b--"]);
  });

  test("gives the parts of an outer boundary that is no prefix of the inner one", () => {
    const inner = "Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nx\r\n--i--\r\n";
    expect(texts(`--b\r\n${inner}\r\n--b--\r\n`)).toEqual([inner]);
  });

  test.each([
    ["HARV-28: no closing delimiter", "--b\r\n\r\none\r\n", /closing delimiter is missing/],
    ["no delimiter at all", "one", /closing delimiter is missing/],
    ["HARV-28: an inner boundary that begins as the outer", "--b\r\n\r\n--b1\r\n\r\n--b--\r\n", /goes on/],
    ["a closing delimiter that goes on", "--b\r\n\r\none\r\n--b--x\r\n--b--\r\n", /goes on/],
    ["one hyphen after the boundary", "--b\r\n\r\none\r\n--b-\r\n--b--\r\n", /goes on/],
    ["a delimiter cut off at the end", "--b\r\n\r\none\r\n--b", /goes on/],
    ["HARV-28: a delimiter after a bare line feed", "--b\r\n\r\none\n--b\r\n\r\n\r\n--b--\r\n", /bare line feed/],
    ["HARV-28: a delimiter after a bare carriage return", "--b\r\n\r\none\r--b\r\n\r\n\r\n--b--\r\n", /bare carriage/],
    ["a delimiter before a bare line feed", "--b\n\r\none\r\n--b--\r\n", /goes on/],
    [
      "a part after the closing delimiter",
      "--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
      /follows the closing/,
    ],
    ["nothing but a closing delimiter", "--b--\r\n", /empty/],
    ["two delimiters that share a line end", "--b\r\n--b\r\n\r\nx\r\n--b--\r\n", /empty/],
    ["more than 100 parts", `${"--b\r\n\r\nx\r\n".repeat(101)}--b--\r\n`, /more than 100 parts/],
  ])("with %s has no parts", (_, body, reason) => {
    expect(texts(body)).toEqual({ fault: expect.stringMatching(reason) as string });
  });

  test.each([
    ["HARV-28: a blank at its end", "b "],
    ["no character", ""],
    ["71 characters", "x".repeat(71)],
    ["a character that is not allowed", "b*"],
    ["one beyond ASCII", "b\u00e9"],
  ])("whose boundary has %s has no parts", (_, boundary) => {
    expect(texts(`--${boundary}\r\n\r\nx\r\n--${boundary}--\r\n`, boundary)).toEqual({
      fault: "boundary of multipart/mixed is malformed",
    });
  });

  test("without a boundary, or in base64, has no parts", () => {
    expect(partsOf(entity("Content-Type: multipart/mixed\r\n\r\n"))).toHaveProperty("fault");
    const head = "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    expect(partsOf(entity(`${head}--b\r\n\r\nx\r\n--b--\r\n`))).toEqual({ fault: "multipart/mixed in base64" });
  });

  test("whose header runs into the body has no parts", () => {
    expect(partsOf(entity("Content-Type: multipart/mixed; boundary=b\r\n--b\r\n\r\nx\r\n--b--\r\n"))).toEqual({
      fault: "no blank line between header and body",
    });
  });

  test.each([1, 3])("signed, with %i parts instead of two, has none", (count) => {
    const body = `${"--b\r\n\r\nx\r\n".repeat(count)}--b--\r\n`;
    expect(texts(body, "b", "mixed")).toHaveLength(count);
    expect(texts(body, "b", "signed")).toEqual({ fault: `multipart/signed with ${count} parts instead of 2` });
  });

  test("of many megabytes of hyphens is answered at once", () => {
    const start = performance.now();
    const hyphens = "-".repeat(70);
    expect(texts("-".repeat(8_000_000), hyphens)).toHaveProperty("fault");
    expect(texts(` ${"-".repeat(8_000_000)}`, hyphens)).toHaveProperty("fault");
    expect(texts(`--b\r\n\r\n${"\n--b".repeat(1_000_000)}`)).toHaveProperty("fault");
    expect(performance.now() - start).toBeLessThan(MAX_MS);
  });

  test("of random lines has parts that stand in it in their order, or none", () => {
    const line = fc.constantFrom("--b", "--b--", "", "x", "--", "--c", " --b", "--b ", "A: 1", "--b1");
    const end = fc.constantFrom("\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r");
    const body = fc.array(fc.tuple(line, end), { maxLength: 12 }).map((all) => all.flat().join(""));
    const property = fc.property(body, (text) => {
      const parts = texts(text);
      if (!Array.isArray(parts)) return;
      const whole = parts.map((part) => `--b\\s*?\r\n${part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}\r\n`).join("");
      expect(text).toMatch(new RegExp(`(?:^|\r\n)${whole}--b--`));
      expect(parts.some((part) => /(?:^|[\r\n])--b/.test(part))).toBe(false);
    });
    fc.assert(property, { numRuns: 3000 });
  });
});

describe("a walk", () => {
  const nested = (depth: number, core: string): string => {
    if (depth === 0) return core;
    const inner = nested(depth - 1, core);
    return `Content-Type: multipart/mixed; boundary=n${depth}_\r\n\r\n--n${depth}_\r\n${inner}\r\n--n${depth}_--\r\n`;
  };
  const walked = (text: string, ...limits: number[]) =>
    [...walk(entity(text), ...limits)].map((one) => ("fault" in one ? one.fault : one.content.type));

  test("gives the entities without parts in their order", () => {
    const part = (type: string) => `--b\r\nContent-Type: ${type}\r\n\r\nx\r\n`;
    const inner = `--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n${part("a/1").replace("--b", "--c")}--c--\r\n`;
    const body = `${part("a/0")}${inner}${part("message/rfc822")}${part("application/pgp-keys")}--b--\r\n`;
    expect(walked(`Content-Type: multipart/mixed; boundary=b\r\n\r\n${body}`)).toEqual([
      ...["a/0", "a/1", "message/rfc822", "application/pgp-keys"],
    ]);
  });

  test("of a message without parts gives the message", () => {
    expect(walked("Subject: x\r\n\r\nhello")).toEqual(["text/plain"]);
  });

  test("goes on after a part that is not read", () => {
    const body =
      "--b\r\nContent-Type: multipart/x; boundary=c\r\n\r\n--c\r\n\r\n--b\r\nContent-Type: (\r\n\r\n\r\n--b\r\n\r\n\r\n--b--\r\n";
    const faults = walked(`Content-Type: multipart/mixed; boundary=b\r\n\r\n${body}`);
    expect(faults).toEqual(["the closing delimiter is missing", "Content-Type is malformed", "text/plain"]);
  });

  test("ends ten deep", () => {
    expect(walked(nested(10, "Content-Type: a/core\r\n\r\n"))).toEqual(["a/core"]);
    expect(walked(nested(11, "Content-Type: a/core\r\n\r\n"))).toEqual(["parts nested more than 10 deep"]);
    expect(walked(nested(3, "Content-Type: a/core\r\n\r\n"), 2)).toEqual(["parts nested more than 2 deep"]);
  });

  test("ends after 200 entities", () => {
    const wide = `Content-Type: multipart/mixed; boundary=i\r\n\r\n${"--i\r\n\r\nx\r\n".repeat(90)}--i--\r\n`;
    const body = `--b\r\n${wide}\r\n`.repeat(3);
    const all = walked(`Content-Type: multipart/mixed; boundary=b\r\n\r\n${body}--b--\r\n`);
    expect(all.at(-1)).toBe("more than 200 parts");
    expect(all).toHaveLength(200 - 4 + 1);
  });
});

describe("HARV-28: beside openssl", () => {
  const signer = fixtureSigner("alice");
  const content = textEntity();
  const cms = opensslSign(content, { by: signer });
  // of one character openssl does not read a boundary
  const mail = (boundary: string, entity: Uint8Array = content, own = cms) =>
    clearSignedMail({ from: "alice@example.com" }, entity, own, { boundary }).toString("latin1");
  const own = (message: string) => {
    const split = partsOf(readEntity(Buffer.from(message, "latin1")));
    if ("fault" in split) return undefined;
    const [first, second] = split.parts;
    const signature = decodedBody(readEntity(second!));
    if ("fault" in signature) return undefined;
    return verifySignedData(signature.bytes, first, NOW).kind === "good" ? first : undefined;
  };
  const part = (text: string) => Buffer.from(`Content-Type: text/plain\r\n\r\n${text}`);
  const signed = (text: string) => mail("bd", part(text), opensslSign(part(text), { by: signer }));

  test.each<[string, string, boolean]>([
    ["as it was made", mail("bd"), true],
    ["a boundary of hyphens", mail("------------ms1"), true],
    ["a boundary with blanks within", mail("a b"), true],
    ["white space after delimiters", mail("bd").replaceAll("\r\n--bd\r\n", "\r\n--bd  \r\n"), true],
    ["an epilogue", `${mail("bd")}bye\r\n`, true],
    ["no closing delimiter", mail("bd").replace("--bd--\r\n", ""), false],
    ["boundary twice", mail("bd").replace('boundary="bd"', 'boundary="bd"; boundary="c"'), false],
    ["a boundary with a blank at its end", mail("bd").replaceAll("--bd", "--bd ").replace('="bd"', '="bd "'), false],
    ["--bd within a line of what is signed", signed("see --bd\r\n"), true],
    ["--bd at the start of a line of what is signed", signed("see\r\n--bdee\r\n"), false],
    [
      "an empty line more before the delimiter",
      mail("bd").replace("signed.\r\n\r\n--bd", "signed.\r\n\r\n\r\n--bd"),
      false,
    ],
    ["an empty line less before the delimiter", mail("bd").replace("signed.\r\n\r\n--bd", "signed.\r\n--bd"), false],
    ["a third part", mail("bd").replace("--bd--", "--bd\r\n\r\nmore\r\n--bd--"), false],
    ["another character in what is signed", mail("bd").replace("signed.", "Signed."), false],
    ["a preamble that is a part", mail("bd").replace("This is a crypto", "\r\n--bd\r\n\r\nx\r\n--bd--\r\n"), false],
  ])("%s: the same octets are taken, or none", (_, message, isGood) => {
    const taken = own(message);
    expect(taken !== undefined).toBe(isGood);
    if (taken === undefined) return;
    const reading = opensslReads(Buffer.from(message, "latin1"));
    expect(reading.isGood).toBe(true);
    expect(reading.content).toEqual(taken);
  });

  test("a message of openssl's own writing is good for both", () => {
    const message = opensslMail({ from: "bob@example.com" }, fixtureSigner("bob"), "Hello\nJira\n");
    const taken = own(message.toString("latin1"));
    expect(taken?.toString()).toMatch(/^Content-Type: text\/plain\r\n\r\nHello\r\nJira\r\n/);
    expect(opensslReads(message)).toEqual({ isGood: true, content: taken });
  });
});
