// Decide: asks the chains what the treatment table wants to know about one recipient, and nothing more.
import type { ChainAnswer, KeyChain } from "../keys/chain.ts";
import type { KeyKind, PgpKey, RecipientKey, SmimeKey } from "../keys/recipient-key.ts";
import { isAmong, withoutTag, type Mailbox } from "../mail/address.ts";
import { unlessAborted } from "../unless-aborted.ts";
import { isForReader } from "./already-encrypted.ts";
import type { MailFacts } from "./mail-facts.ts";
import { policyFor, type Policy, type Rule } from "./rules.ts";
import { nextStep, ORDER, type Known, type Treatment } from "./treatment.ts";

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

const KEPT_HERE_DEADLINE_MS = 8_000;

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

/**
 * Which recipients can already read a message that came encrypted, and nobody else can. By address key. Asked for are only those
 * whose policy would let it pass; `saw` is told of each of them.
 */
export async function passable(
  facts: MailFacts,
  recipients: readonly Mailbox[],
  chains: Chains,
  settings: TreatmentSettings,
  signal: AbortSignal,
  saw: (recipient: Mailbox, trail: ChainAnswer<RecipientKey>["trail"]) => void = () => undefined,
): Promise<ReadonlySet<string>> {
  const { encrypted, from } = facts;
  if (encrypted === undefined) return new Set();
  const kind: KeyKind = encrypted.kind;
  const mayPass = recipients.filter((recipient) => {
    const { subject, type } = policyFor(recipient, facts.projects, settings.base, settings.rules);
    return subject === "keep" && ORDER[type].includes(kind);
  });
  if (mayPass.length === 0) return new Set();
  const chain = chains[kind] as KeyChain<RecipientKey>;
  const owners = await Promise.all(
    mayPass.map(async (mailbox) => {
      const { known, trail } = await resolve(chain, mailbox, settings.plusAddress, signal);
      saw(mailbox, trail);
      return { mailbox, keys: known };
    }),
  );
  const untagged = settings.plusAddress === "strip" && from !== undefined ? withoutTag(from) : undefined;
  const senders = [from, untagged].filter((sender) => sender !== undefined);
  const senderKeys = await Promise.all(senders.map((sender) => keysKeptHere(chain, sender, signal)));
  const all = [...owners.map(({ keys }) => keys), ...senderKeys].flat();
  return new Set(owners.filter((owner) => isForReader(encrypted, owner.keys, all)).map((owner) => owner.mailbox.key));
}

/** Keys of an address that nobody outside needs to be asked for, of the sources that know them. */
async function keysKeptHere(chain: KeyChain<RecipientKey>, mailbox: Mailbox, signal: AbortSignal) {
  const over = AbortSignal.any([signal, AbortSignal.timeout(KEPT_HERE_DEADLINE_MS)]);
  const asked = chain.sources
    .filter(({ isKeptHere }) => isKeptHere === true)
    .map(async (source) => {
      // whoever does not answer in time knows nothing of the sender
      const answer = await unlessAborted(source.find(mailbox, over), over).catch(() => undefined);
      return answer?.kind === "found" ? answer.value : [];
    });
  return (await Promise.all(asked)).flat().filter(({ certificate: { addresses } }) => isAmong(mailbox, addresses));
}
