// Our own DMARC check: mail signed by nodemailer and mailauth, a resolver of the test's that counts, and what must not pass.
import { createHash, generateKeyPairSync, sign as rawSign, type KeyObject } from "node:crypto";
import dns from "node:dns";
import { dkimSign } from "mailauth/lib/dkim/sign.js";
import { evaluateDmarc } from "mailauth/lib/dmarc/index.js";
import { createTransport } from "nodemailer";
import { afterEach, describe, expect, test, vi } from "vitest";
import { checkDmarc, DMARC_LIMITS, type DmarcCheck, type DnsResolve } from "../../src/inbound/dmarc.ts";
import { mailbox } from "../../src/mail/address.ts";
import { sizedBytes, type Sized } from "../../src/mail/chunks.ts";

const NOW = Date.UTC(2029, 0, 1);
const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const PEM = privateKey.export({ type: "pkcs8", format: "pem" });
const keyRecord = (key: KeyObject) => key.export({ type: "spki", format: "der" }).toString("base64");
const RSA_RECORD = `v=DKIM1; k=rsa; p=${keyRecord(publicKey)}`;
const POLICY = "v=DMARC1; p=reject";

/** TXT records by name; every question is written down. A function answers for itself. */
function zone(records: Record<string, string | (() => Promise<string[][]>)>) {
  const asked: string[] = [];
  const resolve: DnsResolve = (name, type) => {
    asked.push(`${type} ${name}`);
    const record = records[type === "TXT" ? name : `${type} ${name}`];
    if (typeof record === "function") return record();
    // long records come in strings of 255 octets
    if (record !== undefined) return Promise.resolve(type === "TXT" ? [record.match(/.{1,255}/g) ?? []] : [record]);
    return Promise.reject(Object.assign(new Error(`no ${type} of ${name}`), { code: "ENOTFOUND" }));
  };
  return { resolve, asked };
}
const CORP = { "s1._domainkey.corp.test": RSA_RECORD, "_dmarc.corp.test": POLICY };

const PLAIN = "From: Ann <ann@corp.test>\r\nTo: jira@corp.test\r\nSubject: Hello\r\n\r\nThe text.\r\nMore of it.\r\n";
const BODY_HASH = createHash("sha256").update("The text.\r\nMore of it.\r\n").digest("base64");

type SignOptions = Partial<Parameters<typeof dkimSign>[1]>;
async function signed(options: SignOptions = {}, text = PLAIN): Promise<string> {
  const one = { signingDomain: "corp.test", selector: "s1", privateKey: PEM, ...options };
  const made = await dkimSign(text, { ...one, signTime: NOW, signatureData: [one] });
  expect(made.errors).toEqual([]);
  return `${made.signatures}${text}`;
}

async function judge(
  text: string | Buffer,
  records: Parameters<typeof zone>[0] = CORP,
  more: Partial<DmarcCheck> = {},
) {
  const { resolve, asked } = zone(records);
  const message = sizedBytes(Buffer.from(text));
  const check = { message, author: mailbox("ann@corp.test"), now: NOW, resolve, signal: new AbortController().signal };
  const belief = await checkDmarc({ ...check, ...more });
  return { verdict: belief.believed ? belief.by : `not: ${belief.reason}`, asked };
}
const PASSES = "own check: dmarc=pass, dkim of corp.test";

afterEach(() => void vi.restoreAllMocks());

describe("HARV-03: what the author's domain stands by", () => {
  test("a mail signed by nodemailer passes, and only the given resolver is asked", async () => {
    const systemDns = [
      vi.spyOn(dns.promises, "resolve").mockRejectedValue(new Error("a question behind our back")),
      vi.spyOn(dns.promises, "resolveTxt").mockRejectedValue(new Error("a question behind our back")),
      vi.spyOn(globalThis, "fetch").mockRejectedValue(new Error("a request behind our back")),
    ];
    const transport = createTransport({
      streamTransport: true,
      buffer: true,
      newline: "windows",
      dkim: { domainName: "corp.test", keySelector: "s1", privateKey: PEM },
    });
    const { message } = await transport.sendMail({
      ...{ from: "Ann <ann@corp.test>", to: "jira@corp.test", subject: "Hello", text: "The text.\n\nMore.\n\n\n" },
      attachments: [{ filename: "a.bin", content: Buffer.alloc(200_000, "x") }],
    });
    if (!Buffer.isBuffer(message)) throw new Error("nodemailer gave no buffer");
    const { verdict, asked } = await judge(message);
    expect(verdict).toBe(PASSES);
    expect(asked.sort()).toEqual(["TXT _dmarc.corp.test", "TXT _dmarc.test", "TXT s1._domainkey.corp.test"]);
    expect(systemDns.map((spy) => spy.mock.calls.length)).toEqual([0, 0, 0]);
  });

  test.each(["relaxed/relaxed", "simple/simple", "relaxed/simple"])("%s canonicalization passes", async (c) => {
    expect((await judge(await signed({ canonicalization: c }))).verdict).toBe(PASSES);
  });

  test("an Ed25519 signature passes (RFC 8463)", async () => {
    const pair = generateKeyPairSync("ed25519");
    const text = await signed({ privateKey: pair.privateKey.export({ type: "pkcs8", format: "pem" }) });
    const raw = pair.publicKey.export({ type: "spki", format: "der" }).subarray(-32).toString("base64");
    const records = { ...CORP, "s1._domainkey.corp.test": `v=DKIM1; k=ed25519; p=${raw}` };
    expect((await judge(text, records)).verdict).toBe(PASSES);
  });

  test("a body of a megabyte passes however the spool cuts it, and fails with one octet changed at its end", async () => {
    const text = await signed({}, `${PLAIN}${"A line of the body.\r\n".repeat(50_000)}`);
    const cut = (bytes: Buffer, size: number): Sized => ({
      size: bytes.length,
      // eslint-disable-next-line @typescript-eslint/require-await -- the interface is asynchronous
      async *chunks() {
        for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
      },
    });
    for (const size of [65_536, 10_007])
      expect((await judge("", CORP, { message: cut(Buffer.from(text), size) })).verdict).toBe(PASSES);
    const changed = Buffer.from(text.replace(/\.\r\n$/, "!\r\n"));
    expect((await judge("", CORP, { message: cut(changed, 65_536) })).verdict).toMatch(/^not: dmarc=fail/);
  });

  test.each<[string, (text: string) => string]>([
    ["without its signature", (text) => text.slice(text.indexOf("From:"))],
    ["with another body", (text) => text.replace("The text", "Other text")],
    ["with a line more", (text) => `${text}One more.\r\n`],
    ["with another subject", (text) => text.replace("Hello", "Hullo")],
    ["with another name in From", (text) => text.replace("Ann", "Eve")],
    ["with another d=", (text) => text.replace("d=corp.test", "d=evil.test")],
  ])("a mail %s fails", async (_, change) => {
    const text = await signed();
    expect(change(text)).not.toBe(text);
    expect((await judge(change(text))).verdict).toMatch(/^not: dmarc=fail/);
  });

  test.each<[string, Parameters<typeof zone>[0], RegExp]>([
    ["no key", { "_dmarc.corp.test": POLICY }, /^not: dmarc=fail.*no key/],
    ["a revoked key", { ...CORP, "s1._domainkey.corp.test": "v=DKIM1; p=" }, /^not: dmarc=fail/],
    [
      "another key",
      {
        ...CORP,
        "s1._domainkey.corp.test": `v=DKIM1; p=${keyRecord(generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey)}`,
      },
      /^not: dmarc=fail.*bad signature/,
    ],
    ["a key in testing", { ...CORP, "s1._domainkey.corp.test": `${RSA_RECORD}; t=y` }, /^not: dmarc=fail.*testing/],
    ["no policy", { "s1._domainkey.corp.test": RSA_RECORD }, /^not: dmarc=none/],
    ["two policies", { ...CORP, "_dmarc.corp.test": () => Promise.resolve([[POLICY], [POLICY]]) }, /^not: dmarc=none/],
    [
      "a server that fails",
      { ...CORP, "_dmarc.corp.test": () => Promise.reject(Object.assign(new Error("x"), { code: "ESERVFAIL" })) },
      /^not: dmarc=temperror: try later is no use/,
    ],
    [
      "a key server that fails",
      {
        ...CORP,
        "s1._domainkey.corp.test": () => Promise.reject(Object.assign(new Error("x"), { code: "ETIMEOUT" })),
      },
      /^not: dmarc=fail; dkim=temperror/,
    ],
  ])("a domain with %s does not vouch", async (_, records, reason) => {
    expect((await judge(await signed(), records)).verdict).toMatch(reason);
  });

  test("a weak key and rsa-sha1 do not count (RFC 8301)", async () => {
    const weak = generateKeyPairSync("rsa", { modulusLength: 512 });
    const text = await signed({ privateKey: weak.privateKey.export({ type: "pkcs8", format: "pem" }) });
    const records = { ...CORP, "s1._domainkey.corp.test": `v=DKIM1; p=${keyRecord(weak.publicKey)}` };
    expect((await judge(text, records)).verdict).toMatch(/^not: dmarc=fail/);
    expect((await judge(await signed({ algorithm: "rsa-sha1" }))).verdict).toMatch(/^not: dmarc=fail.*weak algorithm/);
  });

  test("a signature that has expired at the given time does not count", async () => {
    const text = await signed({ expires: NOW + 3_600_000 });
    expect((await judge(text)).verdict).toBe(PASSES);
    expect((await judge(text, CORP, { now: NOW + 3_601_000 })).verdict).toMatch(/^not: dmarc=fail.*expired/);
  });
});

describe("alignment", () => {
  const of = (domain: string) => ({ [`s1._domainkey.${domain}`]: RSA_RECORD });

  test.each<[string, string, Record<string, string>, RegExp]>([
    ["corp.test", "evil.test", { "_dmarc.corp.test": POLICY, "_dmarc.evil.test": POLICY }, /^not: dmarc=fail/],
    ["corp.test", "mail.corp.test", { "_dmarc.corp.test": POLICY }, /dkim of mail\.corp\.test$/],
    ["corp.test", "mail.corp.test", { "_dmarc.corp.test": `${POLICY}; adkim=s` }, /^not: dmarc=fail/],
    ["sales.corp.test", "corp.test", { "_dmarc.corp.test": POLICY }, /dkim of corp\.test$/],
    ["corp.test", "notcorp.test", { "_dmarc.corp.test": POLICY }, /^not: dmarc=fail/],
    ["corp.test", "corp.test.evil.test", { "_dmarc.corp.test": POLICY }, /^not: dmarc=fail/],
  ])("From at %s, signed by %s", async (from, d, records, expected) => {
    const text = await signed({ signingDomain: d }, PLAIN.replace("@corp.test>", `@${from}>`));
    const { verdict } = await judge(text, { ...of(d), ...records }, { author: mailbox(`ann@${from}`) });
    expect(verdict).toMatch(expected);
  });

  test("customers of a shared suffix do not vouch for one another, even when its record lets mailauth say pass", async () => {
    const records = { ...of("eve.github.io"), "_dmarc.github.io": POLICY };
    const mailauth = await evaluateDmarc({
      ...{ headerFrom: "ann.github.io", dkimDomains: [{ domain: "eve.github.io" }], resolver: zone(records).resolve },
    });
    expect(mailauth.response && mailauth.response.status.result).toBe("pass");
    const text = await signed({ signingDomain: "eve.github.io" }, PLAIN.replace("corp.test>", "ann.github.io>"));
    const { verdict } = await judge(text, records, { author: mailbox("ann@ann.github.io") });
    expect(verdict).toMatch(/^not: dmarc=fail.*of another domain/);
  });
});

describe("HARV-40: signatures that cover too little", () => {
  test.each([0, 5, 10_000])("l=%i is no pass", async (maxBodyLength) => {
    const text = await signed({ maxBodyLength });
    expect(text).toMatch(/l=\d/);
    expect((await judge(text)).verdict).toMatch(/^not: dmarc=fail.*part of the body/);
  });

  test("a signature whose h= does not name From is no pass", async () => {
    const tags = `v=1; a=rsa-sha256; c=relaxed/relaxed; d=corp.test; s1; s=s1; h=subject; bh=${BODY_HASH}; b=`.replace(
      " s1;",
      "",
    );
    const input = `subject:Hello\r\ndkim-signature:${tags}`;
    const b = rawSign("sha256", Buffer.from(input), privateKey).toString("base64");
    expect((await judge(`DKIM-Signature: ${tags}${b}\r\n${PLAIN}`)).verdict).toMatch(/^not: dmarc=fail.*From/);
    // the same maker with From in h=: so that alone was the reason
    const whole = tags.replace("h=subject", "h=from:subject");
    const good = rawSign(
      "sha256",
      Buffer.from(`from:Ann <ann@corp.test>\r\nsubject:Hello\r\ndkim-signature:${whole}`),
      privateKey,
    );
    expect((await judge(`DKIM-Signature: ${whole}${good.toString("base64")}\r\n${PLAIN}`)).verdict).toBe(PASSES);
  });

  test("C3: one that does not cover the field that teaches is no pass, whatever that field says now", async () => {
    const text = PLAIN.replace("Subject:", "Content-Type: text/plain\r\nSubject:");
    const swap = (mail: string) => mail.replace("text/plain", "multipart/signed; boundary=evil");
    const more = { signedField: "content-type" };
    // as Google signs
    const headerList = ["from", "to", "subject"];
    const uncovered = await signed({ headerList }, text);
    expect((await judge(swap(uncovered))).verdict).toBe(PASSES);
    for (const mail of [uncovered, swap(uncovered)])
      expect((await judge(mail, CORP, more)).verdict).toMatch(/^not: dmarc=fail.*does not cover content-type/);
    const covered = await signed({ headerList: [...headerList, "Content-Type"] }, text);
    expect((await judge(covered, CORP, more)).verdict).toBe(PASSES);
    expect((await judge(swap(covered), CORP, more)).verdict).toMatch(/^not: dmarc=fail/);
    // a field that was not there when it was signed
    const added = `Autocrypt: addr=ann@corp.test; keydata=AAAA\r\n${covered}`;
    expect((await judge(added)).verdict).toBe(PASSES);
    expect((await judge(added, CORP, { signedField: "autocrypt" })).verdict).toMatch(/does not cover autocrypt/);
  });

  test("a second From, above or below the signed one, is no pass and asks nothing", async () => {
    const text = await signed();
    for (const doubled of [
      `From: eve@evil.test\r\n${text}`,
      text.replace("\r\nTo:", "\r\nFrom: eve@evil.test\r\nTo:"),
    ]) {
      const { verdict, asked } = await judge(doubled);
      expect([verdict, asked]).toEqual([expect.stringMatching(/^not: .*2 From fields/), []]);
    }
  });

  test("a mail whose From is not the author asked for is no pass", async () => {
    const { verdict, asked } = await judge(await signed(), CORP, { author: mailbox("bob@corp.test") });
    expect([verdict, asked]).toEqual([expect.stringMatching(/^not: .*another author/), []]);
  });

  test.each<[string, (text: string) => string]>([
    ["a line that is no field", (text) => text.replace("\r\nTo:", "\r\nno field\r\nTo:")],
    ["no empty line", (text) => text.slice(0, text.indexOf("\r\n\r\n") + 2)],
    ["a bare LF in the header", (text) => text.replace("Hello\r\n", "Hello\n")],
    ["a bare LF in the body", (text) => text.replace("text.\r\n", "text.\n")],
    ["a bare CR in the header", (text) => text.replace("Hello", "Hel\rlo")],
  ])("a mail with %s, which two programs read in two ways, is no pass", async (_, change) => {
    expect((await judge(change(await signed()))).verdict).toMatch(/^not: dmarc: the/);
  });
});

describe("HARV-39: what a mail may cost", () => {
  /** A signature of another domain that looks right up to its b=: its body hash is true, so its key is asked for. */
  const forged = async (count: number) => {
    const own = (await signed()).replace(PLAIN, "");
    return Array.from({ length: count }, (_, index) => own.replace("d=corp.test", `d=d${index}.evil.test`)).join("");
  };

  test("of 400 signatures of distinct domains five are asked for, and a true one among them still counts", async () => {
    const flood = await forged(400);
    const first = await judge(`${flood}${await signed()}`);
    expect(first.asked.filter((question) => question.includes("_domainkey"))).toHaveLength(DMARC_LIMITS.signatures);
    expect(first.asked.length).toBeLessThanOrEqual(DMARC_LIMITS.dnsQuestions);
    expect(first.verdict).toMatch(/^not: dmarc=fail/);
    const true5 = await judge(`${await forged(4)}${(await signed()).replace(PLAIN, "")}${flood}${PLAIN}`);
    expect(true5.verdict).toBe(PASSES);
    expect(true5.asked.filter((question) => question.includes("_domainkey"))).toHaveLength(DMARC_LIMITS.signatures);
  });

  test.each<[string, string]>([
    [
      "1000 signatures",
      "DKIM-Signature: v=1; a=rsa-sha256; d=evil.test; s=s; h=from; bh=AAAA; b=AAAA\r\n".repeat(1_000),
    ],
    ["1000 fields", "X-A: b\r\n".repeat(1_000)],
    ["4000 lines in a field", `X-A: b\r\n${" b\r\n".repeat(4_000)}`],
    ["300 KB of header", `X-A: ${"b".repeat(300_000)}\r\n`],
  ])("a mail with %s is refused without a question", async (_, fields) => {
    const { verdict, asked } = await judge(`${fields}${await signed()}`);
    expect([verdict, asked]).toEqual([expect.stringMatching(/^not: dmarc: the header section (?:has|is)/), []]);
  });

  test("signatures of 9 KB are passed over and do not count as one of the five", async () => {
    const text = await signed();
    const big = text.replace(PLAIN, "").replace("v=1;", `v=1; x1=${"y".repeat(9_000)};`);
    expect(big.length).toBeGreaterThan(9_000);
    expect((await judge(`${big.repeat(5)}${text}`)).verdict).toBe(PASSES);
  });

  test("a body line of more than 64 KiB ends the check", async () => {
    const text = await signed({}, `${PLAIN}${"x".repeat(70_000)}\r\n`);
    expect((await judge(text)).verdict).toMatch(/^not: dmarc: .*a line that is too long/);
  });

  test("the question after the last allowed one is not asked, and nothing is believed", async () => {
    const deep = "a.b.c.d.e.f.corp.test";
    const text = await signed({ signingDomain: deep }, PLAIN.replace("@corp.test", `@${deep}`));
    const { resolve, asked } = zone({ ...CORP, [`s1._domainkey.${deep}`]: RSA_RECORD });
    const check = { message: sizedBytes(Buffer.from(text)), author: mailbox(`ann@${deep}`), now: NOW, resolve };
    const { signal } = new AbortController();
    expect(await checkDmarc({ ...check, signal })).toHaveProperty("believed", true);
    expect(asked.length).toBeGreaterThan(3);
    asked.length = 0;
    const belief = await checkDmarc({ ...check, signal }, { ...DMARC_LIMITS, dnsQuestions: 3 });
    expect([belief.believed, asked.length]).toEqual([false, 3]);
  });

  test("a resolver that never answers ends with the deadline, or with the caller's signal", async () => {
    const text = await signed();
    const silent = { ...CORP, "s1._domainkey.corp.test": () => new Promise<string[][]>(() => undefined) };
    const { resolve } = zone(silent);
    const check = { message: sizedBytes(Buffer.from(text)), author: mailbox("ann@corp.test"), now: NOW, resolve };
    const late = await checkDmarc(
      { ...check, signal: new AbortController().signal },
      { ...DMARC_LIMITS, deadlineMs: 50 },
    );
    expect(late).toEqual({ believed: false, reason: "dmarc: no verdict in time: not learned" });
    const caller = new AbortController();
    const gaveUp = await checkDmarc({
      ...check,
      signal: caller.signal,
      resolve: () => {
        caller.abort();
        return new Promise(() => undefined);
      },
    });
    expect(gaveUp).toEqual(late);
    expect(DMARC_LIMITS.deadlineMs).toBe(5_000);
  });

  test("a signal that fired before means no question at all", async () => {
    const { verdict, asked } = await judge(await signed(), CORP, { signal: AbortSignal.abort() });
    expect([verdict, asked]).toEqual([expect.stringMatching(/^not: /), []]);
  });

  test("a spool that fails in the middle of a message is not believed, and nothing is thrown", async () => {
    const bytes = Buffer.from(await signed());
    const broken: Sized = {
      size: bytes.length + 500_000,
      // eslint-disable-next-line @typescript-eslint/require-await -- the interface is asynchronous
      async *chunks() {
        yield bytes;
        yield Buffer.alloc(300_000, "x\r\n");
        throw new Error("disk gone");
      },
    };
    expect((await judge("", CORP, { message: broken })).verdict).toBe("not: dmarc: the check failed: disk gone");
  });

  test("an ARC set costs no question and vouches for nothing", async () => {
    const arc =
      "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=arc.test; s=s1; b=AAAA\r\n" +
      // its body hash is true: only then would its key be asked for
      `ARC-Message-Signature: i=1; a=rsa-sha256; d=arc.test; s=s1; h=from; bh=${BODY_HASH}; b=AAAA\r\n` +
      "ARC-Authentication-Results: i=1; arc.test; dmarc=pass header.from=corp.test\r\n";
    const { verdict, asked } = await judge(`${arc}${PLAIN}`);
    expect(verdict).toMatch(/^not: dmarc=fail/);
    expect(asked.filter((question) => question.includes(".arc.test"))).toEqual([]);
  });
});
