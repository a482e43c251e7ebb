// What a mail says of OpenPGP keys that wait or are other people's: newer forms and revocations count, old mails turn nothing back.
import { afterAll, describe, expect, test } from "vitest";
import { harvest } from "../../src/inbound/harvest.ts";
import { decideOn } from "../../src/inbound/pending.ts";
import { promoteFor } from "../../src/inbound/promote.ts";
import { pgpKey, type PgpKey } from "../../src/keys/recipient-key.ts";
import { mailbox } from "../../src/mail/address.ts";
import { fixtureCertificates } from "../pgp/fixture-keys.ts";
import { gnupgHome } from "../pgp/gnupg.ts";
import { atTime, exportedKeys, pgpSignedMail } from "../pgp/signed-mail.ts";
import { harvestOverStore, leased, revokedKey } from "./harvest-stage.ts";

const [ALICE, BOB] = [mailbox("alice@example.com"), mailbox("bob@example.com")];
const DAY_MS = 86_400_000;
const home = gnupgHome(true);
afterAll(() => home.close());
const fixtures = await fixtureCertificates();
const alice = fixtures.get("alice")!;
const revoked = revokedKey(alice);

type Stage = Awaited<ReturnType<typeof harvestOverStore>>;

/** A mail of Bob's that brings these keys. */
const fromBob = ({ clock }: Stage, keys: readonly Uint8Array[]) =>
  leased(pgpSignedMail(home, { from: BOB.address, signer: BOB.address, signedAt: clock.now(), keys }));
const fromAlice = (signedAt: number, key: Uint8Array) =>
  leased(pgpSignedMail(home, { from: ALICE.address, signer: alice.fingerprint, signedAt, keys: [key] }));
const waits = ({ harvested, clock }: Stage, state: "deferred" | "pending", more = {}) =>
  harvested.keep({
    ...{ state, mailbox: ALICE, key: pgpKey(alice), evidence: "dmarc=pass", signedAt: clock.now() - DAY_MS },
    ...{ seenAt: clock.now(), expiresAt: clock.now() + DAY_MS },
    ...more,
  });
const use = async ({ personalKeys }: Stage) => {
  const [own] = await personalKeys.find(ALICE, "pgp", "incoming");
  return own && (own.key as PgpKey).certificate.encryption;
};

describe("HARV-17: a revocation of Alice's key that Bob's mail brings", () => {
  test("ends the use of the learned one", async () => {
    const stage = await harvestOverStore();
    const now = stage.clock.now();
    await stage.personalKeys.learn(ALICE, pgpKey(alice), { origin: "incoming", signedAt: now, now });
    await harvest(fromBob(stage, [exportedKeys(home, [BOB.address], "binary"), revoked]), stage.parts);
    expect(stage.happened).toContain("learned alice@example.com revocation");
    expect(await use(stage)).toMatchObject({ usable: false, reason: "revoked" });
  });

  test("makes a deferred one that nobody can promote, and says so once", async () => {
    const stage = await harvestOverStore();
    await waits(stage, "deferred");
    await harvest(fromBob(stage, [revoked]), stage.parts);
    await harvest(fromBob(stage, [revoked]), stage.parts);
    expect(stage.happened.filter((event) => event === "ignored alice@example.com revoked")).toHaveLength(1);
    expect(await stage.harvested.of(ALICE)).toMatchObject([{ state: "deferred" }]);
    stage.happened.length = 0;
    await promoteFor(ALICE, stage.parts);
    expect(stage.happened).toEqual(["ignored alice@example.com revoked"]);
    expect(await use(stage)).toBeUndefined();
  });

  test("makes a pending one that nobody can approve, and an older mail that brings it again changes nothing", async () => {
    const stage = await harvestOverStore();
    await waits(stage, "pending");
    await harvest(fromBob(stage, [revoked]), stage.parts);
    await harvest(fromAlice(stage.clock.now() - 1_000, alice.bytes), stage.parts);
    const [entry] = await stage.harvested.of(ALICE);
    expect(await decideOn(entry!, "approve", "test", stage.parts)).toEqual({ kind: "unfit", reason: "revoked" });
  });

  test("costs no look at keys that nobody holds", async () => {
    const stage = await harvestOverStore();
    const others = [...fixtures.values()].map(({ bytes }) => bytes);
    await harvest(leased(bringing([...others, revoked])), stage.parts);
    const without = stage.looks();
    await harvest(leased(bringing([])), stage.parts);
    expect(without).toBe(stage.looks() - without);
  });
});

describe("HARV-18: a newer form of a key that waits", () => {
  test("is merged with it, whichever comes first, and the time it was signed at never goes back", async () => {
    const stage = await harvestOverStore();
    const now = stage.clock.now();
    const until = new Date(now + 400 * DAY_MS).toISOString().slice(0, 10);
    const older = exportedKeys(home, [alice.fingerprint], "binary");
    expect(home.run([...atTime(now - DAY_MS), "--quick-set-expire", alice.fingerprint, until]).status).toBe(0);
    const newer = exportedKeys(home, [alice.fingerprint], "binary");
    await harvest(fromAlice(now - 1_000, newer), stage.parts);
    await harvest(fromAlice(now - 60_000, older), stage.parts);
    const [entry, ...more] = await stage.harvested.of(ALICE);
    expect([more, entry?.signedAt]).toEqual([[], Math.floor((now - 1_000) / 1_000) * 1_000]);
    expect(new Date((entry!.key as PgpKey).certificate.expires!).toISOString().slice(0, 10)).toBe(until);
    await promoteFor(ALICE, stage.parts);
    expect(stage.happened.at(-1)).toBe("promoted alice@example.com new");
    expect(await use(stage)).toMatchObject({ usable: true });
  });
});

/** Signed by nobody; these keys come along. */
function bringing(keys: readonly Uint8Array[]): Buffer {
  return Buffer.from(
    `From: ${BOB.address}\r\nContent-Type: multipart/signed; protocol="application/pgp-signature"; boundary=q\r\n\r\n--q\r\n` +
      "Content-Type: application/pgp-keys\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
      `${Buffer.concat(keys).toString("base64")}\r\n--q\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--q--\r\n`,
  );
}
