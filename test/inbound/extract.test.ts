// What a signed message teaches, and what it must not: parts of another message, keys without number, certificates of anybody.
import { afterAll, describe, expect, test } from "vitest";
import { encryptionCertificate, teachingOf } from "../../src/inbound/extract.ts";
import { holdsPrivateKey } from "../../src/inbound/private-keys.ts";
import type { FitnessPolicy } from "../../src/keys/fitness.ts";
import { mailbox } from "../../src/mail/address.ts";
import { parseCertificate } from "../../src/smime/certificate.ts";
import { fixtureBytes } from "../fixtures.ts";
import { NOW } from "../pgp/fixture-keys.ts";
import { gnupgHome } from "../pgp/gnupg.ts";
import { exportedKeys, pgpSignedMail } from "../pgp/signed-mail.ts";
import { clearSignedMail, opaqueSignedMail, textEntity } from "../smime/signed-mail.ts";

const ANN = "alice@example.com";
const home = gnupgHome(true);
afterAll(() => home.close());
const signedMail = pgpSignedMail(home, {
  ...{ from: ANN, signer: ANN, signedAt: NOW, keys: [exportedKeys(home, [ANN], "armored")] },
}).toString("latin1");
const boundary = /boundary="(=_signed_part)"/.exec(signedMail)![1]!;

async function outcomeOf(message: string | Buffer, signal = new AbortController().signal) {
  const teaching = await teachingOf(Buffer.from(message as string, "latin1"), NOW, signal);
  return teaching.kind === "refused" ? teaching.reason : teaching.kind;
}
const withPreamble = (text: string) => signedMail.replace(`\r\n\r\n--${boundary}`, `\r\n\r\n${text}\r\n--${boundary}`);

describe("C3: a message of which the signed one is only a part", () => {
  test("a forwarded one that gets the Content-Type of what it forwards teaches nothing", async () => {
    const forward = [
      ...[`From: ${ANN}`, "Subject: Fwd", "Content-Type: multipart/mixed; boundary=anns", "", "--anns"],
      ...["Content-Type: text/plain", "", "What is this?", "--anns", "Content-Type: message/rfc822", ""],
      ...[signedMail, "--anns--", ""],
    ].join("\r\n");
    expect(await outcomeOf(forward)).toBe("unsigned");
    const swapped = `Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary="${boundary}"`;
    const forged = forward.replace("Content-Type: multipart/mixed; boundary=anns", swapped);
    expect(await outcomeOf(forged)).toMatch(/behind the signed message/);
    expect(await outcomeOf(forged.replace("--anns--", ""))).toMatch(/before the signed message/);
  });

  test.each([
    "",
    "This is an OpenPGP/MIME signed message (RFC 4880 and 3156)",
    "This is a cryptographically signed message in MIME format.\r\n",
    "This is an S/MIME signed message\r\n",
    "This is a multi-part message in MIME format.",
    "Dies ist eine kryptografisch unterzeichnete Nachricht im MIME-Format.",
  ])("the note that programs write there is none of it: %j", async (note) => {
    expect(await outcomeOf(withPreamble(note))).toBe("pgp");
  });

  test.each([
    ["a letter", "Hello Bob,\r\nsee below what I got."],
    ["a part", "--anns MIME\r\n\r\nwhat I got"],
    ["a field", "a MIME message:\r\nSubject : x"],
    ["two paragraphs", "a MIME message\r\n\r\nwhat I got"],
    ["many lines", "MIME\r\n".repeat(6)],
    ["a long line", `MIME ${"x".repeat(500)}`],
  ])("%s is more than a note", async (_, text) => {
    expect(await outcomeOf(withPreamble(text))).toMatch(/before the signed message/);
  });

  test("blank lines may follow, the footer of a list may not", async () => {
    expect(await outcomeOf(`${signedMail}\r\n \r\n`)).toBe("pgp");
    expect(await outcomeOf(`${signedMail}_____\r\nTo unsubscribe\r\n`)).toMatch(/behind the signed message/);
  });
});

describe("M1: what a mail by anybody may cost", () => {
  const key = exportedKeys(home, [ANN], "binary");
  const keysPart = (copies: number) =>
    `--m\r\nContent-Type: application/pgp-keys\r\nContent-Transfer-Encoding: base64\r\n\r\n` +
    `${Buffer.concat(Array.from({ length: copies }, () => key)).toString("base64")}\r\n`;
  const mailWith = (parts: string) =>
    `From: ${ANN}\r\nContent-Type: multipart/signed; protocol="application/pgp-signature"; boundary=q\r\n\r\n--q\r\n` +
    `Content-Type: multipart/mixed; boundary=m\r\n\r\n${parts}--m--\r\n\r\n--q\r\n` +
    "Content-Type: application/pgp-signature\r\n\r\nx\r\n--q--\r\n";

  test("the keys of all parts together are at most 2 MiB and 1000", async () => {
    const large = Math.ceil(1_200_000 / key.length);
    expect(await outcomeOf(mailWith(keysPart(large)))).not.toMatch(/came along/);
    expect(await outcomeOf(mailWith(keysPart(large).repeat(2)))).toMatch(/keys that came along have \d+ octets/);
    const many = `--m\r\nContent-Type: application/pgp-keys\r\n\r\n${BARE.toString("latin1").repeat(600)}\r\n`;
    expect(await outcomeOf(mailWith(many))).not.toMatch(/came along/);
    expect(await outcomeOf(mailWith(many.repeat(2)))).toMatch(/more than 1000 keys came along/);
  });

  test.each([
    ["pgp", 64 * 1024],
    ["pkcs7", 1536 * 1024],
  ])("a signature part of %s is not decoded above %i octets", async (kind, most) => {
    const mail = (size: number) =>
      `Content-Type: multipart/signed; protocol="application/${kind}-signature"; boundary=q\r\n\r\n--q\r\n\r\nx\r\n--q\r\n` +
      `Content-Type: application/${kind}-signature\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n` +
      `${"=".padEnd(size, "x")}\r\n--q--\r\n`;
    expect(await outcomeOf(mail(most))).toMatch(/stray equals sign/);
    expect(await outcomeOf(mail(most + 1))).toBe(`a part has ${most + 1} octets; at most ${most} are read`);
  });

  test("opaque signed-data is not read from quoted-printable", async () => {
    const opaque = opaqueSignedMail({ from: ANN }, Buffer.from("x")).toString("latin1");
    expect(await outcomeOf(opaque)).not.toMatch(/quoted/);
    expect(await outcomeOf(opaque.replace(": base64", ": quoted-printable"))).toBe("signed-data in quoted-printable");
  });

  test("other work gets its turn between the parts, and a signal ends it there", async () => {
    const over = new AbortController();
    setImmediate(() => over.abort(new Error("over")));
    await expect(outcomeOf(mailWith(keysPart(10).repeat(5)), over.signal)).rejects.toThrow("over");
    const leaves = `Content-Type: multipart/mixed; boundary=m\r\n\r\n${"--m\r\n\r\nx\r\n".repeat(50)}--m--\r\n`;
    await expect(holdsPrivateKey(Buffer.from(leaves), [], over.signal)).rejects.toThrow("over");
    const opaque = opaqueSignedMail({ from: ANN }, Buffer.from("x"));
    await expect(outcomeOf(opaque, over.signal)).rejects.toThrow("over");
    const clear = clearSignedMail({ from: ANN }, textEntity(), Buffer.from("x"));
    await expect(outcomeOf(clear, over.signal)).rejects.toThrow("over");
  });
});

/** A primary key of Ed25519 and nothing else. */
const BARE = Buffer.concat([
  Buffer.from("983304000000011609 2b06010401da470f01010740".replace(" ", ""), "hex"),
  Buffer.alloc(32, 7),
]);

describe("H3: which of the certificates that came along", () => {
  const certificate = (name: string) => parseCertificate(fixtureBytes(`smime/certs/${name}.der`));
  const [signing, other] = [certificate("alice-sign"), certificate("alice-new")];
  const taught = (policy: FitnessPolicy, preferred = false) => {
    const signature = { kind: "good", signer: signing, certificates: [signing, other], signedAt: NOW } as const;
    const more = { capabilities: [], preferred: preferred ? other : undefined };
    const result = encryptionCertificate({ ...signature, ...more }, mailbox(ANN), NOW, policy);
    return "key" in result ? result.key.fingerprint : "refused";
  };

  test("with a certification path one of the same issuer is taken, and the one that the signer prefers", () => {
    const policy: FitnessPolicy = { minRsaBits: 2048, path: () => ({ trusted: true, path: [] }) };
    expect([taught(policy), taught(policy, true)]).toEqual([other.fingerprint, other.fingerprint]);
  });

  test("without one nobody vouches for it: anybody can write an issuer's name", () => {
    expect([taught({ minRsaBits: 2048 }), taught({ minRsaBits: 2048 }, true)]).toEqual(["refused", "refused"]);
  });
});
