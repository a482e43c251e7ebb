// Prepare: a leased message becomes shipments that may leave, and recipients to whom nothing is sent now.
import { asError } from "../as-error.ts";
import { ApprovedClear, Ciphertext, type Guarded } from "../mail/outgoing.ts";
import type { MessageCipher, Split } from "../encrypt/cipher.ts";
import { splitMessage, withoutPrivateFields, type SubjectMode } from "../encrypt/outer-header.ts";
import type { PgpKey, RecipientKey, SmimeKey } from "../keys/recipient-key.ts";
import { neverAbsentFor, type TrailEntry } from "../keys/chain.ts";
import { rejudged } from "../keys/rejudged.ts";
import type { KeySource } from "../keys/source.ts";
import { fitness, type FitnessPolicy } from "../keys/fitness.ts";
import { needsSmtpUtf8, type Mailbox } from "../mail/address.ts";
import { readerIdOf } from "../pgp/message-shape.ts";
import { readerId } from "../smime/recipient-info.ts";
import type { Leased, LeasedRecipient } from "../spool/spool.ts";
import { decide, passable, type Chains, type Decision, type TreatmentSettings } from "./decide.ts";
import { format, groupMembers, type Member } from "./group.ts";
import { guard, type DeparturePlan } from "./guard.ts";
import { readMailFacts, type MailFacts } from "./mail-facts.ts";
import type { Treatment } from "./treatment.ts";

/** Ready to be handed to the sender: guarded, with what is needed upstream. */
export type Shipment = {
  readonly recipients: readonly LeasedRecipient[];
  readonly treatment: "smime" | "pgp" | "clear" | "pass";
  readonly guarded: Guarded;
  readonly smtpUtf8: boolean;
  readonly is8bit: boolean;
};

/** A recipient to whom nothing is sent now: look-up failed, encryption failed, no key. */
export type NotSent = {
  readonly recipient: LeasedRecipient;
  readonly treatment: Extract<Treatment, { kind: "later" | "report" | "block" }>;
  readonly holdMs: number;
};

/** What came of one shipment: it is ready, or its recipients wait, or each of them is to be tried on their own. */
export type Made =
  | { readonly shipment: Shipment }
  | { readonly notSent: readonly NotSent[] }
  | { readonly apart: readonly (() => Promise<Made>)[] };

/**
 * `shipments` are made when they are called, for each may hold a message in memory: send one before making many more.
 * `holdMs` is what the policy of a recipient says, by index.
 */
export type Prepared = {
  readonly facts: MailFacts;
  readonly shipments: readonly (() => Promise<Made>)[];
  readonly notSent: readonly NotSent[];
  readonly holdMs: ReadonlyMap<number, number>;
};

export type PrepareParts = {
  readonly chains: Chains;
  readonly settings: TreatmentSettings;
  readonly fitness: FitnessPolicy;
  /** Key stores that toSender may look into. */
  readonly senderKeys: { readonly smime: KeySource<SmimeKey> | undefined; readonly pgp: KeySource<PgpKey> | undefined };
  readonly ciphers: { readonly smime: MessageCipher<SmimeKey>; readonly pgp: MessageCipher<PgpKey> };
  readonly observe: PrepareObserver;
  /**
   * Called before the look-ups: Jira writes to these people, so their deferred S/MIME and OpenPGP keys may become theirs. Gives, by
   * address key, why a certificate of somebody goes on waiting. Rejects: the mail waits.
   */
  readonly writesTo?: (mailboxes: readonly Mailbox[]) => Promise<ReadonlyMap<string, Error>>;
  now(): number;
};

export type PrepareObserver = {
  decided(id: string, recipient: LeasedRecipient, decision: Decision): void;
  /** What the sources said of somebody while it was found out whether mail that came encrypted may be passed. */
  lookedUp(id: string, mailbox: Mailbox, trail: readonly TrailEntry[]): void;
  stopped(id: string, recipients: readonly Mailbox[], cause: Error): void;
  encrypted(kind: "smime" | "pgp", ms: number): void;
};

type Decided = { readonly recipient: LeasedRecipient; readonly decision: Decision };

/** Throws only when the stored message cannot be read; whatever fails for a group of recipients is `later` for that group. */
export async function prepare(leased: Leased, parts: PrepareParts, signal: AbortSignal): Promise<Prepared> {
  const facts = await readMailFacts(leased.content, leased.allRecipients.length, mayExempt(parts.settings));
  const undecided = (await parts.writesTo?.(leased.due.map(({ mailbox }) => mailbox))) ?? new Map<string, Error>();
  const chains = { ...parts.chains, smime: neverAbsentFor(parts.chains.smime, undecided) };
  const canRead = await passable(facts, leased.allRecipients, chains, parts.settings, signal, (mailbox, trail) =>
    parts.observe.lookedUp(leased.id, mailbox, trail),
  );
  const decided = await Promise.all(
    leased.due.map(async (recipient): Promise<Decided> => {
      const isPass = canRead.has(recipient.mailbox.key);
      const decision = await decide(recipient.mailbox, { ...facts, isPass }, chains, parts.settings, signal);
      parts.observe.decided(leased.id, recipient, decision);
      return { recipient, decision };
    }),
  );
  const load = { leased, facts, parts, signal };
  return {
    facts,
    shipments: [
      ...encryptedShipments(load, decided, "smime"),
      ...encryptedShipments(load, decided, "pgp"),
      ...unencryptedShipments(load, decided),
    ],
    notSent: decided.flatMap(waiting),
    holdMs: new Map(decided.map(({ recipient, decision }) => [recipient.index, decision.policy.holdMs])),
  };
}

function mayExempt({ base, rules }: TreatmentSettings): boolean {
  return [base, ...rules].some((policy) => policy.recoveryMail === "exempt");
}

type Load = {
  readonly leased: Leased;
  readonly facts: MailFacts;
  readonly parts: PrepareParts;
  readonly signal: AbortSignal;
};
function waiting({ recipient, decision }: Decided): NotSent[] {
  const { treatment, policy } = decision;
  const isSent = treatment.kind !== "later" && treatment.kind !== "report" && treatment.kind !== "block";
  return isSent ? [] : [{ recipient, treatment, holdMs: policy.holdMs }];
}

function encryptedShipments(load: Load, decided: readonly Decided[], kind: "smime" | "pgp"): (() => Promise<Made>)[] {
  const members = decided.flatMap(({ recipient, decision }): Member<RecipientKey>[] => {
    const { treatment, policy } = decision;
    if (treatment.kind !== kind) return [];
    const isHidden = !load.facts.visible.has(recipient.mailbox.key);
    return [{ recipient, key: treatment.key, isHidden, subject: policy.subject }];
  });
  return groupMembers(members).map((group) => () => encryptGroup(load, group, kind));
}

async function encryptGroup(
  load: Load,
  group: readonly Member<RecipientKey>[],
  kind: "smime" | "pgp",
  toSender = load.parts.settings.toSender,
): Promise<Made> {
  const { facts, leased, parts } = load;
  const recipients = group.map((member) => member.recipient);
  const subject: SubjectMode = group[0]?.subject ?? "hide";
  return guarded(load, recipients, async () => {
    const senders = toSender ? await senderKey(load, group) : [];
    const split = splitMessage(facts.header, facts.content, subject);
    const readers = distinct([...group.map((member) => member.key), ...senders]);
    const since = parts.now();
    const ciphertext = await encrypt(parts, split, readers, kind).catch(asError);
    if (ciphertext instanceof Error) {
      if (group.length === 1 && senders.length === 0) throw ciphertext;
      tellStopped(load, recipients, ciphertext);
      // one key that cannot be encrypted to must not keep the others from their mail, and the sender's keeps nobody from it
      const apart = group.map((member) => () => encryptGroup(load, [member], kind, toSender && group.length > 1));
      return { apart };
    }
    const plan: DeparturePlan = {
      kind,
      readerIds: readers.map((key) => plannedId(key, readers)),
      isSubjectHidden: subject !== "keep",
    };
    const guardedMessage = await guard(ciphertext, plan);
    parts.observe.encrypted(kind, parts.now() - since);
    const smtpUtf8 = needsUtf8(leased, recipients, split.outerFields);
    return { shipment: { recipients, treatment: kind, guarded: guardedMessage, is8bit: false, smtpUtf8 } };
  });
}

/** Clear mail by its rule, and mail that came encrypted: each in one transaction, the body as it came. */
function unencryptedShipments(load: Load, decided: readonly Decided[]): (() => Promise<Made>)[] {
  const { leased, facts } = load;
  const { encrypted } = facts;
  const asItCame = { is8bit: leased.envelope.is8bit, smtpUtf8: leased.envelope.smtpUtf8 };
  const treatedAs = (holds: (treatment: Treatment) => boolean) =>
    decided.filter(({ decision }) => holds(decision.treatment)).map(({ recipient }) => recipient);
  const ship = (recipients: readonly LeasedRecipient[], treatment: "clear" | "pass", make: () => Promise<Guarded>) =>
    recipients.length === 0
      ? []
      : [
          () =>
            guarded(load, recipients, async () => ({
              shipment: { recipients, treatment, guarded: await make(), ...asItCame },
            })),
        ];

  const passed = encrypted === undefined ? [] : treatedAs(({ kind }) => kind === "pass");
  const { kind, readerIds } = encrypted ?? { kind: "smime", readerIds: [] };
  return [
    ...ship(passed, "pass", () => guard(new Ciphertext(kind, facts.content, readerIds), { kind: "pass", readerIds })),
    ...(["fallback-allow", "recovery-mail"] as const).flatMap((rule) => {
      const recipients = treatedAs((treatment) => treatment.kind === "clear" && treatment.rule === rule);
      const clear = withoutPrivateFields(facts.header, facts.content);
      return ship(recipients, "clear", () => guard(new ApprovedClear(clear, rule), { kind: "clear", rule }));
    }),
  ];
}

/** Whatever goes wrong on the way to a shipment makes its recipients wait. */
async function guarded(load: Load, recipients: readonly LeasedRecipient[], make: () => Promise<Made>): Promise<Made> {
  try {
    return await make();
  } catch (thrown) {
    const cause = asError(thrown);
    tellStopped(load, recipients, cause);
    return { notSent: recipients.map((recipient) => ({ recipient, treatment: { kind: "later", cause }, holdMs: 0 })) };
  }
}

function tellStopped({ leased, parts }: Load, recipients: readonly LeasedRecipient[], cause: Error): void {
  const mailboxes = recipients.map((recipient) => recipient.mailbox);
  parts.observe.stopped(leased.id, mailboxes, cause);
}

async function encrypt(
  parts: PrepareParts,
  split: Split,
  readers: readonly RecipientKey[],
  kind: "smime" | "pgp",
): Promise<Ciphertext> {
  const [first, ...more] = readers;
  if (first === undefined) throw new Error("there is no reader to encrypt to");
  const cipher = parts.ciphers[kind] as MessageCipher<RecipientKey>;
  return cipher.encrypt(split, [first, ...more]);
}

/** encryption.toSender: the sender's key, when a key store holds a fit one that can share this ciphertext. */
async function senderKey(load: Load, group: readonly Member<RecipientKey>[]): Promise<RecipientKey[]> {
  const { facts, parts, signal } = load;
  const first = group[0]?.key;
  const from = facts.from;
  if (first === undefined || from === undefined) return [];
  const source = parts.senderKeys[first.kind] as KeySource<RecipientKey> | undefined;
  const answer = await source?.find(from, signal);
  if (answer?.kind === "failed")
    throw new Error("the key store that toSender asks cannot be read", { cause: answer.cause });
  if (answer?.kind !== "found") return [];
  const now = parts.now();
  return (await rejudged(answer.value, now))
    .filter((key) => fitness(key, from, now, parts.fitness).fit && format(key) === format(first))
    .slice(0, 1);
}

function distinct(keys: readonly RecipientKey[]): RecipientKey[] {
  return [...new Map(keys.map((key) => [key.fingerprint, key])).values()];
}

/** What a reader's RecipientInfo or PKESK has to say, from the chosen key itself. */
export function plannedId(key: RecipientKey, readers: readonly RecipientKey[]): string {
  if (key.kind === "smime") return readerId(key.certificate);
  const { encryption } = key.certificate;
  if (!encryption.usable) throw new Error(`key ${key.fingerprint} cannot be encrypted to`);
  const isSeipd2 = readers.every((reader) => reader.kind === "pgp" && reader.certificate.readsSeipd2);
  return readerIdOf(encryption.key, isSeipd2 ? 6 : 3);
}

function needsUtf8(leased: Leased, recipients: readonly LeasedRecipient[], outerFields: Uint8Array): boolean {
  if (recipients.some((recipient) => needsSmtpUtf8(recipient.mailbox))) return true;
  const { reversePath, smtpUtf8 } = leased.envelope;
  return (
    (reversePath !== undefined && needsSmtpUtf8(reversePath)) || (smtpUtf8 && outerFields.some((octet) => octet > 127))
  );
}
