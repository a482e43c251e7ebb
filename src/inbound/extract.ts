// Extract: what a message that is signed at its root can teach: who signed, when, and which keys came along.
import { fitness, type FitnessPolicy } from "../keys/fitness.ts";
import { smimeKey, type SmimeKey } from "../keys/recipient-key.ts";
import type { Mailbox } from "../mail/address.ts";
import { contentType } from "../mail/content-type.ts";
import { bodyOf, decodedBody, partsOf, readEntity, walk, type Entity } from "../mail/mime.ts";
import type { PgpCertificate } from "../pgp/certificate.ts";
import { candidatesIn, type OfferedKey } from "../pgp/offered-certificates.ts";
import { verifyPgpSignature } from "../pgp/signed-message.ts";
import type { Certificate } from "../smime/certificate.ts";
import { verifySignedData, type SignedVerdict } from "../smime/signed-data.ts";

type GoodSignature = Extract<SignedVerdict, { kind: "good" }>;

/** `offered` are the OpenPGP keys that came along, whoever signed; `hasSecret`: a private key is among what was sent. */
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

/** Reads a whole message at `now` (ms). Never rejects for what is in it. */
export async function teachingOf(message: Uint8Array, now: number): Promise<Teaching> {
  const root = readEntity(message);
  const content = contentType(root.header);
  if ("fault" in content) return { kind: "unsigned" };
  if (content.type === "multipart/signed") {
    const by = SIGNATURE_TYPES.get(content.parameters.get("protocol")?.toLowerCase() ?? "");
    return by === undefined ? { kind: "unsigned" } : detached(root, by, now);
  }
  const isOpaque = content.type === "application/pkcs7-mime" || content.type === "application/x-pkcs7-mime";
  if (!isOpaque || content.parameters.get("smime-type")?.toLowerCase() !== "signed-data") return { kind: "unsigned" };
  const body = decodedBody(root);
  if ("fault" in body) return { kind: "refused", by: "smime", reason: body.fault, offered: [] };
  return smimeTeaching(verifySignedData(body.bytes, undefined, now));
}

async function detached(root: Entity, by: "smime" | "pgp", now: number): Promise<Teaching> {
  const refused = (reason: string, offered: readonly OfferedKey[] = []): Teaching => ({
    ...{ kind: "refused", by, reason, offered },
  });
  const multipart = partsOf(root);
  if ("fault" in multipart) return refused(multipart.fault);
  const [signed, signature] = multipart.parts;
  if (signed === undefined || signature === undefined) return refused("a signed message needs two parts");
  const entity = readEntity(signature);
  const type = contentType(entity.header);
  if ("fault" in type || SIGNATURE_TYPES.get(type.type) !== by) return refused("the second part is not the signature");
  const octets = decodedBody(entity);
  if ("fault" in octets) return refused(octets.fault);
  if (by === "smime") return smimeTeaching(verifySignedData(octets.bytes, signed, now));
  const offered = offeredKeys(readEntity(signed));
  const candidates = offered.filter(({ isSecret }) => !isSecret).map(({ bytes }) => bytes);
  const verdict = await verifyPgpSignature(signed, octets.bytes, candidates, now);
  if (verdict.kind === "refused") return refused(verdict.reason, offered);
  return { kind: "pgp", certificate: verdict.certificate, signedAt: verdict.signedAt, offered };
}

function smimeTeaching(verdict: SignedVerdict): Teaching {
  return verdict.kind === "good"
    ? { kind: "smime", signature: verdict }
    : { kind: "refused", by: "smime", reason: verdict.reason, offered: [] };
}

/** The keys in application/pgp-keys parts of what was signed. */
function offeredKeys(entity: Entity): OfferedKey[] {
  const keys: OfferedKey[] = [];
  for (const leaf of walk(entity)) {
    if ("fault" in leaf || leaf.content.type !== "application/pgp-keys") continue;
    const body = decodedBody(leaf.entity);
    if ("fault" in body) continue;
    const offered = candidatesIn(body.bytes);
    if (!("fault" in offered)) keys.push(...offered);
  }
  return keys;
}

/** Types under which programs send a PKCS#12 file: it holds a private key, whatever else. */
const PKCS12 = /^application\/(?:x-)?pkcs-?12$/;
const PRIVATE_KEY = /-----BEGIN (?:PGP |RSA |EC |ENCRYPTED )?PRIVATE KEY(?: BLOCK)?-----/;

/** Whether somebody has sent a private key along, by mistake. */
export function holdsPrivateKey(message: Uint8Array): boolean {
  for (const leaf of walk(readEntity(message))) {
    if ("fault" in leaf) continue;
    if (PKCS12.test(leaf.content.type)) return true;
    const body = decodedBody(leaf.entity);
    const text = ("fault" in body ? bodyOf(leaf.entity) : body.bytes).toString("latin1", 0, 65_536);
    if (PRIVATE_KEY.test(text)) return true;
    if (leaf.content.type === "application/pgp-keys" && !("fault" in body)) {
      const offered = candidatesIn(body.bytes);
      if (!("fault" in offered) && offered.some(({ isSecret }) => isSecret)) return true;
    }
  }
  return false;
}

/**
 * The certificate to encrypt to that a good signature teaches of its author: the one that the signer prefers (RFC 8551 2.5.3), else the
 * signer's own, else one of the same issuer that came along; the first that is fit. Else why the signer's own is not.
 */
export function encryptionCertificate(
  { signer, preferred, certificates, capabilities }: GoodSignature,
  author: Mailbox,
  now: number,
  policy: FitnessPolicy,
): { readonly key: SmimeKey } | { readonly refused: string } {
  const announced = capabilities.map(({ oid }) => oid);
  const companions = certificates.filter(({ isCa }) => isCa);
  const asKey = (certificate: Certificate) => smimeKey(certificate, { companions, announced });
  const sameIssuer = certificates
    .filter(({ issuerDer }) => Buffer.compare(issuerDer, signer.issuerDer) === 0)
    .sort((a, b) => b.notBefore - a.notBefore);
  const inOrder = [...(preferred === undefined ? [] : [preferred]), signer, ...sameIssuer];
  const fit = inOrder.map(asKey).find((key) => fitness(key, author, now, policy).fit);
  if (fit !== undefined) return { key: fit };
  const verdict = fitness(asKey(signer), author, now, policy);
  return { refused: verdict.fit ? "no certificate" : (verdict.detail ?? verdict.reason) };
}
