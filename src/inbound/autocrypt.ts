// Autocrypt: a key in a header field, which nothing but the evidence for From vouches for; read only when it is switched on.
import { asError } from "../as-error.ts";
import { fitness } from "../keys/fitness.ts";
import { pgpKey, type PgpKey } from "../keys/recipient-key.ts";
import { parseMailbox, type Mailbox } from "../mail/address.ts";
import type { Sized } from "../mail/chunks.ts";
import { fieldsNamed, fieldValue, firstField, type HeaderField, type HeaderSection } from "../mail/header.ts";
import { readPgpCertificate } from "../pgp/certificate.ts";
import { autocryptKey } from "../pgp/offered-certificates.ts";
import { evidenceFor, type EvidenceRule } from "./evidence.ts";
import { factsOf, type HarvestObserver } from "./harvest-observer.ts";
import type { KeepParts } from "./keep.ts";

export type AutocryptParts = Pick<KeepParts, "personalKeys" | "policy" | "now"> & {
  readonly evidence: EvidenceRule;
  readonly observe: HarvestObserver;
  isKnown(mailbox: Mailbox, signal: AbortSignal): Promise<boolean>;
};

/**
 * Keeps the key of the one Autocrypt field of a mail by somebody whom Jira knows, as the last source of all (autocrypt.org,
 * Level 1). Rejects when `signal` fires: then nothing is kept and nothing is told.
 */
export async function takeAutocrypt(
  { header, message, author }: Mail,
  parts: AutocryptParts,
  signal: AbortSignal,
  queueId: string,
): Promise<void> {
  const fields = fieldsNamed(header, "autocrypt");
  const [field] = fields;
  if (field === undefined) return;
  const taken = await judged(field, fields.length, { header, message, author }, parts, signal);
  signal.throwIfAborted();
  const { observe, personalKeys } = parts;
  if ("refused" in taken) {
    observe.happened("ignored", { address: author, kind: "pgp", reason: `autocrypt: ${taken.refused}` }, queueId);
    return;
  }
  const { key, signedAt } = taken;
  const isTaken = await personalKeys.learn(author, key, { origin: "autocrypt", signedAt, now: parts.now() });
  if (isTaken) observe.happened("learned", factsOf(author, key, "autocrypt"), queueId);
}

type Mail = { readonly header: HeaderSection; readonly message: Sized; readonly author: Mailbox };

async function judged(
  field: HeaderField,
  count: number,
  { header, message, author }: Mail,
  parts: AutocryptParts,
  signal: AbortSignal,
): Promise<{ readonly key: PgpKey; readonly signedAt: number } | { readonly refused: string }> {
  const ignored = (refused: string) => ({ refused });
  if (count > 1) return ignored("more than one field");
  if (parts.evidence.kind === "signature-only") return ignored("there is no signature that could be evidence");
  const offered = autocryptKey(fieldValue(field));
  if ("fault" in offered) return ignored(offered.fault);
  const named = parseMailbox(offered.address);
  if (!("mailbox" in named) || named.mailbox.key !== author.key) return ignored("it is for another address than From");
  const now = parts.now();
  const certificate = await readPgpCertificate(offered.key, now).catch(asError);
  if (certificate instanceof Error) return ignored(certificate.message);
  const key = pgpKey(certificate);
  const verdict = fitness(key, author, now, parts.policy);
  if (!verdict.fit) return ignored(verdict.reason);
  const signer = { kind: "pgp", mailboxes: [author] } as const;
  const belief = await evidenceFor(
    parts.evidence,
    { header, message, author, signer, teachesBy: "autocrypt" },
    now,
    signal,
  );
  if (!belief.believed) return ignored(belief.reason);
  if (!(await parts.isKnown(author, signal))) return ignored("Jira does not know this person");
  const signedAt = sentAt(header, now);
  if (signedAt === undefined) return ignored("the mail has no date");
  const [held] = await parts.personalKeys.find(author, "pgp", "autocrypt");
  if (held !== undefined && (held.signedAt ?? 0) >= signedAt) return ignored("older-than-held");
  return { key, signedAt };
}

/** The effective date: the Date field, never later than now. */
function sentAt(header: HeaderSection, now: number): number | undefined {
  const field = firstField(header, "date");
  const at = field === undefined ? NaN : Date.parse(fieldValue(field));
  return Number.isNaN(at) ? undefined : Math.min(at, now);
}
