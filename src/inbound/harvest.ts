// Harvest: learns the key of whoever signed an incoming message; whatever happens here, the mail goes on.
//
// The questions, in this order; the first "no" ends it with `ignored` and the reason:
//   1. Has this message been begun three times without an end? It may be what kills the process.
//   2. Is it small enough, and signed at its root?                       (an unsigned mail is no event)
//   3. Is there exactly one From, and is the mail no list's, no notice?
//   4. Does the signature verify over the raw bytes?
//   5. Is there evidence that From is true (inbound.evidence)?
//   6. What becomes of the key: acceptance.ts.
// A revocation of a key that we hold needs none of it but the key itself (revocations.ts).
//
// Anybody may send what is looked at here, so it is bounded thrice: by size before anything is decoded (extract.ts), by turns
// between pieces of work, and by a signal. Whoever works on after the two seconds ends at the next turn, writes and tells nothing.
import { asError } from "../as-error.ts";
import { pgpKey, type RecipientKey } from "../keys/recipient-key.ts";
import { mailboxesIn, type Mailbox } from "../mail/address.ts";
import { collect } from "../mail/chunks.ts";
import type { HeaderSection } from "../mail/header.ts";
import { readEntity } from "../mail/mime.ts";
import type { Leased, Notice } from "../spool/spool.ts";
import { takeAutocrypt } from "./autocrypt.ts";
import { authorOf, mayNotTeach } from "./author.ts";
import { evidenceFor, type EvidenceRule, type Signer } from "./evidence.ts";
import { encryptionCertificate, teachingOf, type Teaching } from "./extract.ts";
import { factsOf, type HarvestObserver } from "./harvest-observer.ts";
import { keepKey, type KeepParts } from "./keep.ts";
import { confirmationNotice, privateKeyNotice, type NoticeParts } from "./notices.ts";
import { holdsPrivateKey } from "./private-keys.ts";
import { takeRevocations } from "./revocations.ts";

export type HarvestParts = KeepParts &
  NoticeParts & {
    readonly evidence: EvidenceRule;
    /** Whether keys in Autocrypt fields of unsigned mail are kept. */
    readonly autocrypt: boolean;
    /** Counts the beginnings of one message; survives the process. */
    readonly tries: { begin(id: string, now: number): number; done(id: string): void };
    readonly observe: HarvestObserver;
    isKnown(mailbox: Mailbox, signal: AbortSignal): Promise<boolean>;
    sleep(delayMs: number, signal: AbortSignal): Promise<void>;
  };

/** Larger messages are passed on without being looked at. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const MAX_TRIES = 3;
/** The mail does not wait longer for what it could teach. */
const BUDGET_MS = 2_000;
/** When Jira has not answered by then the key is deferred, with time enough to write it down; promoteKnown asks again. */
const ASK_UNTIL_MS = 1_500;

/** Never rejects, and ends within two seconds but for one turn of work. Gives the notices that it causes. */
export async function harvest(leased: Leased, parts: HarvestParts): Promise<readonly Notice[]> {
  const { observe, tries } = parts;
  const over = new AbortController();
  try {
    if (tries.begin(leased.id, parts.now()) > MAX_TRIES) {
      observe.happened("ignored", { reason: "tried-too-often" }, leased.id);
      return [];
    }
    const late = parts.sleep(BUDGET_MS, over.signal).then(() => undefined);
    const notices = await Promise.race([learn(leased, askingInTime(parts, over.signal), over.signal), late]);
    if (notices === undefined) observe.happened("ignored", { reason: "took-too-long" }, leased.id);
    tries.done(leased.id);
    return notices ?? [];
  } catch (cause) {
    observe.failed(asError(cause), leased.id);
    return [];
  } finally {
    over.abort("over");
  }
}

/** Whoever Jira is too slow to know counts as unknown. */
function askingInTime(parts: HarvestParts, signal: AbortSignal): HarvestParts {
  const tooLate = parts.sleep(ASK_UNTIL_MS, signal).then(() => false);
  return { ...parts, isKnown: (mailbox, stopped) => Promise.race([parts.isKnown(mailbox, stopped), tooLate]) };
}

type Incoming = {
  readonly message: Buffer;
  readonly header: HeaderSection;
  readonly author: ReturnType<typeof authorOf>;
  readonly teaching: Teaching;
  /** Why the mail may teach nothing, whatever is in it. */
  readonly objection: string | undefined;
};

/** `isBelieved`: there was a good signature, and evidence that From is true. */
type Lesson = { readonly notices: readonly Notice[]; readonly isBelieved: boolean };

/** Rejects when `signal` fires, and then tells nothing: it has been told already. */
async function learn(leased: Leased, parts: HarvestParts, signal: AbortSignal): Promise<readonly Notice[]> {
  const { content, envelope, id } = leased;
  if (content.size > MAX_MESSAGE_BYTES) {
    parts.observe.happened("ignored", { reason: "too-large" }, id);
    return [];
  }
  const message = await collect(content);
  signal.throwIfAborted();
  const teaching = await teachingOf(message, parts.now(), signal);
  const { header } = readEntity(message);
  const objection = mayNotTeach(header, envelope.reversePath);
  const mail: Incoming = { message, header, author: authorOf(header), teaching, objection };
  const isLeaking = await leaks(mail, signal);
  const { notices, isBelieved } = await lessonOf(mail, leased, parts, signal);
  if (!isLeaking || "refused" in mail.author) return notices;
  // a warning about a forged mail would be backscatter
  if (!isBelieved && !(await isVouchedFor(mail, leased, parts, signal))) return notices;
  return [await privateKeyNotice(mail.author.mailbox, parts), ...notices];
}

/** Whether somebody who can be told so has sent a private key along, signed or not. */
async function leaks({ message, author, teaching, objection }: Incoming, signal: AbortSignal): Promise<boolean> {
  if ("refused" in author || objection !== undefined) return false;
  return holdsPrivateKey(message, "offered" in teaching ? teaching.offered : [], signal);
}

/** Whether the evidence for From holds without a signature; signature-only has none. */
async function isVouchedFor(
  { header, author }: Incoming,
  { content: message }: Leased,
  { evidence, now }: HarvestParts,
  signal: AbortSignal,
): Promise<boolean> {
  if ("refused" in author || evidence.kind === "signature-only") return false;
  const { mailbox } = author;
  const signer = { kind: "pgp", mailboxes: [mailbox] } as const;
  const mail = { header, message, author: mailbox, signer, teachesBy: "content-type" } as const;
  return (await evidenceFor(evidence, mail, now(), signal)).believed;
}

async function lessonOf(mail: Incoming, leased: Leased, parts: HarvestParts, signal: AbortSignal): Promise<Lesson> {
  const { observe } = parts;
  const { header, author, teaching, objection } = mail;
  const none: Lesson = { notices: [], isBelieved: false };
  const ignored = (reason: string, address?: Mailbox, kind?: "smime" | "pgp", detail?: string): Lesson => {
    signal.throwIfAborted();
    observe.happened("ignored", { reason, address, kind, detail }, leased.id);
    return none;
  };
  if (teaching.kind === "unsigned") {
    if (parts.autocrypt && "mailbox" in author && objection === undefined)
      await takeAutocrypt({ header, message: leased.content, author: author.mailbox }, parts, signal, leased.id);
    return none;
  }
  const kind = teaching.kind === "refused" ? teaching.by : teaching.kind;
  if ("refused" in author) return ignored(author.refused, undefined, kind);
  const { mailbox } = author;
  observe.happened("seen", { address: mailbox, kind }, leased.id);
  if ("offered" in teaching) await takeRevocations(mailbox, teaching.offered, parts, signal, leased.id);
  if (objection !== undefined) return ignored(objection, mailbox, kind);
  if (teaching.kind === "refused") return ignored(teaching.reason, mailbox, kind);

  await parts.policy.ready?.(signal);
  signal.throwIfAborted();
  const now = parts.now();
  const taught = taughtBy(teaching, mailbox, parts, now);
  if ("refused" in taught) return ignored(taught.refused, mailbox, kind, taught.detail);
  const belief = await evidenceFor(
    parts.evidence,
    { header, message: leased.content, author: mailbox, signer: taught.signer, teachesBy: "content-type" },
    now,
    signal,
  );
  if (!belief.believed) return ignored(belief.reason, mailbox, kind);
  return { notices: await keep(mailbox, taught, belief.by, parts, signal, leased.id), isBelieved: true };
}

type Taught = { readonly key: RecipientKey; readonly signedAt: number; readonly signer: Signer };

function taughtBy(
  teaching: Extract<Teaching, { kind: "smime" | "pgp" }>,
  author: Mailbox,
  { policy }: HarvestParts,
  now: number,
): Taught | { readonly refused: string; readonly detail?: string } {
  if (teaching.kind === "pgp") {
    const { certificate, signedAt } = teaching;
    return {
      key: pgpKey(certificate),
      signedAt,
      signer: { kind: "pgp", mailboxes: mailboxesIn(certificate.addresses) },
    };
  }
  const { signer, certificates } = teaching.signature;
  // a signer that does not say when may have signed at any time since: an old mail sent again must not look new
  const { signedAt = signer.notBefore } = teaching.signature;
  const companions = certificates.filter(({ isCa }) => isCa);
  const path = policy.path?.(signer, companions, now);
  if (path?.trusted === false) return { refused: path.reason, detail: path.fault ?? path.detail };
  if (now < signer.notBefore || now > signer.notAfter) return { refused: "the signer's certificate is not valid now" };
  const chosen = encryptionCertificate(teaching.signature, author, now, policy);
  if ("refused" in chosen) return chosen;
  const mailboxes = mailboxesIn(signer.addresses);
  return { ...chosen, signedAt, signer: { kind: "smime", mailboxes, hasCertificationPath: path !== undefined } };
}

async function keep(
  author: Mailbox,
  { key, signedAt }: Taught,
  evidence: string,
  parts: HarvestParts,
  signal: AbortSignal,
  queueId: string,
): Promise<readonly Notice[]> {
  const { observe } = parts;
  const isKnown = await parts.isKnown(author, signal);
  signal.throwIfAborted();
  const { acceptance, held } = await keepKey({ author, key, signedAt, evidence }, isKnown, parts);
  switch (acceptance.kind) {
    case "learn":
      observe.happened("learned", factsOf(author, key, acceptance.reason), queueId);
      return [];
    case "defer":
      observe.happened("deferred", factsOf(author, key, evidence), queueId);
      return [];
    case "pend":
      observe.happened("pending", factsOf(author, key, "another-key-in-use"), queueId);
      if (held === undefined) return [];
      return [await confirmationNotice(author, held, key, parts.harvested.tokenFor(author, key), parts)];
    case "ignore":
    case "undecided":
      observe.happened("ignored", factsOf(author, key, acceptance.reason), queueId);
      return [];
  }
}
