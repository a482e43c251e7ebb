// Signatures by subkeys: good only when the subkey has signed its primary key, and while both hold.
import { enums, type PrivateKey } from "openpgp";
import { describe, expect, test } from "vitest";
import { writePacket } from "../../src/pgp/packets.ts";
import { verifyPgpSignature } from "../../src/pgp/signed-message.ts";
import { NOW } from "./fixture-keys.ts";
import { gnupgHome } from "./gnupg.ts";
import { DAY_MS, isGoodForGpg, madeKey, signatureOver, signaturePacket, subkeyPacket } from "./made-signatures.ts";
import { atTime, detachedSignature, exportedKeys, generateKeyIn, textPart } from "./signed-mail.ts";

const MINUTE_MS = 60_000;
const CONTENT = textPart("Hello.\nSecond line.");
const bytesOf = (key: PrivateKey) => key.toPublic().write();

async function reasonOf(signature: Uint8Array, candidates: readonly Uint8Array[], now = NOW) {
  const verdict = await verifyPgpSignature(CONTENT, signature, candidates, now);
  return verdict.kind === "good" ? "good" : verdict.reason;
}

describe("signing subkeys", () => {
  const made = () => madeKey({ subkeys: [{ sign: true }] });

  /** The key with its subkey bound again, by `change` other than openpgp.js would. */
  async function boundAgain(key: PrivateKey, subkeyOf: PrivateKey, change: (packet: never) => void) {
    const subkey = subkeyOf.subkeys[0]!;
    const binding = await signaturePacket(
      key.keyPacket,
      { key: key.keyPacket, bind: subkey.keyPacket },
      {
        type: enums.signature.subkeyBinding,
        created: NOW - DAY_MS,
        change: (packet) => {
          packet.keyFlags = new Uint8Array([enums.keyFlags.signData]);
          change(packet as never);
        },
      },
    );
    const publicSubkey = subkeyOf.toPublic().subkeys[0]!.keyPacket.write();
    const whole = key.toPublic();
    whole.subkeys = [];
    return Buffer.concat([whole.write(), writePacket(14, publicSubkey), writePacket(2, binding.write())]);
  }

  test("a signature of gpg by a signing subkey is good", async () => {
    const own = gnupgHome(false);
    try {
      generateKeyIn(own, "Sub <sub@example.com>", NOW - DAY_MS, "ed25519", "cert", "never");
      const listed = own.run(["--with-colons", "--list-keys"]).stdout.toString();
      const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(listed)![1]!;
      const added = own.run([
        ...atTime(NOW - DAY_MS),
        ...["--passphrase", "", "--quick-add-key", fingerprint, "ed25519", "sign", "never"],
      ]);
      expect(added.status, added.stderr).toBe(0);
      const signature = detachedSignature(own, CONTENT, { signer: "sub@example.com", signedAt: NOW });
      const key = exportedKeys(own, [fingerprint], "binary");
      expect(await verifyPgpSignature(CONTENT, signature, [key], NOW)).toMatchObject({
        kind: "good",
        certificate: { fingerprint: fingerprint.toLowerCase(), addresses: ["sub@example.com"] },
      });
    } finally {
      own.close();
    }
  });

  test("a subkey that has not signed its primary key is refused, for gpg too", async () => {
    const key = await made();
    const bytes = await boundAgain(key, key, () => undefined);
    const signature = await signatureOver(CONTENT, subkeyPacket(key));
    expect(await reasonOf(signature, [bytesOf(key)])).toBe("good");
    expect(await reasonOf(signature, [bytes])).toMatch(/may not sign: .*missing embedded signature/i);
    for (const [candidate, isGood] of [
      [bytesOf(key), true],
      [bytes, false],
    ] as const) {
      const own = gnupgHome(false);
      try {
        expect(own.run([...atTime(NOW), "--import"], candidate).status).toBe(0);
        expect(isGoodForGpg(own, CONTENT, signature, atTime(NOW))).toBe(isGood);
      } finally {
        own.close();
      }
    }
  });

  test("a victim's signing subkey in an attacker's key, with the victim's signature over it, is refused", async () => {
    const victim = await made();
    const attacker = await madeKey({ userIDs: [{ email: "attacker@evil.example" }] });
    const embedded = victim.subkeys[0]!.bindingSignatures[0]!.embeddedSignature;
    expect(embedded).not.toBeNull();
    const stolen = await boundAgain(attacker, victim, (packet: { embeddedSignature: unknown }) => {
      packet.embeddedSignature = embedded;
    });
    const signature = await signatureOver(CONTENT, subkeyPacket(victim));
    expect(await reasonOf(signature, [stolen])).toMatch(/may not sign/);
    expect(await reasonOf(signature, [stolen, bytesOf(victim)])).toMatch(/several keys that came along have key id/);
  });

  test("a revoked or ended subkey is refused, and one for encryption alone is none to sign with", async () => {
    const key = await made();
    const signature = await signatureOver(CONTENT, subkeyPacket(key));
    const revocation = (await key.subkeys[0]!.revoke(key.keyPacket as never, {}, new Date(NOW - 1000)))
      .revocationSignatures[0]!;
    const revoked = Buffer.concat([bytesOf(key), writePacket(2, revocation.write())]);
    expect(await reasonOf(signature, [revoked])).toMatch(/may not sign: .*subkey is revoked/i);
    const ended = await madeKey({ subkeys: [{ sign: true, keyExpirationTime: 3600 }] });
    const byEnded = await signatureOver(CONTENT, subkeyPacket(ended), {
      created: NOW - DAY_MS + MINUTE_MS,
    });
    expect(await reasonOf(byEnded, [bytesOf(ended)], NOW - DAY_MS + 2 * MINUTE_MS)).toBe("good");
    expect(await reasonOf(byEnded, [bytesOf(ended)])).toMatch(/subkey is expired/i);
    const rsa = await madeKey({ type: "rsa", rsaBits: 2048 });
    const byOther = await signatureOver(CONTENT, subkeyPacket(rsa));
    expect(await reasonOf(byOther, [bytesOf(rsa)])).toMatch(/may not sign: could not find valid signing key packet/);
  });
});
