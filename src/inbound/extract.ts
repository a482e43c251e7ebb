// Extract: what a message that is signed at its root can teach: who signed, when, and which keys came along.
import { setImmediate } from "node:timers/promises";
import { fitness, type FitnessPolicy } from "../keys/fitness.ts";
import { smimeKey, type SmimeKey } from "../keys/recipient-key.ts";
import type { Mailbox } from "../mail/address.ts";
import { contentType } from "../mail/content-type.ts";
import type { MimeFault } from "../mail/content-type.ts";
import {
  bodyOf,
  decodedBody,
  partsOf,
  readEntity,
  walk,
  type Entity,
  type Leaf,
  type Multipart,
} from "../mail/mime.ts";
import { decodingInPieces, transferEncoding } from "../mail/transfer-encoding.ts";
import type { PgpCertificate } from "../pgp/certificate.ts";
import { candidatesIn, type OfferedKey } from "../pgp/offered-certificates.ts";
import { verifyPgpSignature } from "../pgp/signed-message.ts";
import type { Certificate } from "../smime/certificate.ts";
import { verifySignedData, type SignedVerdict } from "../smime/signed-data.ts";

type GoodSignature = Extract<SignedVerdict, { kind: "good" }>;

/** `offered` are the OpenPGP keys that came along, whoever signed. */
export type Teaching =
  | { readonly kind: "unsigned" }
  | {
      readonly kind: "refused";
      readonly by: "smime" | "pgp";
      readonly reason: string;
      readonly offered: readonly OfferedKey[];
    }
  | { readonly kind: "smime"; readonly signature: GoodSignature }
  | {
      readonly kind: "pgp";
      readonly certificate: PgpCertificate;
      readonly signedAt: number;
      readonly offered: readonly OfferedKey[];
    };

const SIGNATURE_TYPES: ReadonlyMap<string, "smime" | "pgp"> = new Map([
  ["application/pkcs7-signature", "smime"],
  ["application/x-pkcs7-signature", "smime"],
  ["application/pgp-signature", "pgp"],
]);

/** Room for a signature part as it is encoded: one over a chain of certificates may have hundreds of kilobytes. */
const MAX_SIGNATURE_BYTES = { pgp: 64 * 1024, smime: 1536 * 1024 } as const;
/** Room for the keys of a whole message, as they are encoded. */
export const MAX_KEYS_BYTES = 2 * 1024 * 1024;
const MAX_KEYS = 1_000;

/**
 * Reads a whole message at `now` (ms), with turns for other work in between. Never rejects for what is in it, but for `signal`.
 */
export async function teachingOf(message: Uint8Array, now: number, signal: AbortSignal): Promise<Teaching> {
  const root = readEntity(message);
  const content = contentType(root.header);
  if ("fault" in content) return { kind: "unsigned" };
  if (content.type === "multipart/signed") {
    const by = SIGNATURE_TYPES.get(content.parameters.get("protocol")?.toLowerCase() ?? "");
    return by === undefined ? { kind: "unsigned" } : detached(root, by, now, signal);
  }
  const isOpaque = content.type === "application/pkcs7-mime" || content.type === "application/x-pkcs7-mime";
  if (!isOpaque || content.parameters.get("smime-type")?.toLowerCase() !== "signed-data") return { kind: "unsigned" };
  const body = await decodedInTurns(root, signal);
  if ("fault" in body) return { kind: "refused", by: "smime", reason: body.fault, offered: [] };
  await turn(signal);
  return smimeTeaching(verifySignedData(body.bytes, undefined, now));
}

async function decodedInTurns(entity: Entity, signal: AbortSignal) {
  const encoding = transferEncoding(entity.header);
  if (typeof encoding !== "string") return encoding;
  // no program writes it so, and 15 MiB of it would block for half a second
  if (encoding === "quoted-printable") return { fault: "signed-data in quoted-printable" };
  const work = decodingInPieces(bodyOf(entity), encoding);
  for (let step = work.next(); ; step = work.next()) {
    if (step.done === true) return step.value;
    await turn(signal);
  }
}

export async function turn(signal: AbortSignal): Promise<void> {
  await setImmediate();
  signal.throwIfAborted();
}

async function detached(root: Entity, by: "smime" | "pgp", now: number, signal: AbortSignal): Promise<Teaching> {
  const refused = (reason: string, offered: readonly OfferedKey[] = []): Teaching => ({
    ...{ kind: "refused", by, reason, offered },
  });
  const multipart = partsOf(root);
  if ("fault" in multipart) return refused(multipart.fault);
  const oddity = oddityAround(multipart);
  if (oddity !== undefined) return refused(oddity);
  const [signed, signature] = multipart.parts;
  if (signed === undefined || signature === undefined) return refused("a signed message needs two parts");
  const entity = readEntity(signature);
  const type = contentType(entity.header);
  if ("fault" in type || SIGNATURE_TYPES.get(type.type) !== by) return refused("the second part is not the signature");
  const octets = decodedBody(entity, MAX_SIGNATURE_BYTES[by]);
  if ("fault" in octets) return refused(octets.fault);
  await turn(signal);
  if (by === "smime") return smimeTeaching(verifySignedData(octets.bytes, signed, now));
  const offered = await offeredKeys(readEntity(signed), signal);
  if ("fault" in offered) return refused(offered.fault);
  const candidates = offered.filter(({ isSecret }) => !isSecret).map(({ bytes }) => bytes);
  const verdict = await verifyPgpSignature(signed, octets.bytes, candidates, now, signal);
  signal.throwIfAborted();
  if (verdict.kind === "refused") return refused(verdict.reason, offered);
  return { kind: "pgp", certificate: verdict.certificate, signedAt: verdict.signedAt, offered };
}

function smimeTeaching(verdict: SignedVerdict): Teaching {
  return verdict.kind === "good"
    ? { kind: "smime", signature: verdict }
    : { kind: "refused", by: "smime", reason: verdict.reason, offered: [] };
}

const MAX_PREAMBLE_BYTES = 500;
const MAX_PREAMBLE_LINES = 5;

/**
 * Why the two parts may be a cut-out of another message, whose Content-Type has been changed so that its author seems to have
 * signed what was forwarded: a DKIM signature need not cover Content-Type. Then the author's own parts stand before or behind
 * them. Programs write nothing there but one sentence that speaks of MIME, as Thunderbird, Enigmail and openssl do.
 */
function oddityAround({ preamble, epilogue }: Multipart): string | undefined {
  if (epilogue.toString("latin1").trim() !== "") return "there is text behind the signed message";
  const tooLong = "there is more than a note before the signed message";
  if (preamble.length > MAX_PREAMBLE_BYTES) return tooLong;
  const text = preamble.toString("latin1").trim();
  const lines = text.split(/\r\n|\r|\n/);
  if (text === "") return undefined;
  if (lines.length > MAX_PREAMBLE_LINES || !/\bMIME\b/.test(text)) return tooLong;
  const isOfMessage = lines.some((line) => /^--|^[!-9;-~]+[ \t]*:/.test(line) || line.trim() === "");
  return isOfMessage ? "what stands before the signed message looks like a part of another message" : undefined;
}

/** The keys in application/pgp-keys parts of what was signed; a fault when they are too many to be looked at. */
async function offeredKeys(entity: Entity, signal: AbortSignal): Promise<readonly OfferedKey[] | MimeFault> {
  const keys: OfferedKey[] = [];
  const bodies = [...walk(entity)].flatMap((leaf) => (!("fault" in leaf) && isOfKeys(leaf) ? [leaf.entity] : []));
  const sizeBytes = bodies.reduce((sum, one) => sum + bodyOf(one).length, 0);
  if (sizeBytes > MAX_KEYS_BYTES)
    return { fault: `the keys that came along have ${sizeBytes} octets; at most ${MAX_KEYS_BYTES} are read` };
  for (const one of bodies) {
    await turn(signal);
    keys.push(...(await keysIn(one, signal)));
    if (keys.length > MAX_KEYS) return { fault: `more than ${MAX_KEYS} keys came along` };
  }
  await turn(signal);
  return keys;
}

export const isOfKeys = ({ content }: Leaf) => content.type === "application/pgp-keys";

/** None when they are too large, not to be decoded or no keys. */
export async function keysIn(entity: Entity, signal: AbortSignal): Promise<readonly OfferedKey[]> {
  const body = decodedBody(entity, MAX_KEYS_BYTES);
  await turn(signal);
  const offered = "fault" in body ? body : candidatesIn(body.bytes);
  return "fault" in offered ? [] : offered;
}

/**
 * The certificate to encrypt to that a good signature teaches of its author: the one that the signer prefers (RFC 8551 2.5.3), else the
 * signer's own, else one of the same issuer that came along; the first that is fit. Else why the signer's own is not.
 *
 * What came along is not signed, and issuer and serial number, by which the preferred one is named, can be put into any
 * certificate. So others than the signer's own count only where a certification path vouches for them.
 */
export function encryptionCertificate(
  { signer, preferred, certificates, capabilities: announced }: GoodSignature,
  author: Mailbox,
  now: number,
  policy: FitnessPolicy,
): { readonly key: SmimeKey } | { readonly refused: string } {
  const companions = certificates.filter(({ isCa }) => isCa);
  const asKey = (certificate: Certificate) => smimeKey(certificate, { companions, announced });
  const sameIssuer = certificates
    .filter(({ issuerDer }) => Buffer.compare(issuerDer, signer.issuerDer) === 0)
    .sort((a, b) => b.notBefore - a.notBefore);
  const vouchedFor = [...(preferred === undefined ? [] : [preferred]), signer, ...sameIssuer];
  const inOrder = policy.path === undefined ? [signer] : vouchedFor;
  const fit = inOrder.map(asKey).find((key) => fitness(key, author, now, policy).fit);
  if (fit !== undefined) return { key: fit };
  const verdict = fitness(asKey(signer), author, now, policy);
  return { refused: verdict.fit ? "no certificate" : (verdict.detail ?? verdict.reason) };
}
