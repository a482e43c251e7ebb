// The words of which conversations for fuzzing are made, each hostile in its way; `¦` stands between two of them.
import { USER } from "./fuzz-dialog.ts";

export const base64 = (text: string) => Buffer.from(text).toString("base64");
export const latin1 = (text: string) => Buffer.from(text).toString("latin1");
const listed = (...lines: readonly string[]) => lines.join("¦").split("¦");

/** The first six are well-formed. */
export const ADDRESSES = listed(
  "alice@b.test¦bob@b.test¦Bob@B.test¦carol+tag@c.test¦dave@c.test¦nobody@refused.test",
  "a,evil@x.test¦a>,<evil@x.test¦@evil.test:user@b.test¦user%evil.test@b.test¦evil.test!user@b.test",
  '"a b"@b.test¦"a@evil"@b.test¦"a>"@b.test¦a(c)@b.test¦$(x)@b.test¦a\\,b@b.test¦a"b@b.test¦a)(uid=*@b.test',
  "a@[127.0.0.1]¦a@127.1¦a@0x7f000001¦postmaster¦¦@¦a@¦a@b@c.test¦a..b@c.test¦.a@c.test¦constructor@b.test¦__proto__@b.test",
  "jörg@b.test¦user@straße.test¦user@xn--strae-oqa.test¦u\u202eser@b.test¦u\u200bser@b.test¦ａ@b.test¦\u010a@b.test",
  "a@b。test¦a@b．test¦a@ｂ.test¦a@evil.test＠b.test¦a@b％00.test¦user@b.test.",
  `${"x".repeat(65)}@b.test¦a@${"b.".repeat(130)}test`,
  "a\rb@b.test¦a\nb@b.test¦a\0b@b.test¦a\x07b@b.test¦a b@b.test¦a\tb@b.test¦<a@b.test>",
  "a@b.test>\r\nRCPT TO:<evil@x.test¦a%0d%0aRCPT TO:<evil@x.test>@b.test",
);

export const COMMANDS = listed(
  "EHLO jira.example.com¦HELO [127.0.0.1]¦EHLO¦EHLO (x)¦helo x¦NOOP¦NOOP x¦RSET¦rset¦VRFY root¦QUIT¦EXPN staff¦HELP",
  "BDAT 10 LAST¦TURN¦ETRN x¦XCLIENT ADDR=127.0.0.1¦PROXY TCP4 127.0.0.1 127.0.0.1 1 2¦GET / HTTP/1.1¦POST / HTTP/1.1",
  "DATA¦data ¦DATA x¦STARTTLS¦starttls¦STARTTLS x¦¦ ¦\t¦\x16¦\x16\x03\x01\x02¦\xff\xfe¦constructor¦__proto__ x¦.",
  "MAIL¦RCPT¦MAIL FROM¦RCPT TO:¦AUTH¦AUTH PLAIN¦AUTH LOGIN¦AUTH LOGIN =¦AUTH CRAM-MD5¦AUTH constructor¦AUTH PLAIN =",
  `AUTH PLAIN x y¦AUTH PLAIN ${base64(`\0${USER.name}\0wrong`)}¦AUTH PLAIN !!!!¦*¦${base64("wrong")}¦${base64("\0\0\0\0")}`,
);

/** What stands behind a path; mostly nothing. */
export const PARAMETERS = listed(
  "¦".repeat(17),
  " SMTPUTF8¦ SMTPUTF8¦ BODY=8BITMIME¦ SIZE=500¦ SIZE=99999999999¦ SIZE=x¦ BODY=BINARYMIME¦ FOO=BAR¦ SIZE=1 SIZE=2",
  " NOTIFY=NEVER¦ NOTIFY=NEVER,FAILURE¦ ORCPT=rfc822;a+0D+0A¦ ENVID=a+0Ab¦ AUTH=<>¦ RET=HDRS",
  ">¦ ,<evil@x.test>¦ <evil@x.test>¦evil",
);

/** Everything that some server has been seen to take for the end of data, and its neighbours. */
export const ENDS = listed(
  "\n.\n¦\n.\r\n¦\r\n.\n¦\r.\r¦\r.\n¦\n.\r¦\r.\r\n¦\r\n.\r¦\r\n.\r\r\n¦\r\r\n.\r\n¦\r\r\n.\r\r\n",
  "\r\n\0.\r\n¦\r\n.\0\r\n¦\r\n.\r\0\n¦\r\0\n.\r\n¦\r\n. \r\n¦\r\n .\r\n¦\r\n.\t\r\n¦\r\n..\r\n¦\n..\r\n¦\r\n...\r\n",
  "\n\r.\n\r¦\n\r\n.\n¦\v.\v¦\x85.\x85¦\r\n.\x1a\r\n¦\x8d\x8a.\x8d\x8a¦\r\n.\n.\r\n¦\r\n\n.\r\n",
);
export const SMUGGLED =
  "MAIL FROM:<smuggled@evil.test>\r\nRCPT TO:<victim@evil.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n";

export const FRAGMENTS = [
  ...listed("\r\n¦\r\n¦\r\n¦.¦.¦..¦\r\n.¦.\r\n¦\r\n..¦..\r\n¦x¦Subject: x\r\n¦\r\n\r\n¦ folded¦line\r\n¦=0D=0A.=0D=0A"),
  ...["\xff", "\xc4\x8d\xc4\x8a", latin1("ä"), "a".repeat(998), `${"b".repeat(70)}\r\n`, ".\r\n".repeat(30)],
];
export const BARE = listed("\r¦\n¦\0¦.\r¦.\n¦\r\r\n");
