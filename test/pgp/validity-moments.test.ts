// Until when the verdict on an OpenPGP certificate holds: between two moments it stays, at each it is what gpg says, too.
import { enums, generateKey, reformatKey, revokeKey } from "openpgp";
import { afterAll, describe, expect, test } from "vitest";
import { readPgpCertificate, type PgpCertificate } from "../../src/pgp/certificate.ts";
import { writePacket } from "../../src/pgp/packets.ts";
import { gnupgHome } from "./gnupg.ts";
import { NOW } from "./fixture-keys.ts";

const DAY_MS = 86_400_000;
const at = (days: number) => NOW + days * DAY_MS;
const home = gnupgHome(false);
afterAll(() => home.close());

function gpg(time: number, args: readonly string[], input?: Uint8Array): Buffer {
  const faked = new Date(time).toISOString().replace(/[-:]|\.\d+Z/g, "");
  const quiet = ["--quiet", "--pinentry-mode", "loopback", "--passphrase", "", "--trust-model", "always"];
  const { status, stdout, stderr } = home.run([...quiet, "--faked-system-time", `${faked}!`, ...args], input);
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

/** Made ten days ago, with an encryption subkey without end, and a newer one that ends in a day. */
function rotating(address: string): Buffer {
  gpg(at(-10), ["--quick-gen-key", `Rota <${address}>`, "ed25519", "cert", "never"]);
  const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(
    gpg(at(-10), ["--with-colons", "--list-keys", address]).toString(),
  )?.[1];
  gpg(at(-10), ["--quick-add-key", fingerprint ?? "", "cv25519", "encr", "never"]);
  gpg(at(-5), ["--quick-add-key", fingerprint ?? "", "cv25519", "encr", "seconds=518400"]);
  return gpg(at(0), ["--export", address]);
}

/** Without the bounds of time. */
const verdict = ({ userIds, addresses, encryption, readsSeipd2, expires }: PgpCertificate) =>
  JSON.stringify({ userIds, addresses, encryption, readsSeipd2, expires });

/** At each moment, and just before the next one, the verdict is the same; gives the moments after `from`. */
async function steps(bytes: Uint8Array, from: number): Promise<{ moment: number; said: string }[]> {
  const found = [];
  for (let now = from; now < Infinity;) {
    const certificate = await readPgpCertificate(bytes, now);
    const { changesAt, encryption } = certificate;
    expect(certificate.judgedAt).toBe(now);
    expect(changesAt).toBeGreaterThan(now);
    const before = await readPgpCertificate(bytes, Math.min(changesAt - 1, now + 100 * DAY_MS));
    expect([verdict(before), before.changesAt]).toEqual([verdict(certificate), changesAt]);
    found.push({ moment: (now - NOW) / DAY_MS, said: encryption.usable ? encryption.key.keyId : encryption.reason });
    now = changesAt;
  }
  return found;
}

describe("the verdict of a certificate", () => {
  test("whose newer subkey ends changes at that end, to the older subkey, as gpg chooses", async () => {
    const bytes = rotating("rota@example.com");
    const said = await steps(bytes, at(-11));
    expect(said.map(({ moment }) => moment)).toEqual([-11, -10, -5, 1]);
    const [, old, newer, again] = said.map((step) => step.said);
    expect([said[0]?.said, again, newer === old]).toEqual(["not-yet-valid", old, false]);
    for (const [now, keyId] of [
      [at(0), newer],
      [at(1) - 1000, newer],
      [at(1) + 1000, old],
      [at(2), old],
    ] as const) {
      const message = gpg(now, ["--encrypt", "--recipient", "rota@example.com"], Buffer.from("x"));
      const packets = home.run(["--list-packets", "--list-only"], message);
      expect(`${packets.stdout.toString()}${packets.stderr}`.toLowerCase()).toContain(keyId);
      const { encryption } = await readPgpCertificate(bytes, now);
      expect(encryption.usable && encryption.key.keyId).toBe(keyId);
    }
  });

  test("follows the beginning and end of the key, its subkeys and a revocation that is still to come", async () => {
    const made = await generateKey({
      type: "curve25519",
      userIDs: [{ email: "tess@example.com" }],
      date: new Date(at(2)),
      keyExpirationTime: 20 * 86_400,
      subkeys: [{ keyExpirationTime: 10 * 86_400 }, {}],
      format: "object",
    });
    expect((await steps(made.publicKey.write(), at(0))).map(({ moment }) => moment)).toEqual([0, 2, 12, 22]);
    const retired = await revokeKey({
      key: made.privateKey,
      reasonForRevocation: { flag: enums.reasonForRevocation.keyRetired },
      date: new Date(at(5)),
      format: "object",
    });
    const said = await steps(retired.publicKey.write(), at(3));
    expect(said.map((step) => step.said === "revoked")).toEqual([false, true, true, true]);
  });

  test("that never changes is good for ever", async () => {
    const { publicKey } = await generateKey({
      ...{ type: "curve25519", userIDs: [{ email: "t@example.com" }], date: new Date(at(-1)), format: "object" },
    });
    expect(await readPgpCertificate(publicKey.write(), NOW)).toMatchObject({
      changesAt: Infinity,
      encryption: { usable: true },
    });
  });

  test("whose only genuine self-signature is still to come is told, also with a User ID that nobody signed", async () => {
    const { privateKey } = await generateKey({
      ...{ type: "curve25519", userIDs: [{ email: "t@example.com" }], date: new Date(at(-1)), format: "object" },
    });
    const later = { privateKey, userIDs: [{ email: "t@example.com" }], date: new Date(at(5)) };
    const { publicKey } = await reformatKey({ ...later, format: "object" });
    const bytes = Buffer.concat([publicKey.write(), writePacket(13, Buffer.from("nobody@example.com"))]);
    const now = await readPgpCertificate(bytes, at(0));
    expect([now.addresses, now.encryption.usable, now.changesAt]).toEqual([[], false, at(5)]);
    expect(now.claimedAddresses.toSorted()).toEqual(["nobody@example.com", "t@example.com"]);
    const then = await readPgpCertificate(bytes, now.changesAt);
    expect([then.addresses, then.encryption.usable]).toEqual([["t@example.com"], true]);
  });
});

test("a User ID that the owner did not sign is claimed and not verified", async () => {
  const bytes = Buffer.concat([rotating("own@example.com"), writePacket(13, Buffer.from("E <victim@example.com>"))]);
  const { addresses, claimedAddresses } = await readPgpCertificate(bytes, NOW);
  expect([addresses, claimedAddresses]).toEqual([["own@example.com"], ["own@example.com", "victim@example.com"]]);
});
