// Keys that a mail brings, in a part of type application/pgp-keys (RFC 3156 7) or an Autocrypt field.
import { asError } from "../as-error.ts";
import { parseMailbox } from "../mail/address.ts";
import { decodeArmor } from "./armor.ts";
import { packetsIn, TAG } from "./packets.ts";
import { splitRing } from "./ring.ts";
import { minimalKey } from "./transferable-key.ts";

/** One transferable key, binary. A secret one is never used; its octets are empty when its armor was damaged. */
export type OfferedKey = { readonly bytes: Uint8Array; readonly isSecret: boolean };

export type AutocryptKey = {
  /** As RFC 5321 has it, domain in A-labels. */
  readonly address: string;
  /** One transferable public key, binary. */
  readonly key: Uint8Array;
};

type OfferFault = { readonly fault: string };

/** Room for some 500 keys; one flooded with third-party certifications is beyond it. */
const MAX_ATTACHMENT_BYTES = 2 * 1024 * 1024;
const MAX_KEYS = 1000;
const MAX_AUTOCRYPT_BYTES = 10 * 1024;

const BLOCK_HEAD = "-----BEGIN PGP ";
/** 2 MiB in lines of 64 characters are half of it; as many tiny lines as fit would block for long. */
const MAX_ARMOR_LINES = 60_000;

/**
 * Cuts the decoded content of an application/pgp-keys part, armored (any number of blocks) or binary, into single keys; damaged
 * ones are left out. Nothing is verified and nothing parsed beyond packet heads. A fault when there is no key in it, when it has
 * more than 2 MiB, more than 1000 keys, or armor of more than 60,000 lines. Never throws.
 */
export function candidatesIn(attachment: Uint8Array): readonly OfferedKey[] | OfferFault {
  if (attachment.length > MAX_ATTACHMENT_BYTES)
    return { fault: `the keys have ${attachment.length} octets; at most ${MAX_ATTACHMENT_BYTES} are read` };
  const armorBlocks = countUpTo(MAX_KEYS, BLOCK_HEAD, attachment);
  if (armorBlocks > MAX_KEYS) return { fault: `there are more than ${MAX_KEYS} armored blocks` };
  if (armorBlocks > 0 && countUpTo(MAX_ARMOR_LINES, "\n", attachment) > MAX_ARMOR_LINES)
    return { fault: `the armor has more than ${MAX_ARMOR_LINES} lines` };
  const keys: OfferedKey[] = [];
  for (const { bytes, isSecret } of ringsIn(attachment)) {
    if (isSecret && bytes.length === 0) keys.push({ bytes, isSecret });
    // packets of keys have more than eight octets, but for some of their names: else the ring is made to be slow
    for (const part of splitRing(bytes, Math.ceil(bytes.length / 8))) {
      const own = bytes.subarray(part.start, part.end);
      if (part.kind === "key") keys.push({ bytes: own, isSecret: isSecret || hasSecretPacket(own) });
      // broken or not, it must not go unnoticed
      else if (isSecret || hasSecretPacket(own)) keys.push({ bytes: own, isSecret: true });
      if (keys.length > MAX_KEYS) return { fault: `there are more than ${MAX_KEYS} keys` };
    }
  }
  return keys.length > 0 ? keys : { fault: "there is no OpenPGP key in it" };
}

/** How often the text occurs; more than `most` are not told apart. */
function countUpTo(most: number, text: string, bytes: Uint8Array): number {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let count = 0;
  for (let at = buffer.indexOf(text); at >= 0 && count <= most; at = buffer.indexOf(text, at + text.length)) count += 1;
  return count;
}

/** The binary of each block, or the whole when it is not armored. */
function ringsIn(attachment: Uint8Array): OfferedKey[] {
  const text = Buffer.from(attachment.buffer, attachment.byteOffset, attachment.length).toString("latin1");
  if (!/^-----BEGIN PGP /m.test(text)) return [{ bytes: attachment, isSecret: false }];
  const { blocks, faults } = decodeArmor(text);
  const isSecret = ({ type }: { type: string }) => type === "PRIVATE KEY BLOCK";
  return [
    ...blocks
      .filter((block) => block.type === "PUBLIC KEY BLOCK" || isSecret(block))
      .map((block) => ({ bytes: block.bytes, isSecret: isSecret(block) })),
    ...faults.filter(isSecret).map(() => ({ bytes: new Uint8Array(0), isSecret: true })),
  ];
}

function hasSecretPacket(bytes: Uint8Array): boolean {
  return packetsIn(bytes).some(({ tag }) => tag === TAG.secretKey || tag === TAG.secretSubkey);
}

/**
 * Reads the unfolded value of an Autocrypt field (autocrypt.org, Level 1): `addr`, perhaps `prefer-encrypt`, `keydata` last.
 * Attributes that begin with `_` are passed over; any other unknown, doubled or malformed one is a fault, and so is a value of
 * more than 10 KiB. That the key is whose it says is not judged here. Never throws.
 */
export function autocryptKey(fieldValue: string): AutocryptKey | OfferFault {
  if (Buffer.byteLength(fieldValue) > MAX_AUTOCRYPT_BYTES)
    return { fault: `the autocrypt field has more than ${MAX_AUTOCRYPT_BYTES} octets` };
  const attributes = new Map<string, string>();
  for (const text of fieldValue.split(";")) {
    const match = /^[ \t]*([A-Za-z0-9_-]+)[ \t]*=([^]*)$/.exec(text);
    const name = match?.[1]?.toLowerCase();
    if (name === undefined) return { fault: "the autocrypt field holds something that is no attribute" };
    if (attributes.has("keydata")) return { fault: "in the autocrypt field keydata is not the last attribute" };
    if (attributes.has(name)) return { fault: `the autocrypt field has the attribute ${name} twice` };
    if (!name.startsWith("_") && !["addr", "prefer-encrypt", "keydata"].includes(name))
      return { fault: `the autocrypt field has the critical attribute ${name}, which is not known` };
    attributes.set(name, match?.[2]?.trim() ?? "");
  }
  const parsed = parseMailbox(attributes.get("addr") ?? "");
  if ("fault" in parsed) return { fault: `the addr of the autocrypt field is no address: ${parsed.fault.text}` };
  const preferEncrypt = attributes.get("prefer-encrypt");
  if (preferEncrypt !== undefined && preferEncrypt !== "mutual")
    return { fault: "the prefer-encrypt of the autocrypt field is not mutual" };
  const key = keyIn(attributes.get("keydata") ?? "");
  return "fault" in key ? key : { address: parsed.mailbox.address, key };
}

function keyIn(keydata: string): Uint8Array | OfferFault {
  const base64 = keydata.replace(/[ \t\r\n]+/g, "");
  const bytes = Buffer.from(base64, "base64");
  if (base64 === "" || bytes.toString("base64") !== base64)
    return { fault: "the keydata of the autocrypt field is not base64" };
  if (hasSecretPacket(bytes)) return { fault: "the keydata of the autocrypt field is a secret key" };
  try {
    return minimalKey(bytes).bytes;
  } catch (cause) {
    return { fault: `the keydata of the autocrypt field is not one key: ${asError(cause).message}` };
  }
}
