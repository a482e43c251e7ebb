// Foreseen: what the next mail of Jira would make of the keys that wait for an address, by the very code it takes; nothing is written.
import { asError } from "../as-error.ts";
import type { HarvestFacts } from "../inbound/harvest-observer.ts";
import { promoteFor } from "../inbound/promote.ts";
import type { FitnessPolicy } from "../keys/fitness.ts";
import type { HarvestedKey, HarvestedKeys, HarvestState } from "../keys/harvested-keys.ts";
import type { PersonalKey, PersonalKeys } from "../keys/personal-keys.ts";
import type { KeyKind } from "../keys/recipient-key.ts";
import type { Mailbox } from "../mail/address.ts";

/** A key out of incoming mail that is not in use, as `explain --json` prints it. */
export type WaitingKey = {
  readonly state: HarvestState;
  readonly address: string;
  readonly kind: KeyKind;
  readonly fingerprint: string;
  readonly signedAt: string;
  readonly expiresAt: string;
  /** With the next mail of Jira: it is in use, it is dropped (`reason`), it waits for a decision, or all stays as it is. */
  readonly next: "used" | "dropped" | "pending" | "unchanged";
  readonly reason: string | null;
};

export type Foreseen = {
  readonly waiting: readonly WaitingKey[];
  /** The personal keys as that mail finds them; undefined when it changes none. */
  readonly personalKeys: PersonalKeys | undefined;
  /** By address key: why somebody's key goes on waiting, so that nobody may say that there is none. */
  readonly undecided: ReadonlyMap<string, Error>;
};

export type ForeseeParts = {
  readonly personalKeys: PersonalKeys;
  readonly harvested: HarvestedKeys;
  /** For keys that are about to be learned. */
  readonly policy: FitnessPolicy;
  readonly now: () => number;
};

const NEXT: Readonly<Record<string, WaitingKey["next"]>> = {
  promoted: "used",
  learned: "used",
  pending: "pending",
  ignored: "dropped",
};

type Fate = { readonly next: WaitingKey["next"]; readonly reason: string | undefined };

/**
 * Promotes the deferred keys of these addresses, which one mail to one recipient concerns, over copies of the stores. Rejects when waiting
 * keys cannot be read.
 */
export async function foresee(mailboxes: readonly Mailbox[], parts: ForeseeParts): Promise<Foreseen> {
  const entries = (await Promise.all(mailboxes.map((mailbox) => parts.harvested.of(mailbox)))).flat();
  const fates = new Map<string, Fate>();
  const copy = learningCopy(parts.personalKeys);
  const promoting = {
    ...{ personalKeys: copy.keys, policy: parts.policy, now: parts.now },
    harvested: {
      ...parts.harvested,
      keep: () => Promise.resolve("kept" as const),
      remove: () => Promise.resolve(true),
    },
    ...{ deferredForMs: 0, pendingForMs: 0, isKnown: () => Promise.resolve(true) },
    observe: {
      happened(event: string, { address, fingerprint, reason }: HarvestFacts) {
        const next = NEXT[event];
        if (next !== undefined) fates.set(`${address?.key ?? ""} ${fingerprint ?? ""}`, { next, reason });
      },
      failed: () => undefined,
    },
  };
  const undecided = new Map<string, Error>();
  for (const mailbox of mailboxes) {
    // a store that fails makes that mail wait, as one that cannot tell whether a key was revoked
    const why: unknown = await promoteFor(mailbox, promoting).catch(asError);
    if (why instanceof Error) undecided.set(mailbox.key, why);
  }
  const fateOf = ({ state, mailbox, key }: HarvestedKey): Fate =>
    state === "pending"
      ? { next: "unchanged", reason: undefined }
      : (fates.get(`${mailbox.key} ${key.fingerprint}`) ?? {
          next: "unchanged",
          reason: undecided.get(mailbox.key)?.message,
        });
  return {
    waiting: entries.map((entry) => shown(entry, fateOf(entry))),
    personalKeys: copy.hasLearned() ? copy.keys : undefined,
    undecided,
  };
}

/** The personal keys, and in front of them what is learned from now on. */
function learningCopy(stored: PersonalKeys) {
  const learned = new Map<string, PersonalKey>();
  const keys: PersonalKeys = {
    find(owner, kind, origin) {
      const own = origin === "incoming" ? learned.get(`${owner.key} ${kind}`) : undefined;
      return own === undefined ? stored.find(owner, kind, origin) : Promise.resolve([own]);
    },
    list: () => stored.list(),
    add: () => Promise.resolve(),
    async learn(owner, key, { origin, signedAt, now }) {
      const uploaded = await stored.find(owner, key.kind, "upload");
      if (uploaded.some((one) => one.key.fingerprint === key.fingerprint)) return false;
      learned.set(`${owner.key} ${key.kind}`, { address: owner.address, key, origin, addedAt: now, signedAt });
      return true;
    },
    remove: () => Promise.resolve([]),
  };
  return { keys, hasLearned: () => learned.size > 0 };
}

function shown({ state, mailbox, key, signedAt, expiresAt }: HarvestedKey, { next, reason }: Fate): WaitingKey {
  return {
    ...{ state, address: mailbox.address, kind: key.kind, fingerprint: key.fingerprint },
    ...{ next, reason: reason ?? null },
    signedAt: new Date(signedAt).toISOString(),
    expiresAt: new Date(expiresAt).toISOString(),
  };
}
