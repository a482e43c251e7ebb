// Decide: asks the chains what the treatment table wants to know about one recipient, and nothing more.
import type { ChainAnswer, KeyChain } from "../keys/chain.ts";
import type { KeyKind, PgpKey, RecipientKey, SmimeKey } from "../keys/recipient-key.ts";
import { withoutTag, type Mailbox } from "../mail/address.ts";
import { isForReader } from "./already-encrypted.ts";
import type { MailFacts } from "./mail-facts.ts";
import { policyFor, type Policy, type Rule } from "./rules.ts";
import { nextStep, type Known, type Treatment } from "./treatment.ts";

export type Chains = { readonly smime: KeyChain<SmimeKey>; readonly pgp: KeyChain<PgpKey> };

/** The part of the configuration that decides about recipients: encryption.*. */
export type TreatmentSettings = {
  readonly base: Policy;
  readonly rules: readonly Rule[];
  readonly plusAddress: "exact" | "strip";
  readonly toSender: boolean;
};

export type Decision = {
  readonly treatment: Treatment;
  readonly policy: Policy;
  /** Every source asked, in order, for both kinds. */
  readonly trail: ChainAnswer<RecipientKey>["trail"];
};

/** What matters of a message; `explain` asks without one. */
export type DecisionFacts = Pick<MailFacts, "projects" | "isRecoveryMail"> & { readonly isPass?: boolean };

/** The treatment of one recipient. Never throws for a look-up: that is a treatment of its own, `later`. */
export async function decide(
  recipient: Mailbox,
  facts: DecisionFacts,
  chains: Chains,
  settings: TreatmentSettings,
  signal: AbortSignal,
): Promise<Decision> {
  const policy = policyFor(recipient, facts.projects, settings.base, settings.rules);
  const trail: Decision["trail"][number][] = [];
  let known: Known = {
    policy,
    isPass: facts.isPass === true && policy.subject === "keep",
    isRecoveryMail: facts.isRecoveryMail,
    smime: undefined,
    pgp: undefined,
  };
  for (;;) {
    const step = nextStep(known);
    if ("treat" in step) return { treatment: step.treat, policy, trail };
    const answer = await resolve(chains[step.ask] as KeyChain<RecipientKey>, recipient, settings.plusAddress, signal);
    trail.push(...answer.trail);
    known = { ...known, [step.ask]: answer };
  }
}

/** Asks one chain; with plusAddress "strip" an address without a key of its own may use that of the address without its tag. */
export async function resolve<K extends RecipientKey>(
  chain: KeyChain<K>,
  recipient: Mailbox,
  plusAddress: "exact" | "strip",
  signal: AbortSignal,
): Promise<ChainAnswer<K>> {
  const exact = await chain.resolve(recipient, signal);
  const untagged = plusAddress === "strip" ? withoutTag(recipient) : undefined;
  if (exact.answer.kind !== "absent" || untagged === undefined) return exact;
  const stripped = await chain.resolve(untagged, signal);
  return {
    answer: stripped.answer,
    trail: [...exact.trail, ...stripped.trail],
    known: [...exact.known, ...stripped.known],
  };
}

/** Which recipients can already read a message that came encrypted, and nobody else can. By address key. */
export async function passable(
  facts: MailFacts,
  recipients: readonly Mailbox[],
  chains: Chains,
  settings: TreatmentSettings,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const { encrypted } = facts;
  if (encrypted === undefined) return new Set();
  const kind: KeyKind = encrypted.kind;
  const keysOf = async (mailbox: Mailbox): Promise<readonly RecipientKey[]> =>
    (await resolve(chains[kind] as KeyChain<RecipientKey>, mailbox, settings.plusAddress, signal)).known;
  const owners = await Promise.all(recipients.map(async (mailbox) => ({ mailbox, keys: await keysOf(mailbox) })));
  const senderKeys = facts.from === undefined ? [] : await keysOf(facts.from);
  const all = [...owners.flatMap((owner) => owner.keys), ...senderKeys];
  return new Set(owners.filter((owner) => isForReader(encrypted, owner.keys, all)).map((owner) => owner.mailbox.key));
}
