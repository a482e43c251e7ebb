// Private keys that somebody has sent along by mistake: found by the beginning of each part, so that no part is decoded whole for it.
import { bodyOf, readEntity, walk, type Entity, type Leaf } from "../mail/mime.ts";
import { decodeBody, transferEncoding } from "../mail/transfer-encoding.ts";
import type { OfferedKey } from "../pgp/offered-certificates.ts";
import { isOfKeys, keysIn, MAX_KEYS_BYTES, turn } from "./extract.ts";

/** Types under which programs send a PKCS#12 file, and its names: it holds a private key, whatever else. */
const PKCS12 = /^application\/(?:x-)?pkcs-?12$/;
const PKCS12_NAME = /\.(?:p12|pfx)$/i;
const PRIVATE_KEY = /-----BEGIN (?:PGP |RSA |EC |ENCRYPTED )?PRIVATE KEY(?: BLOCK)?-----/;
/** Of each part, as it is encoded. */
const LOOKED_AT_BYTES = 64 * 1024;

/**
 * Whether there is a private key in a message. `offered` are the keys that have been read out of it already; of parts with keys as many
 * are looked into as may teach. Rejects when `signal` fires.
 */
export async function holdsPrivateKey(
  message: Uint8Array,
  offered: readonly OfferedKey[],
  signal: AbortSignal,
): Promise<boolean> {
  if (offered.some(({ isSecret }) => isSecret)) return true;
  let keysBytes = 0;
  for (const leaf of walk(readEntity(message))) {
    await turn(signal);
    if ("fault" in leaf) continue;
    if (isPkcs12(leaf) || PRIVATE_KEY.test(beginningOf(leaf.entity))) return true;
    if (!isOfKeys(leaf) || offered.length > 0) continue;
    keysBytes += bodyOf(leaf.entity).length;
    if (keysBytes > MAX_KEYS_BYTES) continue;
    if ((await keysIn(leaf.entity, signal)).some(({ isSecret }) => isSecret)) return true;
  }
  return false;
}

function isPkcs12({ content: { type, parameters } }: Leaf): boolean {
  return PKCS12.test(type) || PKCS12_NAME.test(parameters.get("name") ?? "");
}

/** What a part begins with, decoded as far as that goes. */
function beginningOf(entity: Entity): string {
  const body = bodyOf(entity).subarray(0, LOOKED_AT_BYTES);
  const encoding = transferEncoding(entity.header);
  const text = body.toString("latin1");
  if (encoding === "base64") return Buffer.from(text, "base64").toString("latin1");
  if (encoding !== "quoted-printable") return text;
  const lines = decodeBody(body.subarray(0, body.lastIndexOf(10) + 1), encoding);
  return "fault" in lines ? text : lines.bytes.toString("latin1");
}
