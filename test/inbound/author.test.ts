// The one author of a mail, and the mails that teach nothing.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { authorOf, mayNotTeach, withoutComments } from "../../src/inbound/author.ts";
import { mailbox } from "../../src/mail/address.ts";
import { readHeader, type HeaderSection } from "../../src/mail/header.ts";

const headerOf = (...fields: string[]): HeaderSection =>
  readHeader(Buffer.from(`${fields.map((field) => `${field}\r\n`).join("")}\r\nbody\r\n`), true)!;
const read = (...fields: string[]) => {
  const author = authorOf(headerOf(...fields));
  return "mailbox" in author ? author.mailbox.address : `refused: ${author.refused}`;
};

describe("HARV-29: From names one author or none", () => {
  test.each([
    ["att@evil.test"],
    ["<att@evil.test>"],
    ["Att <att@evil.test>"],
    ["Dr. Att O'Name <att@evil.test>"],
    ['"victim@corp.test" <att@evil.test>'],
    ['"victim@corp.test <victim@corp.test>" <att@evil.test>'],
    ['"victim@corp.test, x" <att@evil.test>'],
    ['"a \\" victim@corp.test" <att@evil.test>'],
    ["=?utf-8?q?victim=40corp.test_=3Cvictim=40corp.test=3E?= <att@evil.test>"],
    ["(victim@corp.test) att@evil.test"],
    ["att@evil.test (victim@corp.test)"],
    ["Att (it (is) me \\) <victim@corp.test>) <att@evil.test> (bye)"],
    ["Jörg\r\n\t<att@evil.test>"],
    [" att@EVIL.test "],
  ])("%j is att@evil.test", (value) => {
    expect(read(`From: ${value}`)).toBe("att@evil.test");
  });

  test.each([
    ["victim@corp.test, att@evil.test"],
    ["victim@corp.test <att@evil.test>"],
    ["<victim@corp.test> <att@evil.test>"],
    ["<victim@corp.test> att@evil.test"],
    ["Att <att@evil.test> x"],
    ["Att <att@evil.test"],
    ["Att att@evil.test>"],
    ["att@evil.test>"],
    ["att@evil.test victim@corp.test"],
    ["Friends: victim@corp.test;"],
    ["Friends: victim@corp.test, att@evil.test;"],
    ["undisclosed:;"],
    ["=?utf-8?q?victim?=@corp.test"],
    ["Att <=?utf-8?q?victim?=@corp.test>"],
    ["=?utf-8?q?victim=40corp.test?="],
    ['"victim"@corp.test'],
    ['<"victim"@corp.test>'],
    ["<@evil.test:victim@corp.test>"],
    ["victim(comment)@corp.test"],
    ["<victim@corp.test(.evil)>"],
    ["victim @corp.test"],
    ["< victim@corp.test>"],
    ["<victim@corp.test@evil.test>"],
    ["victim@corp.test\0.evil"],
    ["victim@\u202Ecorp.test"],
    ["Att \uFFFD <victim@corp.test>"],
    ['"open <victim@corp.test>'],
    ["(open <victim@corp.test>"],
    ["close) <victim@corp.test>"],
    ["back\\slash <victim@corp.test>"],
    ["victim"],
    ["<>"],
    [""],
    [`"${"x".repeat(5_000)}" <victim@corp.test>`],
  ])("%j is refused", (value) => {
    expect(read(`From: ${value}`)).toMatch(/^refused: the From field/);
  });

  test("two From fields, whatever their case, are refused, and so is none", () => {
    expect(read("From: victim@corp.test", "from: att@evil.test")).toBe("refused: the mail has 2 From fields");
    expect(read("From: victim@corp.test", "FROM : victim@corp.test")).toBe("refused: the mail has 2 From fields");
    expect(read("To: victim@corp.test")).toBe("refused: the mail has no From field");
  });

  test("octets that are no UTF-8 are refused", () => {
    const raw = Buffer.concat([
      Buffer.from("From: J"),
      Buffer.from([0xf6]),
      Buffer.from("rg <victim@corp.test>\r\n\r\n"),
    ]);
    expect(authorOf(readHeader(raw, true)!)).toHaveProperty("refused");
  });

  test("a Sender that differs changes nothing: From is the author", () => {
    expect(read("Sender: secretary@evil.test", "From: victim@corp.test")).toBe("victim@corp.test");
  });

  test("whatever the display name in quotes says, the address is the one in angle brackets", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60, unit: "grapheme-ascii" }), (name) => {
        const quoted = name.replace(/[\\"]/g, "\\$&");
        expect(read(`From: "${quoted}" <att@evil.test>`)).toBe("att@evil.test");
      }),
    );
  });

  test("a field of deeply nested comments is read without recursion", () => {
    expect(withoutComments(`${"(".repeat(100_000)}${")".repeat(100_000)}x`)).toBe("x");
  });
});

describe("HARV-31: mail that teaches nothing", () => {
  const sender = mailbox("ann@corp.test");
  const judge = (...fields: string[]) => mayNotTeach(headerOf("From: ann@corp.test", ...fields), sender);

  test.each([
    ["List-Id: <jira.lists.test>", "mail of a list (list-id)"],
    ["LIST-POST: NO", "mail of a list (list-post)"],
    ["Precedence: list", "mail to many (precedence)"],
    ["Precedence: BULK", "mail to many (precedence)"],
    ["Precedence: (x) junk", "mail to many (precedence)"],
    ["Auto-Submitted: auto-replied", "written by a program (auto-submitted)"],
    ["Auto-Submitted: auto-generated; owner-email=x", "written by a program (auto-submitted)"],
    ["Auto-Submitted: no, really", "written by a program (auto-submitted)"],
    ["X-Autoreply: yes", "written by a program (x-autoreply)"],
    ["X-Autorespond: Away", "written by a program (x-autorespond)"],
    ["X-Failed-Recipients: a@b.test", "written by a program (x-failed-recipients)"],
    ["Content-Type: multipart/report; report-type=delivery-status; boundary=x", "a report (multipart/report)"],
    ["Content-Type: (;) Multipart / (a)\r\n REPORT; boundary=x", "a report (multipart/report)"],
    ["Content-Type: (open multipart/report; boundary=x", "a report (multipart/report)"],
  ])("%j: %s", (field, reason) => expect(judge(field)).toBe(reason));

  test("the second of two fields counts as much as the first", () => {
    expect(judge("Auto-Submitted: no", "Auto-Submitted: auto-replied")).toBe("written by a program (auto-submitted)");
    expect(judge("Content-Type: text/plain", "Content-Type: multipart/report")).toBe("a report (multipart/report)");
  });

  test("a null reverse-path is a notice", () => {
    expect(mayNotTeach(headerOf("From: ann@corp.test"), undefined)).toMatch(/null/);
  });

  test.each([
    ["Subject: hello"],
    ["Auto-Submitted: No"],
    ["Precedence: first-class"],
    ["List-Unsubscribe: <https://shop.test/u>"],
    ['Content-Type: multipart/signed; boundary="report"; protocol="application/pkcs7-signature"'],
    ["Content-Type: text/plain; name=multipart/report"],
  ])("%j may teach", (field) => {
    expect(judge(field)).toBeUndefined();
  });

  test("a Content-Type of 250 KB of the same word is judged in one pass", () => {
    expect(judge(`Content-Type: ${"multipart/".repeat(25_000)}x`)).toBeUndefined();
  });
});
