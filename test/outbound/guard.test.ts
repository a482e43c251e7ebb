import { describe, expect, test } from "vitest";
import { pgpMimeCipher } from "../../src/encrypt/pgp-mime.ts";
import { smimeCipher } from "../../src/encrypt/smime.ts";
import type { Split } from "../../src/encrypt/cipher.ts";
import { collect, sizedBytes, type Sized } from "../../src/mail/chunks.ts";
import { ApprovedClear, Ciphertext } from "../../src/mail/outgoing.ts";
import { guard, GuardStop, type DeparturePlan } from "../../src/outbound/guard.ts";
import { readerIdOf } from "../../src/pgp/message-shape.ts";
import { der as derOf, oid, sequence, setOf } from "../../src/smime/der-writing.ts";
import { readerId } from "../../src/smime/recipient-info.ts";
import { certificateOf, pgpKeyOf } from "../keys-of.ts";

const ALICE = certificateOf("alice");
const BOB = certificateOf("bob");
const PETER = await pgpKeyOf("peter");
const SMIME = smimeCipher({ contentEncryption: "aes256-cbc", keyTransport: "rsa-pkcs1" });
const PGP = pgpMimeCipher();
const FIELDS = Buffer.from("From: <jira@example.com>\r\nSubject: [JIRA] (SEC-42) secret\r\n");
const split = (size: number, fields = FIELDS): Split => ({
  outerFields: fields,
  inner: sizedBytes(Buffer.alloc(size, "Content ")),
});

const smimePlan = (...keys: (typeof ALICE)[]): DeparturePlan => ({
  kind: "smime",
  readerIds: keys.map((key) => readerId(key.certificate)),
  isSubjectHidden: false,
});
const { encryption } = PETER.certificate;
if (!encryption.usable) throw new Error("peter's key is usable");
const PGP_PLAN: DeparturePlan = { kind: "pgp", readerIds: [readerIdOf(encryption.key, 3)], isSubjectHidden: false };

const stopped = async (act: Promise<unknown>) => {
  const cause = await act.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(cause).toBeInstanceOf(GuardStop);
  return (cause as Error).message;
};
const changed = async (ciphertext: Ciphertext, change: (text: string) => string) =>
  new Ciphertext(
    ciphertext.kind,
    sizedBytes(Buffer.from(change((await collect(ciphertext.message)).toString("latin1")), "latin1")),
    ciphertext.readerIds,
  );

describe.each([
  ["small", 1_000],
  ["larger than what is read whole", 3_000_000],
])("%s messages", (_, size) => {
  test("S/MIME and PGP ciphertext for the planned readers goes through unchanged", async () => {
    for (const [made, plan] of [
      [await SMIME.encrypt(split(size), [ALICE]), smimePlan(ALICE)],
      [await PGP.encrypt(split(size), [PETER]), PGP_PLAN],
    ] as const) {
      const guarded = await guard(made, plan);
      const sent = await collect(guarded.message);
      expect(sent.length).toBe(guarded.message.size);
      expect(sent.equals(await collect(made.message))).toBe(true);
    }
  });

  test("readers that take much room, for the long name of their issuer, are read like any other", async () => {
    const name = derOf(0x0c, Buffer.alloc(9_000, "x"));
    const issuerDer = sequence(setOf(sequence(oid("2.5.4.3"), name)));
    const mallory = { ...ALICE, certificate: { ...ALICE.certificate, issuerDer } };
    const made = await SMIME.encrypt(split(size), [mallory]);
    const { message } = await guard(made, smimePlan(mallory));
    expect((await collect(message)).equals(await collect(made.message))).toBe(true);
    expect(await stopped(guard(made, smimePlan(ALICE)))).toContain("readers are");
  });

  test("a reader that was not planned, or one that is missing, stops it", async () => {
    const both = await SMIME.encrypt(split(size), [ALICE, certificateOf("alice-new")]);
    expect(await stopped(guard(both, smimePlan(ALICE)))).toContain("readers are");
    expect(await stopped(guard(await SMIME.encrypt(split(size), [ALICE]), smimePlan(BOB)))).toContain("readers are");
    expect(await stopped(guard(await PGP.encrypt(split(size), [PETER]), { ...PGP_PLAN, readerIds: ["00"] }))).toContain(
      "readers are",
    );
  });

  test("clear text behind the ciphertext stops it", async () => {
    for (const [made, plan] of [
      [await SMIME.encrypt(split(size), [ALICE]), smimePlan(ALICE)],
      [await PGP.encrypt(split(size), [PETER]), PGP_PLAN],
    ] as const) {
      await stopped(guard(await changed(made, (text) => `${text}the secret\r\n`), plan));
    }
  });

  test("an octet among the ciphertext that is not base64 stops it before the last chunk", async () => {
    const made = await SMIME.encrypt(split(size), [ALICE]);
    const spoiled = await changed(made, (text) => `${text.slice(0, -50)} ${text.slice(-49)}`);
    await stopped(guard(spoiled, smimePlan(ALICE)).then((guarded) => collect(guarded.message)));
  });

  test("wherever among the ciphertext it stands", async () => {
    const made = await SMIME.encrypt(split(size), [ALICE]);
    const whole = await collect(made.message);
    const start = whole.indexOf("\r\n\r\n") + 4;
    const places = [0, 1, 2, 3]
      .flatMap((at) => [start + 40_000 + at, whole.length - 1 - at])
      .filter((at) => at < whole.length);
    for (const at of places)
      for (const octet of ["-", "\0", " "]) {
        const spoiled = await changed(made, (text) => text.slice(0, at) + octet + text.slice(at + 1));
        expect(await stopped(guard(spoiled, smimePlan(ALICE)).then((guarded) => collect(guarded.message)))).toContain(
          "base64",
        );
      }
  });

  test("a Content field of the original outside, a Bcc or a hop before us stops it", async () => {
    for (const field of [
      'Content-Disposition: attachment; filename="salaries.pdf"\r\n',
      "Bcc: <carol@example.com>\r\n",
      "Content-Description: secret\r\n",
      "Return-Path: <carol@example.com>\r\n",
      "Received: from jira.corp ([10.1.2.3])\r\n by mail.corp with ESMTP id 1; Tue, 24 Nov 2026 10:00:00 +0000\r\n",
    ]) {
      const made = await SMIME.encrypt(split(size, Buffer.concat([FIELDS, Buffer.from(field)])), [ALICE]);
      await stopped(guard(made, smimePlan(ALICE)));
    }
  });

  test("a subject that should be hidden and is not stops it", async () => {
    const plan = { ...smimePlan(ALICE), isSubjectHidden: true } as DeparturePlan;
    expect(await stopped(guard(await SMIME.encrypt(split(size), [ALICE]), plan))).toContain("subject");
    const hidden = Buffer.from("Subject: [JIRA] (SEC-42)\r\n");
    await expect(guard(await SMIME.encrypt(split(size, hidden), [ALICE]), plan)).resolves.toBeDefined();
    const repeated = Buffer.concat([hidden, Buffer.from("Thread-Topic: [JIRA] (SEC-42) secret\r\n")]);
    expect(await stopped(guard(await SMIME.encrypt(split(size, repeated), [ALICE]), plan))).toContain("thread-topic");
  });
});

test("a message that changes between proof and sending breaks off", async () => {
  const made = await SMIME.encrypt(split(3_000_000), [ALICE]);
  const whole = await collect(made.message);
  let readings = 0;
  const fickle: Sized = {
    size: whole.length,
    chunks: () =>
      sizedBytes(
        readings++ === 0 ? whole : Buffer.from(whole.toString("latin1").replace("[JIRA]", "[LEAK]"), "latin1"),
      ).chunks(),
  };
  const guarded = await guard(new Ciphertext("smime", fickle, made.readerIds), smimePlan(ALICE));
  await stopped(collect(guarded.message));
});

test("clear text is let through only when it was approved by the planned rule", async () => {
  const clear = sizedBytes(Buffer.from("Subject: x\r\n\r\nclear\r\n"));
  const plan: DeparturePlan = { kind: "clear", rule: "fallback-allow" };
  await expect(guard(new ApprovedClear(clear, "fallback-allow"), plan)).resolves.toBeDefined();
  await stopped(guard(new ApprovedClear(clear, "recovery-mail"), plan));
  await stopped(guard(new Ciphertext("smime", clear, []), plan));
  await stopped(guard(new ApprovedClear(clear, "fallback-allow"), smimePlan(ALICE)));
});

test("clear text that calls itself ciphertext is stopped", async () => {
  const clear = sizedBytes(Buffer.from("Subject: x\r\nContent-Type: text/plain\r\n\r\nclear\r\n"));
  await stopped(guard(new Ciphertext("smime", clear, []), smimePlan(ALICE)));
  await stopped(guard(new Ciphertext("pgp", clear, []), PGP_PLAN));
  await stopped(guard(new Ciphertext("smime", clear, []), { kind: "pass", readerIds: [] }));
});
