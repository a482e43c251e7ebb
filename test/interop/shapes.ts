// The shapes of mail that Jira and its apps send, as raw octets; the same at every run but for foreign ciphertext.
import { execFileSync } from "node:child_process";
import { createCipheriv } from "node:crypto";
import { fixture, fixtureBytes } from "../fixtures.ts";
import { foreignCiphertext, type KeyKind, type Reader } from "./readers.ts";

export type Mail = {
  readonly message: Buffer;
  readonly mailParameters?: string;
  /** Who gets a message of their own together; all of them are in RCPT. */
  readonly groups: readonly (readonly Reader[])[];
  /** Was ciphertext for exactly its reader before: goes on as it came. */
  readonly isPass?: boolean;
};
export type Shape = { readonly name: string; mail(kind: KeyKind): Mail };

const EIGHT_BIT = "BODY=8BITMIME";
const TEXT = "Content-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit\r\n";
const lines = (...text: readonly string[]) => `${text.join("\r\n")}\r\n`;

/** A mail of Jira's with these Content fields and body; `more` are further fields. */
function jiraMail(to: string, content: string, body: string | Buffer, more = ""): Buffer {
  const header = lines(
    "Date: Tue, 24 Nov 2026 10:00:00 +0000 (UTC)",
    "From: =?UTF-8?Q?J=C3=B6rg_M=C3=BCller_=28Jira=29?= <jira@example.com>",
    "Reply-To: Help desk <support@example.com>",
    `To: ${to}`,
    "Message-ID: <JIRA.10100.1764000000000.1.1764000000001@Atlassian.JIRA>",
    "In-Reply-To: <JIRA.10100.1764000000000@Atlassian.JIRA>",
    "References: <JIRA.10100.1764000000000@Atlassian.JIRA>\r\n <JIRA.10100.1764000000000.9.1763999940000@jira-lts>",
    "Subject: =?UTF-8?Q?[JIRA]_(ENC-100)_=C3=9Cbergabe_d?=\r\n =?UTF-8?Q?er_Schl=C3=BCssel?=",
    "MIME-Version: 1.0",
  );
  const after = lines(
    "X-JIRA-FingerPrint: 4f1c6f0e4ce8ff7d13e6f0a1b2c3d4e5",
    "Precedence: bulk",
    "Auto-Submitted: auto-generated",
    "X-Atlassian-Token: no-check",
  );
  return Buffer.concat([Buffer.from(`${header}${content}${after}${more}\r\n`), Buffer.from(body)]);
}

/** A shape that goes to one visible reader. */
function toOne(
  name: string,
  content: string,
  body: string | Buffer,
  more: Partial<Mail> & { fields?: string } = {},
): Shape {
  const { fields, ...rest } = more;
  return {
    name,
    mail: ({ one }) => ({ groups: [[one]], message: jiraMail(one.mailbox, content, body, fields), ...rest }),
  };
}

/** A message as JavaMail wrote it, its To replaced. */
function recorded(name: string, file: string, reader: (kind: KeyKind) => Reader, mailParameters = ""): Shape {
  return {
    name,
    mail(kind) {
      const text = fixtureBytes(`jira/${file}.eml`).toString("utf8");
      const message = Buffer.from(text.replace(/^To: .*$/m, `To: ${reader(kind).mailbox}`).replace(/^Cc: .*\r\n/m, ""));
      return { message, groups: [[reader(kind)]], mailParameters };
    },
  };
}

function part(boundary: string, ...parts: readonly string[]): string {
  return `${parts.map((one) => `--${boundary}\r\n${one}\r\n`).join("")}--${boundary}--\r\n`;
}

const QUOTED_HTML =
  'Content-Type: text/html; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Language: de\r\n';

const NESTED = part(
  "outer",
  `Content-Type: multipart/alternative; boundary="middle"\r\n\r\n${part(
    "middle",
    `${TEXT}\r\nGröße`,
    `Content-Type: multipart/related; boundary="inner"\r\n\r\n${part("inner", "Content-Type: text/html\r\n\r\n<p>x</p>")}`,
  )}`,
  "Content-Type: message/rfc822\r\n\r\nSubject: forwarded\r\nContent-Type: text/plain\r\n\r\n.\r\n-- \r\nnot a boundary",
);

const INVITATION = lines(
  ...["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Atlassian//JIRA//EN", "METHOD:REQUEST", "BEGIN:VEVENT"],
  ...["UID:enc-100@jira.example.com", "DTSTAMP:20261124T100000Z", "DTSTART:20261201T100000Z", "SUMMARY:Übergabe"],
  ...["ORGANIZER:mailto:jira@example.com", "END:VEVENT", "END:VCALENDAR"],
);

/** So many octets that no compression shrinks, the same at every run, as base64 lines. */
function attachmentLines(sizeBytes: number): string {
  const noise = createCipheriv("aes-128-ctr", Buffer.alloc(16, 1), Buffer.alloc(16)).update(Buffer.alloc(sizeBytes));
  return noise.toString("base64").replace(/.{1,76}/g, "$&\r\n");
}

/** multipart/signed by alice-sign with openssl: without signed attributes, therefore the same at every run. */
function signedByJira(): [string, string] {
  const entity = lines(
    "Content-Type: text/plain; charset=UTF-8",
    "Content-Transfer-Encoding: 8bit",
    "",
    "Unterschrieben: ä",
  );
  const signer = ["-signer", fixture("smime/certs/alice-sign.pem"), "-inkey", fixture("smime/keys/alice-sign.key")];
  const sign = ["cms", "-sign", "-binary", "-noattr", "-md", "sha256", "-outform", "DER", ...signer];
  const signature = execFileSync("openssl", sign, { input: entity })
    .toString("base64")
    .replace(/.{1,64}/g, "$&\r\n");
  const type = 'multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary="signed"';
  const attached = `Content-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\n${signature}`;
  return [`Content-Type: ${type}\r\n`, part("signed", entity, attached)];
}

/** 64 KiB of fields that are no Content fields. */
const MANY_FIELDS = Array.from(
  { length: 128 },
  (_, index) => `X-Field-${index}: ${"v".repeat(240)}\r\n ${"w".repeat(250)}\r\n`,
).join("");

function alreadyEncrypted(name: string, reader: (kind: KeyKind) => Reader, isPass: boolean): Shape {
  return {
    name,
    mail(kind) {
      const inside = Buffer.from("Content-Type: text/plain\r\n\r\nencrypted by somebody else\r\n");
      const [content, body] = foreignCiphertext(kind.protocol, reader(kind), inside);
      return { message: jiraMail(kind.one.mailbox, content, body), groups: [[kind.one]], isPass };
    },
  };
}

export const SHAPES: readonly Shape[] = [
  toOne("8-bit UTF-8", TEXT, lines("Größe ≥ 10 €", "用户"), { mailParameters: EIGHT_BIT }),
  toOne("quoted-printable HTML", QUOTED_HTML, lines("<p>Gr=C3=B6=C3=9Fe =E2=89=A5 =", "10</p>", "trailing=20")),
  recorded("related images, by JavaMail", "jira-related", ({ one }) => one),
  toOne("nested multipart", 'Content-Type: multipart/mixed;\r\n\tboundary="outer"\r\n', NESTED, {
    mailParameters: EIGHT_BIT,
  }),
  recorded("attachment with a non-ASCII name, by JavaMail", "jira-jsm-attachment", ({ one }) => one),
  toOne("empty body", TEXT, ""),
  toOne("lines of dots", TEXT, lines(".", "..", "...", ".text", "", ".", "From me", "")),
  toOne("lines of 5,000 octets", TEXT, lines("x".repeat(5000), "ä".repeat(2500), "."), { mailParameters: EIGHT_BIT }),
  toOne("25 MB", "Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n", attachmentLines(18_500_000)),
  toOne("signed by Jira", ...signedByJira(), { mailParameters: EIGHT_BIT }),
  toOne(
    "calendar invitation",
    "Content-Type: text/calendar; charset=UTF-8; method=REQUEST\r\nContent-Transfer-Encoding: 8bit\r\n",
    INVITATION,
    {
      ...{ mailParameters: EIGHT_BIT, fields: "Content-Class: urn:content-classes:calendarmessage\r\n" },
    },
  ),
  toOne("header of 64 KiB", TEXT, lines("short"), { fields: MANY_FIELDS }),
  alreadyEncrypted("already encrypted to another key", ({ hidden }) => hidden, false),
  alreadyEncrypted("already encrypted to exactly this recipient", ({ one }) => one, true),
  {
    name: "several recipients",
    mail({ one, second, apart }) {
      const others = apart === undefined ? [] : [apart];
      const more = `Cc: ${others.map(({ mailbox }) => `Somebody <${mailbox}>`).join("") || "support@example.com"}\r\n`;
      const message = jiraMail(`One <${one.mailbox}>, ${second.mailbox}`, TEXT, lines("for several"), more);
      return { message, groups: [[one, second], ...others.map((reader) => [reader])] };
    },
  },
  {
    name: "Bcc",
    mail({ one, second, hidden }) {
      const more = "Bcc: archive@example.com\r\nDKIM-Signature: v=1; a=rsa-sha256; d=example.com;\r\n b=AAAA\r\n";
      const message = jiraMail(one.mailbox, TEXT, lines("for one who is seen and two who are not"), more);
      return { message, groups: [[one], [second], [hidden]] };
    },
  },
  recorded("SMTPUTF8, by JavaMail", "jira-smtputf8", ({ international }) => international, `${EIGHT_BIT} SMTPUTF8`),
];
