// Keys and detached signatures by openpgp.js as no sound program makes them: any type, digest, time, binding; and gpg's own verdict.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { config, createMessage, enums, generateKey, SignaturePacket, type PrivateKey } from "openpgp";
import { writePacket } from "../../src/pgp/packets.ts";
import { NOW } from "./fixture-keys.ts";
import type { GnupgHome } from "./gnupg.ts";

export const DAY_MS = 86_400_000;

type MadeSignature = {
  readonly type?: enums.signature;
  readonly digest?: enums.hash;
  readonly created?: number;
  /** Called before the signature is made, to set subpackets. */
  readonly change?: (packet: SignaturePacket) => void;
};

/** Without the salt that openpgp.js has no measure of for MD5. */
const CONFIG = { ...config, nonDeterministicSignaturesViaNotation: false };

/** What openpgp.js has and its types leave out. */
type SigningPacket = {
  sign(key: object, over: object, date: Date, isDetached: boolean, configuration: object): Promise<void>;
};

/** Made a day before NOW: Ed25519 and X25519 in the forms that gpg 2.2 knows, unless `options` say otherwise. */
export async function madeKey(options: Partial<Parameters<typeof generateKey>[0]> = {}): Promise<PrivateKey> {
  const { privateKey } = await generateKey({
    type: "ecc",
    curve: "curve25519Legacy",
    userIDs: [{ name: "Tess", email: "tess@example.com" }],
    date: new Date(NOW - DAY_MS),
    ...options,
    format: "object",
  });
  return privateKey;
}

/** The packet of the first subkey, to sign with. */
export function subkeyPacket(key: PrivateKey): PrivateKey["keyPacket"] {
  return key.subkeys[0]!.keyPacket as unknown as PrivateKey["keyPacket"];
}

/** The packet of a signature by `key` (a primary key's or a subkey's packet) over whatever its type is over. */
export async function signaturePacket(key: PrivateKey["keyPacket"], over: object, how: MadeSignature = {}) {
  const packet = new SignaturePacket();
  packet.signatureType = how.type ?? enums.signature.binary;
  packet.publicKeyAlgorithm = key.algorithm;
  packet.hashAlgorithm = how.digest ?? enums.hash.sha512;
  how.change?.(packet);
  await (packet as unknown as SigningPacket).sign(key, over, new Date(how.created ?? NOW), true, CONFIG);
  return packet;
}

/** A binary detached signature over `content`. */
export async function signatureOver(content: Uint8Array, key: PrivateKey["keyPacket"], how: MadeSignature = {}) {
  const message = (await createMessage({ binary: content })) as unknown as { packets: object[] };
  return writePacket(2, (await signaturePacket(key, message.packets[0]!, how)).write());
}

/** Whether gpg takes the signature for good and ends with 0. */
export function isGoodForGpg(
  home: GnupgHome,
  content: Uint8Array,
  signature: Uint8Array,
  at: readonly string[],
): boolean {
  const folder = mkdtempSync(join(tmpdir(), "signature-"));
  try {
    const file = join(folder, "signature.asc");
    writeFileSync(file, signature);
    const signed = join(folder, "content");
    writeFileSync(signed, content);
    const { status, stdout } = home.run([...at, "--status-fd", "1", "--verify", file, signed]);
    return status === 0 && /^\[GNUPG:\] GOODSIG /m.test(stdout.toString());
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
