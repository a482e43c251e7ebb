// For whom a mail is encrypted, and what is done when it cannot be: attacks on the choice of a key and of a treatment.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKey } from "openpgp";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { fixtureBytes } from "../fixtures.ts";
import { smimeCipher } from "../../src/encrypt/smime.ts";
import { smimeKey } from "../../src/keys/recipient-key.ts";
import { collect, sizedBytes } from "../../src/mail/chunks.ts";
import { gpgDecrypt } from "../interop/judges.ts";
import { armorOf, cmsOf, rawMail } from "../interop/raw-mail.ts";
import { startWeb } from "../key-server.ts";
import { certificateOf } from "../keys-of.ts";
import { gnupgHome } from "../pgp/gnupg.ts";
import { opensslPrint } from "../smime/decrypters.ts";
import { expectArrived, protection, readSmime } from "./arrived.ts";
import { CANARIES, canaryMail, expectNoCanary } from "./canary.ts";
import { hunt } from "./hunt.ts";
import { issueMail, sendMail } from "./jira.ts";
import { KEY_STORES, stage } from "./stage.ts";

// a machine that is busy with others
vi.setConfig({ testTimeout: 180_000 });

const [ALICE, QUINN, NOBODY] = ["alice@example.com", "quinn@example.com", "nobody@example.com"];
const [JOE, BOB] = ["joe@example.org", "bob@example.com"];

const certificates = (...names: readonly string[]) =>
  Buffer.concat(names.map((name) => fixtureBytes(`smime/certs/${name}.pem`)));

test("CONF-03: a key that cannot be used is passed over with its reason; the recipient gets a notice, never the mail", async () => {
  // by S/MIME, else by OpenPGP
  const reasons: Record<string, string> = {
    erin: "expired",
    frank: "not-yet-valid",
    grace: "no-encryption-subkey, no-encryption-use",
    nick: "weak-key",
    olga: "weak-signature",
    peggy: "unsupported-algorithm",
    sybil: "unknown-critical-extension",
    xavier: "unsupported-algorithm",
    rupert: "revoked",
  };
  const people = Object.keys(reasons);
  const files = {
    "people.pem": certificates(...people.filter((name) => name !== "rupert"), "alice"),
    "people.asc": fixtureBytes("pgp/all.asc"),
  };
  const { relay, upstream } = await stage(`${KEY_STORES}\nencryption: { subject: hide }`, files);
  const to = people.map((name) => `${name}@example.com`);
  expect(await sendMail(relay.port, { to: [...to, ALICE], message: canaryMail("1", to.join(", ")) })).toMatch(/^250 /);
  await expectArrived(upstream, [...to.map((address) => `${address} notice`), `${ALICE} smime`]);
  const decided = relay.events.filter(
    ({ event, treatment }) => event === "treatment.decided" && treatment === "report",
  );
  expect(Object.fromEntries(decided.map(({ recipient, reason }) => [String(recipient).split("@")[0], reason]))).toEqual(
    reasons,
  );
  await relay.stop();
  await expectNoCanary(relay, [upstream]);
});

test("CONF-09: whoever the header names, the key is that of the envelope's recipient alone", async () => {
  const { relay, upstream } = await stage(KEY_STORES);
  const message = issueMail("1", { to: `${ALICE}, "${QUINN}" <${ALICE}>`, fields: { Cc: ALICE }, text: "4711" });
  expect(await sendMail(relay.port, { to: [QUINN], message })).toMatch(/^250 /);
  expect(await sendMail(relay.port, { to: [NOBODY], message })).toMatch(/^250 /);
  await expectArrived(upstream, [`${QUINN} smime`, `${NOBODY} notice`]);
  const { data } = upstream.transactions.find((one) => protection(one) === "smime")!;
  expect(await readSmime(data, "quinn")).toContain("4711");
  await expect(readSmime(data, "alice")).rejects.toThrow("openssl exits");
});

describe("CONF-10: keys of addresses that are nearly the recipient's", () => {
  const NEAR = [
    "joann@x.test",
    "ann@x.test.evil",
    "ann@evil.x.test",
    "ann@x.test@evil.test",
    "ann+jira@x.test",
    "an@x.test",
  ];

  function certificateFor(folder: string, address: string): Buffer {
    const out = join(folder, "cert.pem");
    const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    const names = ["-subj", `/CN=ann@x.test`, "-addext", `subjectAltName=email:${address}`];
    const use = ["-addext", "keyUsage=critical,keyAgreement"];
    execFileSync("openssl", [...made, ...names, ...use, "-keyout", "/dev/null", "-out", out], { stdio: "pipe" });
    return readFileSync(out);
  }

  test("are not used, neither certificates nor OpenPGP keys", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sealpost-near-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const userIDs = NEAR.map((email) => ({ name: "ann@x.test", comment: "<ann@x.test>", email }));
    // as an attacker would write it: what looks like the address comes first
    const names = ["<ann@x.test> <evil@evil.test>", "ann@x.test <evil@evil.test>"].map((name) => ({ name }));
    const { publicKey } = await generateKey({ userIDs: [...userIDs.slice(0, 3), ...names], format: "armored" });
    const files = {
      "people.pem": Buffer.concat(NEAR.map((address) => certificateFor(folder, address))),
      "people.asc": publicKey,
    };
    const { relay, upstream } = await stage(`${KEY_STORES}\nencryption: { subject: hide }`, files);
    await sendMail(relay.port, { to: ["ann@x.test"], message: canaryMail("1", "ann@x.test") });
    // the store is read, and its keys are good for those whom they name
    await sendMail(relay.port, { to: ["joann@x.test"], message: canaryMail("2", "joann@x.test") });
    await expectArrived(upstream, ["ann@x.test notice", "joann@x.test smime"]);
    await relay.stop();
    await expectNoCanary(relay, [upstream]);
  });
});

test("CONF-26, CONF-27: fresh from the box without any key, a notice goes out that tells nothing of the mail", async () => {
  const { relay, upstream } = await stage("", {});
  expect(await sendMail(relay.port, { to: [ALICE, NOBODY], message: canaryMail("1", ALICE) })).toMatch(/^250 /);
  await expectArrived(upstream, [`${ALICE} notice`, `${NOBODY} notice`]);
  // the key of the issue, its project and the thread stay unsaid too
  expect(hunt({ left: upstream.received() }, [...CANARIES, "SEC-42", "JIRA.10042", "4f1c6f0e4ce8ff7d"])).toEqual([]);
  await relay.stop();
  await expectNoCanary(relay, [upstream]);
});

describe("CONF-30: what a key server answers", () => {
  const yaml = (port: number) =>
    `encryption: { type: pgp-only, subject: hide }\npgp: { keyServer: { url: "http://127.0.0.1:${port}", proxy: none } }`;

  test("about one address is never used for another, also when two answers change places", async () => {
    let [arrived, release] = [0, (): void => undefined];
    const both = new Promise<void>((resolve) => (release = resolve));
    const server = await startWeb((request, response) => {
      const other = request.url?.includes("joe") === true ? "bob" : "joe";
      if (++arrived === 2) release();
      void both.then(() => response.end(fixtureBytes(`pgp/${other}.gpg`)));
    });
    onTestFinished(() => server.close());
    const { relay, upstream } = await stage(yaml(server.port), {});
    await sendMail(relay.port, { to: [JOE, BOB], message: canaryMail("1", `${JOE}, ${BOB}`) });
    await expectArrived(upstream, [`${JOE} notice`, `${BOB} notice`]);
    expect(arrived).toBe(2);
    await relay.stop();
    await expectNoCanary(relay, [upstream]);
  });

  test("and was written into the database for somebody else is judged when it is read, and asked for afresh", async () => {
    const server = await startWeb((request, response) =>
      response.end(fixtureBytes(`pgp/${request.url?.includes("joe") === true ? "joe" : "bob"}.gpg`)),
    );
    onTestFinished(() => server.close());
    const { relay, upstream } = await stage(yaml(server.port), {});
    await sendMail(relay.port, { to: [JOE], message: canaryMail("1", JOE) });
    await expectArrived(upstream, [`${JOE} pgp`]);
    await relay.stop();
    const database = new DatabaseSync(join(relay.folder, "data", "sealpost.db"));
    const { changes } = database.prepare("UPDATE cached_keys SET address_key = ? WHERE address_key = ?").run(BOB, JOE);
    database.close();
    expect(changes).toBe(1);
    await relay.start();
    await sendMail(relay.port, { to: [BOB], message: canaryMail("2", BOB) });
    await expectArrived(upstream, [`${JOE} pgp`, `${BOB} pgp`]);
    const readers = gpgDecrypt(upstream.transactions.map(({ data }) => armorOf(rawMail(data))));
    expect(readers.map(({ keyIds }) => keyIds)).toEqual([["5CCF60574556759F"], ["255F09B67B076EB4"]]);
    expect(server.asked).toHaveLength(2);
    await relay.stop();
    await expectNoCanary(relay, [upstream]);
  });
});

describe("CONF-36: a reader's program that asks for weak ciphers", () => {
  test("by the preferences of an OpenPGP key gets AES-256 with integrity protection", async () => {
    const home = gnupgHome(false);
    onTestFinished(() => home.close());
    const weak = ["--passphrase", "", "--default-preference-list", "S2 H2 Z0 no-mdc"];
    expect(home.run([...weak, "--quick-gen-key", "weak@x.test", "rsa2048", "cert,sign", "never"]).status).toBe(0);
    const fingerprint = /^fpr:+(\w+):/m.exec(home.run(["--list-keys", "--with-colons"]).stdout.toString())![1]!;
    expect(home.run([...weak, "--quick-add-key", fingerprint, "rsa2048", "encr", "never"]).status).toBe(0);
    const { stdout: key } = home.run(["--export", fingerprint]);
    expect(home.run(["--list-packets"], key).stdout.toString()).toMatch(/pref-sym-algos: 2\)/);

    const { relay, upstream } = await stage("encryption: { type: pgp-only }\npgp: { keyStore: { file: weak.gpg } }", {
      "weak.gpg": key,
    });
    await sendMail(relay.port, { to: ["weak@x.test"], message: canaryMail("1", "weak@x.test") });
    await expectArrived(upstream, ["weak@x.test pgp"]);
    const armor = armorOf(rawMail(upstream.transactions[0]!.data));
    const { status, stdout, stderr } = home.run(["--status-fd", "2", "--decrypt"], armor);
    expect(status).toBe(0);
    for (const canary of CANARIES.slice(1)) expect(hunt({ clear: stdout }, [canary])).not.toEqual([]);
    // MDC by SHA-1, AES-256 (RFC 9580 9.3)
    expect(stderr).toContain("[GNUPG:] DECRYPTION_INFO 2 9");
    expect(stderr).toContain("[GNUPG:] GOODMDC");
  });

  test("by SMIMECapabilities gets AES-256 all the same", async () => {
    const { certificate } = certificateOf("alice");
    // DES-EDE3-CBC, RC2-CBC, DES-CBC
    const announced = ["1.2.840.113549.3.7", "1.2.840.113549.3.2", "1.3.14.3.2.7"];
    const cipher = smimeCipher({ contentEncryption: "auto", keyTransport: "auto" });
    const split = { outerFields: Buffer.from("From: <a@b>\r\n"), inner: sizedBytes(Buffer.from("\r\nx\r\n")) };
    const { message } = await cipher.encrypt(split, [smimeKey(certificate, { announced })]);
    const printed = opensslPrint(cmsOf(rawMail(await collect(message))));
    expect(printed).toMatch(/algorithm: aes-256-cbc \(2\.16\.840\.1\.101\.3\.4\.1\.42\)/);
    expect(printed).not.toMatch(/des|rc2/i);
  });
});

test("CONF-34: a misspelt setting on SIGHUP is refused under traffic, and nothing leaves in clear", async () => {
  const { relay, upstream } = await stage(`${KEY_STORES}\nencryption: { fallback: block, subject: hide }`);
  const good = readFileSync(relay.configFile, "utf8");
  const replies: string[] = [];
  const traffic = async (name: string, stop: AbortSignal) => {
    for (let number = 1; !stop.aborted; number++) {
      const to = number % 2 === 0 ? NOBODY : ALICE;
      replies.push(
        await sendMail(relay.port, { to: [to], message: canaryMail(`${name}.${number}`, to) }).catch(String),
      );
    }
  };
  const stop = new AbortController();
  const senders = Promise.all([traffic("a", stop.signal), traffic("b", stop.signal)]);
  for (const wrong of [
    good.replace("encryption:", "encrpyt: required\nencrpytion:"),
    good.replace("fallback: block", "fallback: allwo"),
    good.replace("fallback: block", "fallbck: block"),
    `${good}\n  - : [`,
    "",
  ]) {
    writeFileSync(relay.configFile, wrong);
    const before = relay.events.length;
    relay.process.kill("SIGHUP");
    const { faults } = await relay.event(
      (one) => one.event === "config.refused" && relay.events.indexOf(one) >= before,
    );
    if (wrong.includes("encrpyt: "))
      expect(JSON.stringify(faults)).toContain("encrpyt: unknown setting; did you mean encryption?");
    const sent = replies.length;
    await expect.poll(() => replies.length, { timeout: 10_000 }).toBeGreaterThan(sent + 1);
  }
  stop.abort();
  await senders;
  expect(replies.filter((reply) => !reply.startsWith("250"))).toEqual([]);
  await expect
    .poll(() => relay.events.filter(({ event }) => event === "delivery.held").length, { timeout: 10_000 })
    .toBeGreaterThan(0);
  expect(upstream.transactions.length).toBeGreaterThan(0);
  expect(upstream.transactions.filter((one) => protection(one) !== "smime")).toEqual([]);
  expect(relay.events.filter(({ event }) => event === "config.reloaded")).toEqual([]);
  await relay.stop();
  await expectNoCanary(relay, [upstream]);
});
