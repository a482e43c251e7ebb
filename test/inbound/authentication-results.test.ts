// Results of the border MTA: a corpus of real and forged fields, and that decoration never makes a verdict better.
import { createRequire } from "node:module";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { authenticatedAuthor, parseAuthenticationResults } from "../../src/inbound/authentication-results.ts";
import { mailbox } from "../../src/mail/address.ts";
import { readHeader } from "../../src/mail/header.ts";

const author = mailbox("victim@corp.test");

function judge(fields: readonly string[], id = "mx.corp.test", from = author) {
  const text = `${fields.map((field) => `${field}\r\n`).join("")}From: ${from.address}\r\n\r\nbody\r\n`;
  const belief = authenticatedAuthor(readHeader(Buffer.from(text), true)!, id, from);
  return belief.believed ? belief.by : `not: ${belief.reason}`;
}
const results = (value: string) => `Authentication-Results: ${value}`;
const judgeValue = (value: string) => judge([results(value)]);

const BELIEVED_VALUES = [
  "mx.corp.test; dmarc=pass header.from=corp.test",
  "MX.Corp.TEST; DMARC=Pass Header.From=CORP.test",
  '"mx.corp.test"; dmarc=pass header.from="corp.test"',
  "mx.corp.test 1; dmarc=pass header.from=corp.test",
  "mx.corp.test (border) (v2) 1 ; dmarc / 1 = pass (p=reject dis=none) header . from = corp.test (yes)",
  '(c) mx.corp.test; dmarc=pass reason="2.0.0; dmarc=fail" header.from=corp.test',
  "mx.corp.test;\r\n\tspf=pass (sender ok) smtp.mailfrom=a@b.test;\r\n\tdmarc=pass\r\n header.from=corp.test",
  // as rspamd, Exim, OpenDMARC and Gmail write them
  "mx.corp.test; dkim=pass header.d=corp.test header.s=s1 header.b=aB/9+c==; dmarc=pass (policy=reject) header.from=corp.test; spf=pass (mx: domain of x@corp.test designates 2001:db8::1 as permitted sender) smtp.mailfrom=x@corp.test",
  "mx.corp.test; iprev=pass (mail.b.test) smtp.remote-ip=2001:db8::1; spf=pass smtp.mailfrom=b.test; dkim=pass header.d=corp.test header.s=s header.a=rsa-sha256; dmarc=pass header.from=corp.test",
  "mx.corp.test; dmarc=pass (p=none dis=none) header.from=corp.test",
  'mx.corp.test; spf=fail smtp.mailfrom="a; dmarc=fail header.from=x"@b.test; dmarc=pass header.from=corp.test',
  "mx.corp.test; dkim=fail header.d=list.test; dmarc=pass header.from=corp.test",
  "mx.corp.test; dmarc=pass header.from=corp.test; dmarc=pass header.from=corp.test",
  // no dmarc at all: dkim of the domain or of a parent
  "mx.corp.test; dkim=pass header.d=corp.test",
  "mx.corp.test; dkim=pass header.i=@corp.test header.s=x",
  "mx.corp.test; dkim=pass header.d=corp.test header.i=victim@sales.corp.test",
  "mx.corp.test; dkim=pass header.d=corp.test; dkim=fail header.d=list.test; spf=softfail smtp.mailfrom=list.test",
];

describe("HARV-05: what is believed", () => {
  test.each(BELIEVED_VALUES.map((value) => [value]))("%j", (value) => {
    expect(judgeValue(value)).toMatch(/^(?:dmarc|dkim)=pass of mx\.corp\.test$/);
  });

  test("mailauth's own reader finds the same dmarc result and domain in each of them", () => {
    const readField = createRequire(import.meta.url)("mailauth/lib/parse-dkim-headers.js") as (line: string) => {
      parsed: { dmarc?: { value: string; header?: { from?: string } } };
    };
    for (const value of BELIEVED_VALUES) {
      // it knows neither versions of methods, nor white space around the dot, nor properties in upper case
      if (/ \. |dmarc \/|Header/.test(value)) continue;
      const theirs = readField(results(value)).parsed.dmarc;
      const ours = parseAuthenticationResults(value.replace(/\r\n/g, ""));
      const dmarc = "fault" in ours ? undefined : ours.results.findLast(({ method }) => method === "dmarc");
      expect([value, dmarc?.result]).toEqual([value, theirs?.value.toLowerCase()]);
      expect(dmarc?.properties.find(({ property }) => property === "from")?.value).toBe(theirs?.header?.from);
    }
  });

  test("a parent's dkim vouches for a domain below it, a child's does not for one above", () => {
    const below = mailbox("victim@sales.corp.test");
    expect(judge([results("mx.corp.test; dkim=pass header.d=corp.test")], "mx.corp.test", below)).toMatch(/^dkim=pass/);
    expect(judgeValue("mx.corp.test; dkim=pass header.d=sales.corp.test")).toMatch(/^not/);
    expect(judgeValue("mx.corp.test; dkim=pass header.d=test")).toMatch(/^not/);
    const alike = mailbox("victim@evilcorp.test");
    expect(judge([results("mx.corp.test; dkim=pass header.d=corp.test")], "mx.corp.test", alike)).toMatch(/^not/);
  });

  test("an internationalised domain is compared in its A-label form", () => {
    const jörg = mailbox("jörg@bücher.example");
    const value = "mx.corp.test; dmarc=pass header.from=xn--bcher-kva.example";
    expect(judge([results(value)], "mx.corp.test", jörg)).toMatch(/^dmarc=pass/);
  });
});

describe("HARV-05: what is not believed", () => {
  test.each([
    // not ours
    ["evil.test; dmarc=pass header.from=corp.test", "no results of mx.corp.test"],
    ["mx.corp.test.evil; dmarc=pass header.from=corp.test", "no results of"],
    ["evil.mx.corp.test; dmarc=pass header.from=corp.test", "no results of"],
    ["mx.corp.test/1; dmarc=pass header.from=corp.test", "no results of"],
    ["evil.test (mx.corp.test); dmarc=pass header.from=corp.test", "no results of"],
    ["(mx.corp.test) evil.test; dmarc=pass header.from=corp.test", "no results of"],
    ["(mx.corp.test); dmarc=pass header.from=corp.test", "no results of"],
    ['"mx.corp.test; evil"; dmarc=pass header.from=corp.test', "no results of"],
    ["\u212Ax.corp.test; dmarc=pass header.from=corp.test", "no results of"],
    ["mx.corp.test evil.test; dmarc=pass header.from=corp.test", "no results of"],
    ["mx.corp.test", "no results of"],
    ["dmarc=pass header.from=corp.test", "no results of"],
    ["", "no results of"],
    // ours, and not pass
    ["mx.corp.test; none", "neither dmarc nor dkim"],
    ["mx.corp.test; dmarc=fail header.from=corp.test", "dmarc=fail"],
    ["mx.corp.test; dmarc=none header.from=corp.test", "dmarc=none"],
    ["mx.corp.test; dmarc=permerror header.from=corp.test", "dmarc=permerror"],
    ["mx.corp.test; dmarc=temperror header.from=corp.test", "try later is no use: not learned"],
    ["mx.corp.test; dmarc=bestguesspass header.from=corp.test", "dmarc=bestguesspass"],
    ["mx.corp.test; dmarc=passed header.from=corp.test", "dmarc=passed"],
    ["mx.corp.test; dmarc=fail header.from=corp.test; dmarc=pass header.from=corp.test", "dmarc=fail"],
    ["mx.corp.test; dmarc=pass header.from=corp.test; dmarc=fail header.from=corp.test", "dmarc=fail"],
    ["mx.corp.test; dmarc=none; dkim=pass header.d=corp.test", "dmarc=none"],
    ["mx.corp.test; spf=pass smtp.mailfrom=corp.test", "spf alone does not"],
    ["mx.corp.test; arc=pass header.from=corp.test", "neither dmarc nor dkim"],
    ["mx.corp.test; x-dmarc=pass header.from=corp.test", "neither dmarc nor dkim"],
    ["mx.corp.test; dkim=fail header.d=corp.test", "dkim=fail"],
    ["mx.corp.test; dkim=pass header.d=corp.test; dkim=fail header.d=corp.test", "dkim=fail"],
    ["mx.corp.test; dkim=pass header.d=evil.test", "neither"],
    ["mx.corp.test; dkim=pass header.d=notcorp.test", "neither"],
    ["mx.corp.test; dkim=pass header.d=evil.test header.i=@corp.test", "names more than one domain"],
    ["mx.corp.test; dkim=pass header.d=corp.test header.d=evil.test", "names more than one domain"],
    ["mx.corp.test; dkim=pass smtp.d=corp.test", "neither"],
    ["mx.corp.test; dkim=pass", "neither"],
    // header.from
    ["mx.corp.test; dmarc=pass", "does not say for which"],
    ["mx.corp.test; dmarc=pass (header.from=corp.test)", "does not say for which"],
    ["mx.corp.test; dmarc=pass smtp.from=corp.test", "does not say for which"],
    ["mx.corp.test; dmarc=pass header.from=", "another header.from"],
    ["mx.corp.test; dmarc=pass header.from=evil.test", "another header.from"],
    ["mx.corp.test; dmarc=pass header.from=sales.corp.test", "another header.from"],
    ["mx.corp.test; dmarc=pass header.from=corp.test.evil", "another header.from"],
    ["mx.corp.test; dmarc=pass header.from=corp.test header.from=evil.test", "more than one header.from"],
    ["mx.corp.test; dmarc=pass header.from=corp.test header.from=corp.test", "more than one header.from"],
    ["mx.corp.test; dmarc=pass header.from=evil.test (header.from=corp.test)", "another header.from"],
    ["mx.corp.test; spf=pass header.from=corp.test; dmarc=pass", "does not say for which"],
    ['mx.corp.test; spf=none smtp.helo="x; dmarc=pass header.from=corp.test"', "spf alone does not"],
    ["mx.corp.test; spf=none (; dmarc=pass header.from=corp.test)", "spf alone does not"],
    // not of the grammar
    ["mx.corp.test 2; dmarc=pass header.from=corp.test", "version 2"],
    ["mx.corp.test; dmarc/2=pass header.from=corp.test", "dmarc version 2"],
    ["mx.corp.test; dmarc=pass header.from=corp.test;", "cannot be read"],
    ["mx.corp.test;; dmarc=pass header.from=corp.test", "cannot be read"],
    ["mx.corp.test; dmarc=pass action=none header.from=corp.test", "cannot be read"],
    ["mx.corp.test; dmarc=pass header.from=corp.test, evil.test", "cannot be read"],
    ["mx.corp.test; dmarc=pass header.from=corp.test dmarc=fail", "cannot be read"],
    ["mx.corp.test; none; dmarc=pass header.from=corp.test", "cannot be read"],
    ["mx.corp.test; dmarc pass header.from=corp.test", "cannot be read"],
    ["mx.corp.test; dmarc=fa(x)pass header.from=corp.test", "cannot be read"],
    ['mx.corp.test; dmarc="pass" header.from=corp.test', "cannot be read"],
    ['mx.corp.test; dmarc=pass header.from="corp.test".evil', "another header.from"],
    ["mx.corp.test; dmarc=pass header.from=corp.test (open", "no results of"],
    ["mx.corp.test; dmarc=pass header.from=corp.test) x", "cannot be read"],
    ['mx.corp.test; dmarc=pass header.from="corp.test', "no results of"],
    ["mx.corp.test; dmarc=pass header.from=corp.test\0", "no results of"],
    ["mx.corp.test; dmarc=pass\u00A0header.from=corp.test", "cannot be read"],
  ])("%j", (value, reason) => {
    const verdict = judgeValue(value);
    expect(verdict).toMatch(/^not: /);
    expect(verdict).toContain(reason);
  });

  test("a header section without the field is not believed, and other fields' names do not count", () => {
    expect(judge([])).toContain("no authentication-results field");
    for (const name of ["ARC-Authentication-Results", "X-Authentication-Results", "Authentication-Results-Original"])
      expect(judge([`${name}: mx.corp.test; dmarc=pass header.from=corp.test`])).toContain("no authentication-results");
  });
});

const PASS = results("mx.corp.test; dmarc=pass header.from=corp.test");
const BORDER = "Received: from mail.out.test by mx.corp.test (Postfix); Mon, 1 Jan 2029 00:00:00 +0000";
const INSIDE = "Received: from mx.corp.test by store.corp.test; Mon, 1 Jan 2029 00:00:01 +0000";
const OUTSIDE = "Received: from pc.out.test by mail.out.test; Mon, 1 Jan 2029 00:00:00 +0000";

describe("HARV-05: several fields and their places", () => {
  test.each([
    ["above the border's Received", [INSIDE, PASS, BORDER, OUTSIDE]],
    ["below the border's Received, as milters put it", [INSIDE, BORDER, PASS, OUTSIDE]],
    ["after a second pass through the border's filter", [BORDER, BORDER, PASS, OUTSIDE]],
    ["with a second field of ours that says the same", [PASS, PASS]],
    ["with a second field of ours without dmarc", [PASS, results("mx.corp.test; dkim=fail header.d=list.test")]],
    ["with another service's field below", [PASS, BORDER, results("out.test; dmarc=fail header.from=x.test")]],
    ["with an unreadable field of another service below", [PASS, results("spf=pass; rubbish")]],
  ])("believed %s", (_, fields) => expect(judge(fields)).toMatch(/^dmarc=pass of/));

  test.each([
    ["left over from outside", [BORDER, OUTSIDE, PASS], "came from outside"],
    ["below another service's field", [results("filter.test; none"), PASS], "another service stands above"],
    ["below an unreadable field", [results("spf=pass smtp.mailfrom=x"), PASS], "without an authserv-id stands above"],
    [
      "with a second one that says fail",
      [PASS, results("mx.corp.test; dmarc=fail header.from=corp.test")],
      "dmarc=fail",
    ],
    ["with a second one for another author", [PASS, results("mx.corp.test; dmarc=pass header.from=x.test")], "another"],
    ["with a second one that cannot be read", [PASS, results("mx.corp.test; dmarc")], "cannot be read"],
    [
      "when only the lower one has dmarc",
      [results("mx.corp.test; spf=pass smtp.mailfrom=x.test"), PASS],
      "lower field",
    ],
    ["when the upper one says fail", [results("mx.corp.test; dmarc=fail header.from=corp.test"), PASS], "dmarc=fail"],
    ["among a thousand fields", Array<string>(1_000).fill(PASS), "more than 50"],
    ["when the upper one has dkim only", [results("mx.corp.test; dkim=pass header.d=corp.test"), PASS], "lower field"],
  ])("not believed %s", (_, fields, reason) => {
    expect(judge(fields)).toMatch(/^not: /);
    expect(judge(fields)).toContain(reason);
  });
});

const quotedText = fc.string({ maxLength: 20, unit: "grapheme-ascii" }).map((text) => text.replace(/[\\()"]/g, ""));
/** CFWS: spaces, folds and comments that try to speak. */
const cfws = fc
  .array(
    fc.oneof(
      fc.constantFrom(" ", "\t", "\r\n ", "\r\n\t", "(dmarc=pass header.from=corp.test)", "(;)", "(a (b) c)"),
      fc.constantFrom('(")', "(\\))", "(mx.corp.test; dmarc=pass)"),
      quotedText.map((text) => `(${text})`),
    ),
    { maxLength: 4 },
  )
  .map((parts) => parts.join(""));

/** The pieces of a field value; between any two of them the grammar allows CFWS, where `~` stands it needs some. */
const pieces = (text: string) => text.split(/([;=.~/])/).filter((piece) => piece !== "");

describe("HARV-05: decoration", () => {
  const forms = fc.constantFrom(
    "mx~1;dmarc=pass~header.from=test",
    "mx;spf=pass~smtp.mailfrom=test;dmarc=pass~reason=x~header.from=test",
    "mx;dmarc=fail~header.from=test",
    "mx;dmarc=pass~header.from=evil",
    "mx;dmarc=fail~header.from=test;dmarc=pass~header.from=test",
    "evil;dmarc=pass~header.from=test",
    "mx;spf=pass~smtp.mailfrom=test",
    "mx;none",
    "mx;dkim=fail~header.d=corp",
  );

  test("comments and folds wherever the grammar has room for them do not change the verdict", () => {
    fc.assert(
      fc.property(forms, fc.array(cfws, { minLength: 40, maxLength: 40 }), (form, spaces) => {
        // one-label names keep dots out of the values, where no CFWS may stand
        const one = { ...author, domain: "test" };
        const plain = judge([results(form.replaceAll("~", " "))], "mx", one);
        let at = 0;
        const decorated = pieces(form)
          .map((piece) => `${piece === "~" ? " " : piece}${spaces[at++ % spaces.length]}`)
          .join("");
        expect(judge([`Authentication-Results: ${decorated}`], "mx", one)).toBe(plain);
      }),
      { numRuns: 300 },
    );
  });

  test("text pushed in anywhere never turns a result that is not pass into belief", () => {
    const bad = [
      "mx.corp.test; dmarc=fail header.from=corp.test",
      "mx.corp.test; spf=pass smtp.mailfrom=evil.test; dmarc=none header.from=corp.test",
      "evil.test; dmarc=pass header.from=corp.test",
      "mx.corp.test; dmarc=pass header.from=evil.test",
      "mx.corp.test; dkim=pass header.d=evil.test",
    ];
    fc.assert(
      fc.property(fc.constantFrom(...bad), fc.nat(), cfws, (value, place, insert) => {
        const at = place % (value.length + 1);
        const text = value.slice(0, at) + insert + value.slice(at);
        expect(judge([`Authentication-Results: ${text}`])).toMatch(/^not: /);
      }),
      { numRuns: 500 },
    );
  });

  test("any text at all is read without an exception", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void parseAuthenticationResults(text)));
    fc.assert(
      fc.property(fc.array(fc.constantFrom("mx", ";", "=", ".", "/", '"', "(", ")", "\\", " ", "a", "1")), (parts) => {
        parseAuthenticationResults(parts.join(""));
      }),
    );
  });

  test.each([["("], ["()"], ["a."], [" "], ["; a=b"], ["a/"], ['"'], ["\\"], ["; a=b c.d=e"], ["a-"]])(
    "250 KB of %j are judged in one pass",
    (part) => {
      const started = process.hrtime.bigint();
      parseAuthenticationResults(`mx; ${part.repeat(Math.floor(250_000 / part.length))}`);
      expect(Number(process.hrtime.bigint() - started) / 1e6).toBeLessThan(2_000);
    },
  );
});
