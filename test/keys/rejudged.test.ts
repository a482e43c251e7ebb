// OpenPGP keys that a file or a memory has kept past a change: the chain judges them by what holds at the look-up.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKey, reformatKey, type SubkeyOptions } from "openpgp";
import { afterAll, describe, expect, test } from "vitest";
import { createChain } from "../../src/keys/chain.ts";
import { found } from "../../src/keys/lookup.ts";
import { pgpKey, type PgpKey, type RecipientKey } from "../../src/keys/recipient-key.ts";
import { rejudged } from "../../src/keys/rejudged.ts";
import type { KeySource } from "../../src/keys/source.ts";
import { mailbox } from "../../src/mail/address.ts";
import { readPgpCertificate } from "../../src/pgp/certificate.ts";
import { writePacket } from "../../src/pgp/packets.ts";
import { keyStoreFile } from "../../src/sources/key-store-file.ts";
import { keyringReader } from "../../src/sources/key-store-readers.ts";
import { certificateOf } from "../keys-of.ts";
import { manualClock } from "../manual-clock.ts";

const HOUR_MS = 3_600_000;
const NOW = Date.UTC(2026, 11, 1);
const POLICY = { minRsaBits: 2048 };
const forever = new AbortController().signal;
const folder = mkdtempSync(join(tmpdir(), "sealpost-rejudged-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Made an hour before NOW, or at `date`. */
const made = (email: string, subkeys: SubkeyOptions[] = [{}], date = NOW - HOUR_MS) =>
  generateKey({ type: "curve25519", userIDs: [{ email }], subkeys, date: new Date(date), format: "object" });

/** A subkey without end, and a newer one that ends two hours after NOW. */
async function rotating(email: string): Promise<Uint8Array> {
  const { privateKey } = await made(email);
  const newer = { date: new Date(NOW - HOUR_MS / 2), keyExpirationTime: 9_000 };
  return (await privateKey.addSubkey({ type: "curve25519", ...newer })).toPublic().write();
}

function keyStore(name: string, bytes: Uint8Array, readAt: number) {
  const file = join(folder, name);
  writeFileSync(file, bytes);
  const observe = { loaded: () => undefined, failed: () => undefined };
  const clock = manualClock(readAt);
  const store = keyStoreFile<PgpKey>(file, "pgp", "pgp.keyStore.file", keyringReader, observe, POLICY, () =>
    clock.now(),
  );
  const chain = createChain("pgp", [store], POLICY, clock, 8_000);
  const resolve = async (email: string, atMs: number) => {
    clock.advance(atMs - clock.now());
    const { answer, trail } = await chain.resolve(mailbox(email), forever);
    const key = answer.kind === "found" ? answer.value.key.certificate.encryption : undefined;
    return key?.usable === true ? key.key.keyId : (trail[0]?.candidates.map(({ reason }) => reason) ?? []).join();
  };
  return { store, resolve };
}

describe("a key-store file that was read once", () => {
  test("gives the older subkey when the newer one has ended since", async () => {
    const bytes = await rotating("rota@example.com");
    const at = async (now: number) => {
      const { encryption } = await readPgpCertificate(bytes, now);
      return encryption.usable ? encryption.key.keyId : encryption.reason;
    };
    const { store, resolve } = keyStore("rotating.gpg", bytes, NOW);
    await store.refresh();
    const newer = await resolve("rota@example.com", NOW);
    const older = await resolve("rota@example.com", NOW + 3 * HOUR_MS);
    expect([newer, older]).toEqual([await at(NOW), await at(NOW + 3 * HOUR_MS)]);
    expect(older).not.toBe(newer);
    expect(await resolve("rota@example.com", NOW + HOUR_MS)).toBe(newer);
  });

  test("gives a key that was of the future then", async () => {
    const { publicKey } = await made("futu@example.com", [{}], NOW + HOUR_MS);
    const { store, resolve } = keyStore("future.gpg", publicKey.write(), NOW);
    await store.refresh();
    expect(await resolve("futu@example.com", NOW)).toBe("not-yet-valid");
    expect(await resolve("futu@example.com", NOW + HOUR_MS)).toMatch(/^[0-9a-f]{16}$/);
  });

  test.each([2020, 2040])(
    "gives what the right time says although the clock said %d when it was read",
    async (year) => {
      const subkeys = [{ keyExpirationTime: 9_000 }];
      const { publicKey } = await made("t@example.com", subkeys);
      const { store, resolve } = keyStore(`${year}.gpg`, publicKey.write(), Date.UTC(year, 0));
      await store.refresh();
      expect(await resolve("t@example.com", NOW)).toMatch(/^[0-9a-f]{16}$/);
      expect(await resolve("t@example.com", NOW + 3 * HOUR_MS)).toBe("expired");
    },
  );

  test("finds a key by a User ID that was not valid when it was read", async () => {
    const { privateKey } = await made("old@example.com");
    const later = { privateKey, userIDs: [{ email: "new@example.com" }], date: new Date(NOW + HOUR_MS) };
    const { publicKey } = await reformatKey({ ...later, format: "object" });
    const { store, resolve } = keyStore("later.gpg", publicKey.write(), NOW);
    await store.refresh();
    expect(await resolve("new@example.com", NOW)).toBe("wrong-mailbox");
    expect(await resolve("new@example.com", NOW + HOUR_MS)).toMatch(/^[0-9a-f]{16}$/);
  });

  test("never gives a key for a User ID that its owner did not sign", async () => {
    const { publicKey } = await made("own@example.com");
    const bytes = Buffer.concat([publicKey.write(), writePacket(13, Buffer.from("V <victim@example.com>"))]);
    for (const readAt of [Date.UTC(2020, 0), NOW, Date.UTC(2040, 0)]) {
      const { store, resolve } = keyStore("claiming.gpg", bytes, readAt);
      await store.refresh();
      expect(await resolve("victim@example.com", NOW)).toBe("wrong-mailbox");
      expect(await resolve("own@example.com", NOW)).toMatch(/^[0-9a-f]{16}$/);
    }
  });
});

describe("keys from memory", () => {
  const source = (...keys: PgpKey[]): KeySource<PgpKey> => ({
    name: "keyserver",
    find: () => Promise.resolve({ ...found(keys), cached: true }),
    probe: () => Promise.resolve({ ok: true, detail: "" }),
  });

  test("are the very array while all hold, and nothing is waited for", async () => {
    const key = pgpKey(await readPgpCertificate(await rotating("rota@example.com"), NOW));
    const keys: RecipientKey[] = [key, certificateOf("alice-old")];
    for (const now of [NOW, key.certificate.changesAt - 1]) expect(rejudged(keys, now)).toBe(keys);
    const [later, other] = await rejudged(keys, key.certificate.changesAt);
    expect(later).not.toBe(key);
    expect(other).toBe(keys[1]);
  });

  test("are read again once, however many want them, and keep their place", async () => {
    const place = { name: "dn", rank: 1 };
    const key = { ...pgpKey(await readPgpCertificate(await rotating("rota@example.com"), NOW)), place };
    const now = key.certificate.changesAt;
    const many = await Promise.all(Array.from({ length: 20 }, async () => rejudged([key], now)));
    many.push(await rejudged([key], now + HOUR_MS));
    expect(new Set(many.map(([one]) => one?.certificate)).size).toBe(1);
    expect(many[0]?.[0]).toMatchObject({ place, fingerprint: key.fingerprint, certificate: { judgedAt: now } });
    const before = await rejudged([key], NOW - 1);
    expect(before[0]?.certificate.encryption).toEqual(key.certificate.encryption);
  });

  test("are judged at the time for which they were read: none ends in between", async () => {
    const key = pgpKey(await readPgpCertificate(await rotating("rota@example.com"), NOW));
    for (let early = 1; early < 40; early++) {
      let now = key.certificate.changesAt - early;
      const clock = { ...manualClock(), now: () => (now += 7) };
      const chain = createChain("pgp", [source(key)], POLICY, clock, 8_000);
      expect((await chain.resolve(mailbox("rota@example.com"), forever)).answer.kind).toBe("found");
    }
  });

  test("that cannot be read again make the look-up fail, and the next source is not asked", async () => {
    const key = pgpKey(await readPgpCertificate(await rotating("rota@example.com"), NOW));
    const broken = { ...key, certificate: { ...key.certificate, bytes: key.certificate.bytes.subarray(0, 90) } };
    const clock = manualClock(key.certificate.changesAt);
    const chain = createChain("pgp", [source(broken), source(key)], POLICY, clock, 8_000);
    for (let mail = 0; mail < 2; mail++) {
      const { answer, trail } = await chain.resolve(mailbox("rota@example.com"), forever);
      expect([answer.kind, trail.map((entry) => entry.answer)]).toEqual(["failed", ["failed", "skipped"]]);
    }
  });
});
