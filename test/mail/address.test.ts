import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { mailbox, needsSmtpUtf8, parseMailbox, withoutTag } from "../../src/mail/address.ts";
import { addressesOf } from "../../src/mail/address-list.ts";

const fault = (text: string) => {
  const parsed = parseMailbox(text);
  return "fault" in parsed ? `${parsed.fault.code} ${parsed.fault.status}` : parsed.mailbox.address;
};

describe("the grammar", () => {
  test.each([
    ["alice@example.com", "alice@example.com"],
    ["Heidi.MEYER@Example.COM", "Heidi.MEYER@example.com"],
    ["o'brien@x.example", "o'brien@x.example"],
    ["ann+jira@example.com", "ann+jira@example.com"],
    ["jörg@bücher.example", "jörg@xn--bcher-kva.example"],
    ["user@straße.test", "user@xn--strae-oqa.test"],
    ["jira@localhost", "jira@localhost"],
  ])("takes %s as %s", (text, address) => expect(fault(text)).toBe(address));

  test.each([
    ["@evil.test:user@b.test", "501 5.1.3"],
    ["a(c)@b.test", "501 5.1.3"],
    ["$(x)@b.test", "501 5.1.3"],
    ["a\\,b@b.test", "501 5.1.3"],
    ['a"b@b.test', "501 5.1.3"],
    ["a)(uid=*@b.test", "501 5.1.3"],
    ["a,evil@x", "501 5.1.3"],
    ["a b@b.test", "501 5.1.3"],
    ["a@evil@b.test", "501 5.1.3"],
    ["u\u202eser@b.test", "501 5.1.3"],
    ["u\u200bser@b.test", "501 5.1.3"],
    ["a\rRCPT TO:<evil@x>@b.test", "501 5.1.3"],
    ["a\0b@b.test", "501 5.1.3"],
    [".a@b.test", "501 5.1.3"],
    ["a..b@b.test", "501 5.1.3"],
    ["a@b..test", "501 5.1.3"],
    ["a@-b.test", "501 5.1.3"],
    [`${"x".repeat(65)}@b.test`, "501 5.1.3"],
    ['"a b"@b.test', "553 5.1.3"],
    ['"a@evil"@b.test', "553 5.1.3"],
    ["user%evil.test@b.test", "550 5.7.1"],
    ["evil.test!user@b.test", "550 5.7.1"],
    ["a@127.1", "550 5.7.1"],
    ["a@0x7f000001", "550 5.7.1"],
    ["a@[127.0.0.1]", "550 5.7.1"],
    ["postmaster", "550 5.7.1"],
  ])("refuses %j with %s", (text, reply) => expect(fault(text)).toBe(reply));

  test("straße and strasse are different domains", () => {
    expect(mailbox("a@straße.test").key).not.toBe(mailbox("a@strasse.test").key);
  });

  test("whatever is taken has one canonical form that parses to itself and holds no separator", () => {
    fc.assert(
      fc.property(fc.oneof(fc.emailAddress(), fc.string({ unit: "binary", maxLength: 40 })), (text) => {
        const parsed = parseMailbox(text);
        if (!("mailbox" in parsed)) return;
        expect(parseMailbox(parsed.mailbox.address)).toEqual(parsed);
        expect(parsed.mailbox.address).not.toMatch(/[\s<>(),;:\\"[\]\p{Cc}]/u);
      }),
      { numRuns: 2000 },
    );
  });
});

test("a tag is stripped from the local part only", () => {
  expect(withoutTag(mailbox("ann+jira@example.com"))?.address).toBe("ann@example.com");
  expect(withoutTag(mailbox("ann@example.com"))).toBeUndefined();
  expect(withoutTag(mailbox("+x@example.com"))).toBeUndefined();
});

test("only a non-ASCII local part needs SMTPUTF8", () => {
  expect(needsSmtpUtf8(mailbox("jörg@bücher.example"))).toBe(true);
  expect(needsSmtpUtf8(mailbox("jorg@bücher.example"))).toBe(false);
});

test.each([
  ["Ann <ann@a.example>, bob@b.example", ["ann@a.example", "bob@b.example"]],
  ['"Ann, <x@evil.example>" <ann@a.example>', ["ann@a.example"]],
  ["(x@evil.example) ann@a.example (and (nested) y@evil.example)", ["ann@a.example"]],
  ["team: ann@a.example, Bob <bob@b.example>;, carol@c.example", ["ann@a.example", "bob@b.example", "carol@c.example"]],
  ["x@evil.example <ann@a.example>", ["ann@a.example"]],
  ["undisclosed-recipients:;", []],
  ["Ann <ann@a.example", []],
])("the addresses of %j are %j", (value, addresses) => {
  expect(addressesOf(value).map((one) => one.address)).toEqual(addresses);
});
