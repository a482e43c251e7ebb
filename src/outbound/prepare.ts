// Prepare: a leased message becomes shipments that may leave, and recipients to whom nothing is sent now.
import { asError } from "../as-error.ts";
import type { PgpKey, RecipientKey, SmimeKey } from "../keys/recipient-key.ts";
import { neverAbsentFor, type TrailEntry } from "../keys/chain.ts";
import { rejudged } from "../keys/rejudged.ts";
import type { KeySource } from "../keys/source.ts";
import { fitness, type FitnessPolicy } from "../keys/fitness.ts";
import type { Mailbox } from "../mail/address.ts";
import type { Leased, LeasedRecipient } from "../spool/spool.ts";
import { decide, passable, type Chains, type Decision, type TreatmentSettings } from "./decide.ts";
import { envelopeFor, type Manner, type Shipment } from "./departure.ts";
import { format, groupMembers, type Member } from "./group.ts";
import { readMailFacts, type MailFacts } from "./mail-facts.ts";
import type { Treatment } from "./treatment.ts";

/** A recipient to whom nothing is sent now: look-up failed, encryption failed, no key. */
export type NotSent = {
  readonly recipient: LeasedRecipient;
  readonly treatment: Extract<Treatment, { kind: "later" | "report" | "block" }>;
  readonly holdMs: number;
};

/** `holdMs` is what the policy of a recipient says, by index. */
export type Prepared = {
  readonly facts: MailFacts;
  readonly shipments: readonly Shipment[];
  readonly notSent: readonly NotSent[];
  readonly holdMs: ReadonlyMap<number, number>;
};

export type PrepareParts = {
  readonly chains: Chains;
  readonly settings: TreatmentSettings;
  readonly fitness: FitnessPolicy;
  /** Key stores that toSender may look into. */
  readonly senderKeys: { readonly smime: KeySource<SmimeKey> | undefined; readonly pgp: KeySource<PgpKey> | undefined };
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
  /** They wait, for this reason; what the guard has stopped an operator must look at. */
  readonly stopped: (id: string, recipients: readonly LeasedRecipient[], cause: Error, isByGuard: boolean) => void;
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
  const groups = (["smime", "pgp"] as const).flatMap((kind) => groupsOf(load, decided, kind));
  const made = await Promise.all(groups.map((group) => encryptedShipment(load, group)));
  return {
    facts,
    shipments: [...made.flatMap(({ shipments }) => shipments), ...unencryptedShipments(load, decided)],
    notSent: [...decided.flatMap(waiting), ...made.flatMap(({ notSent }) => notSent)],
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

type Group = { readonly kind: "smime" | "pgp"; readonly members: readonly Member<RecipientKey>[] };

function groupsOf(load: Load, decided: readonly Decided[], kind: "smime" | "pgp"): Group[] {
  const members = decided.flatMap(({ recipient, decision }): Member<RecipientKey>[] => {
    const { treatment, policy } = decision;
    if (treatment.kind !== kind) return [];
    const isHidden = !load.facts.visible.has(recipient.mailbox.key);
    return [{ recipient, key: treatment.key, isHidden, subject: policy.subject }];
  });
  return groupMembers(members).map((group) => ({ kind, members: group }));
}

async function encryptedShipment(load: Load, group: Group): Promise<Pick<Prepared, "shipments" | "notSent">> {
  const { leased, parts } = load;
  try {
    const senders = parts.settings.toSender ? await senderKey(load, group) : [];
    return { shipments: [encryptedFor(load, group, senders)], notSent: [] };
  } catch (thrown) {
    const cause = asError(thrown);
    const recipients = group.members.map((member) => member.recipient);
    parts.observe.stopped(leased.id, recipients, cause, false);
    return { shipments: [], notSent: waitFor(recipients, cause) };
  }
}

/** Whatever goes wrong on the way makes its recipients wait. */
export function waitFor(recipients: readonly LeasedRecipient[], cause: Error): NotSent[] {
  return recipients.map((recipient) => ({ recipient, treatment: { kind: "later", cause }, holdMs: 0 }));
}

function encryptedFor(load: Load, { kind, members }: Group, senders: readonly RecipientKey[]): Shipment {
  const { leased, facts } = load;
  const recipients = members.map((member) => member.recipient);
  const readers = distinct([...members.map((member) => member.key), ...senders]);
  const isAlone = members.length === 1;
  const apart = isAlone && senders.length === 0 ? [] : members;
  return {
    recipients,
    treatment: kind,
    departure: {
      content: facts.content,
      manner: { kind, readers, subject: members[0]?.subject ?? "hide" },
      envelope: envelopeFor(leased, recipients),
    },
    apart: apart.map((member) => encryptedFor(load, { kind, members: [member] }, isAlone ? [] : senders)),
  };
}

/** Clear mail by its rule, and mail that came encrypted: each in one transaction, the body as it came. */
function unencryptedShipments(load: Load, decided: readonly Decided[]): Shipment[] {
  const { leased, facts } = load;
  const ship = (
    manner: Extract<Manner, { kind: "pass" | "clear" }>,
    holds: (treatment: Treatment) => boolean,
  ): Shipment[] => {
    const recipients = decided.filter(({ decision }) => holds(decision.treatment)).map(({ recipient }) => recipient);
    if (recipients.length === 0) return [];
    const departure = { content: facts.content, manner, envelope: envelopeFor(leased, recipients) };
    return [{ recipients, treatment: manner.kind, departure, apart: [] }];
  };
  const { kind, readerIds } = facts.encrypted ?? { kind: "smime", readerIds: [] };
  return [
    ...ship({ kind: "pass", encrypted: kind, readerIds }, (treatment) => treatment.kind === "pass"),
    ...(["fallback-allow", "recovery-mail"] as const).flatMap((rule) =>
      ship(
        { kind: "clear", rule, isWithoutPrivateFields: true },
        (treatment) => treatment.kind === "clear" && treatment.rule === rule,
      ),
    ),
  ];
}

/** encryption.toSender: the sender's key, when a key store holds a fit one that can share this ciphertext. */
async function senderKey(load: Load, { members }: Group): Promise<RecipientKey[]> {
  const { facts, parts, signal } = load;
  const first = members[0]?.key;
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
