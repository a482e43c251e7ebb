// What a hostile review found: each input once went wrong.
import { describe, expect, test } from "vitest";
import { splitMessage, withoutPrivateFields } from "../../src/encrypt/outer-header.ts";
import { pgpMimeCipher } from "../../src/encrypt/pgp-mime.ts";
import { collect, sizedBytes } from "../../src/mail/chunks.ts";
import { decodeWords } from "../../src/mail/encoded-word.ts";
import { readHeader } from "../../src/mail/header.ts";
import { encryptedFor } from "../../src/outbound/already-encrypted.ts";
import { isRecoveryMail } from "../../src/outbound/recovery-mail.ts";
import { pgpKeyOf } from "../keys-of.ts";

const parsed = (text: string) => ({
  header: readHeader(Buffer.from(text), true)!,
  content: sizedBytes(Buffer.from(text)),
});
const ms = (act: () => unknown) => {
  const since = performance.now();
  act();
  return performance.now() - since;
};

describe("text that was made to be slow", () => {
  test.each([
    ["recovery links", "http://x/secure/Signup!default.jspa?"],
    ["schemes", "http://"],
    ["spaces", "http://a "],
  ])("64 KB of %s is judged in linear time", (_, piece) => {
    const text = `X-JIRA-FingerPrint: 1\r\nSubject: x\r\n\r\n${piece.repeat(Math.floor(60_000 / piece.length))}\r\n`;
    const { header } = parsed(text);
    expect(ms(() => isRecoveryMail(header, Buffer.from(text), 1))).toBeLessThan(200);
  });

  test("a header line of 250 KB and 28,000 encoded words are read in linear time", () => {
    const { header, content } = parsed(`X-Long: ${"x".repeat(250_000)}\r\nSubject: x\r\n\r\nbody\r\n`);
    expect(ms(() => splitMessage(header, content, "keep"))).toBeLessThan(200);
    expect(ms(() => decodeWords("=?utf-8?Q?abc?= ".repeat(28_000)))).toBeLessThan(500);
  });
});

test("a real recovery mail is known, one with an issue link, a thread or a second recipient is not", () => {
  const link = "https://jira.example.com/secure/ResetPassword!default.jspa?os_username=ann&token=4711";
  const mail = (fields: string, body: string) =>
    `X-JIRA-FingerPrint: 1\r\n${fields}Subject: Account\r\n\r\n${body}\r\n`;
  const judged = (text: string, recipients = 1) => isRecoveryMail(parsed(text).header, Buffer.from(text), recipients);
  expect(judged(mail("", `Reset it here: <${link}>`))).toBe(true);
  expect(judged(mail("", `<a href=3D"${link.replace(/=/g, "=3D")}">`.replace("token", "tok=\r\nen")))).toBe(true);
  expect(judged(mail("", link), 2)).toBe(false);
  expect(judged(mail("In-Reply-To: <JIRA.1.2@x>\r\n", link))).toBe(false);
  expect(judged(mail("", `${link} https://jira.example.com/browse/SEC-1`))).toBe(false);
  expect(judged(mail("", link).replace("Account", "[JIRA] (SEC-1) Account"))).toBe(false);
  expect(judged(mail("", "no link"))).toBe(false);
});

describe("mail that came encrypted", async () => {
  const peter = await pgpKeyOf("peter");
  const split = {
    outerFields: Buffer.from("Subject: x\r\n"),
    inner: sizedBytes(Buffer.from("Content-Type: text/plain\r\n\r\nhi\r\n")),
  };
  const whole = (await collect((await pgpMimeCipher().encrypt(split, [peter])).message)).toString("latin1");
  const judged = async (text: string) => {
    const { header, content } = parsed(text);
    return (await encryptedFor(header, content))?.kind;
  };

  test("is recognised when it is ciphertext alone", async () => expect(await judged(whole)).toBe("pgp"));

  test.each([
    ["in the version part", (text: string) => text.replace("Version: 1\r\n", "Version: 1\r\n\r\nTHE SECRET\r\n")],
    [
      "in an armor header",
      (text: string) => text.replace("MESSAGE-----\r\n\r\n", "MESSAGE-----\r\nComment: THE SECRET\r\n\r\n"),
    ],
    ["before the armor", (text: string) => text.replace("-----BEGIN PGP", "THE SECRET\r\n-----BEGIN PGP")],
    [
      "in a first block that is none",
      (text: string) =>
        text.replace(
          "-----BEGIN PGP",
          "-----BEGIN PGP MESSAGE-----\r\n\r\n!!\r\n-----END PGP MESSAGE-----\r\n-----BEGIN PGP",
        ),
    ],
    ["in a field of the data part", (text: string) => text.replace('name="encrypted.asc"', 'name="salaries.pdf"')],
    ["behind the last boundary", (text: string) => `${text}THE SECRET\r\n`],
    [
      "before the first boundary",
      (text: string) => text.replace("\r\n\r\n--sealpost", "\r\n\r\nTHE SECRET\r\n--sealpost"),
    ],
    ["in a Bcc", (text: string) => `Bcc: <hidden@example.com>\r\n${text}`],
  ])("does not pass with something else %s", async (_, change) => {
    const changed = change(whole);
    expect(changed).not.toBe(whole);
    expect(await judged(changed)).toBeUndefined();
  });
});

test("clear mail leaves without Bcc and Return-Path, its body untouched", async () => {
  const { header, content } = parsed(
    "From: a@b\r\nBcc: <hidden@example.com>\r\nReturn-Path: <x@y>\r\nTo: c@d\r\n\r\nBcc: body\r\n",
  );
  expect((await collect(withoutPrivateFields(header, content))).toString()).toBe(
    "From: a@b\r\nTo: c@d\r\n\r\nBcc: body\r\n",
  );
});

test("a long field is folded at spaces or behind commas, and one that cannot be moves inside: nothing is lost", async () => {
  const addresses = Array.from({ length: 60 }, (_, index) => `somebody${index}@department.example.com`);
  const split = async (value: string) => {
    const { header, content } = parsed(
      `From: a@b\r\nTo: ${value}\r\nSubject: x\r\nContent-Type: text/plain\r\n\r\nbody\r\n`,
    );
    const { outerFields, inner } = splitMessage(header, content, "keep");
    return [Buffer.from(outerFields).toString(), (await collect(inner)).toString()] as const;
  };
  for (const joined of [addresses.join(", "), addresses.join(",")]) {
    const [outer, inner] = await split(joined);
    expect(outer.split("\r\n").every((line) => line.length <= 998)).toBe(true);
    expect(outer.replace(/\s/g, "")).toContain(addresses.join(","));
    expect(inner).toBe("Content-Type: text/plain\r\n\r\nbody\r\n");
  }
  const [outer, inner] = await split(`${"x".repeat(1200)}@example.com`);
  expect(outer).toBe("From: a@b\r\nSubject: x\r\n");
  expect(inner).toContain("xxx@example.com\r\nContent-Type");
});
