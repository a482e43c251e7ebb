// The wiring of learning from incoming mail: what may be believed, where keys are kept, who is told.
import { asError } from "../as-error.ts";
import { Resolver } from "node:dns/promises";
import type { Clock } from "../clock.ts";
import type { Settings } from "../config/schema.ts";
import { splitMessage } from "../encrypt/outer-header.ts";
import { loadMailauth } from "../inbound/dmarc.ts";
import type { EvidenceRule } from "../inbound/evidence.ts";
import { harvest, type HarvestParts } from "../inbound/harvest.ts";
import type { HarvestObserver } from "../inbound/harvest-observer.ts";
import { decideOn } from "../inbound/pending.ts";
import { promoteFor, promoteKnown } from "../inbound/promote.ts";
import type { FitnessPolicy } from "../keys/fitness.ts";
import type { Reader, RecipientKey } from "../keys/recipient-key.ts";
import type { Log } from "../log.ts";
import { withoutTag, type Mailbox } from "../mail/address.ts";
import { collect, sizedBytes } from "../mail/chunks.ts";
import { readHeader } from "../mail/header.ts";
import type { Metrics } from "../metrics.ts";
import { guard } from "../outbound/guard.ts";
import { plannedId } from "../outbound/departure.ts";
import type { MessageCipher } from "../encrypt/cipher.ts";
import type { Leased, Notice } from "../spool/spool.ts";
import type { Store } from "../store/open.ts";
import { knownUsers } from "../users/known.ts";
import type { Confirmed } from "../web/confirm.ts";
import type { KeyParts } from "./keys.ts";

const DAY_MS = 86_400_000;

export type Harvest = {
  /** Learns from an incoming message; never rejects. */
  readonly learnFrom: (leased: Leased) => Promise<readonly Notice[]>;
  /** Jira writes to these people: their deferred keys become theirs. Gives, by address key, why a key of somebody goes on waiting. */
  readonly writesTo: (mailboxes: readonly Mailbox[]) => Promise<ReadonlyMap<string, Error>>;
  /** Asks Jira about everybody whose key is deferred; nothing while the round before is still asking. */
  promoteKnown(signal: AbortSignal): Promise<void>;
  /** The owner of a pending key has said that it is theirs. */
  confirm(token: string): Promise<Confirmed>;
  /** Tells the log and the metrics, and wakes mail that waits for a key. */
  readonly observe: HarvestObserver;
};

type HarvestWiring = { readonly log: Log; readonly metrics: Metrics; readonly clock: Clock };

export function buildHarvest(settings: Settings, store: Store, keys: KeyParts, wiring: HarvestWiring): Harvest {
  const { log, metrics, clock } = wiring;
  const { personalKeys, harvested, seen, spool } = store;
  const { hostname, inbound, web, encryption } = settings;
  // with plusAddress "strip" the key of ann@ serves ann+jira@ too
  const isExact = encryption.plusAddress === "exact";
  const withPlain = (mailbox: Mailbox) => [mailbox, (isExact ? undefined : withoutTag(mailbox)) ?? []].flat();
  // held mail is looked at again within ten minutes anyway
  const wakeFailed = (cause: unknown) => log.event("service.fault", { fault: asError(cause) });
  const observe = harvestLog(log, metrics, ({ key }) => {
    spool.wakeHeld(clock.now(), isExact ? [key] : undefined).catch(wakeFailed);
  });
  const parts: HarvestParts = {
    ...{ personalKeys, harvested, hostname, observe, tries: store.tries },
    policy: harvestPolicy(settings, keys),
    evidence: evidenceRule(inbound),
    autocrypt: inbound?.autocrypt === true,
    deferredForMs: inbound?.deferredFor ?? 30 * DAY_MS,
    pendingForMs: 30 * DAY_MS,
    publicUrl: web.publicUrl.replace(/\/+$/, ""),
    isKnown: knownUsers(keys.people, seen),
    seal: (key, message) => sealed(key, message, keys),
    now: () => clock.now(),
    sleep: (delayMs, signal) => clock.sleep(delayMs, signal),
  };
  let isAsking = false;
  return {
    observe,
    learnFrom: (leased) => harvest(leased, parts),
    async writesTo(mailboxes) {
      await seen.saw(mailboxes, clock.now());
      const undecided = new Map<string, Error>();
      for (const mailbox of mailboxes.flatMap(withPlain)) {
        const why = await promoteFor(mailbox, parts);
        if (why !== undefined) undecided.set(mailbox.key, why);
      }
      return undecided;
    },
    async promoteKnown(signal) {
      if (keys.people === undefined || isAsking) return;
      isAsking = true;
      await promoteKnown(parts, signal).finally(() => (isAsking = false));
    },
    async confirm(token) {
      const entry = await harvested.byToken(token);
      if (entry === undefined) return "gone";
      const { kind } = await decideOn(entry, "approve", "confirmed-by-owner", parts);
      if (kind === "undecided") return "later";
      return kind === "taken" || kind === "uploaded" ? "used" : "gone";
    },
  };
}

/** S/MIME is learned with a certification path only, unless the operator says otherwise; OpenPGP as it is always judged. */
export function harvestPolicy({ inbound }: Settings, { trust }: Pick<KeyParts, "trust">): FitnessPolicy {
  return inbound?.issuers === "any" ? trust.fitness : trust.withPath;
}

function evidenceRule(inbound: Settings["inbound"]): EvidenceRule {
  switch (inbound?.evidence) {
    case undefined:
    case "authentication-results":
      return { kind: "authentication-results", authservId: inbound?.authservId ?? "" };
    case "signature-only":
      return { kind: "signature-only" };
    case "dmarc": {
      // now, and not in the middle of the first mail
      void loadMailauth();
      const resolver = new Resolver({ timeout: 2_000, tries: 2 });
      return { kind: "dmarc", resolve: (name, type) => resolver.resolve(name, type) as Promise<string[] | string[][]> };
    }
  }
}

/** Encrypts a notice of ours for one reader; the guard has seen it as it has seen mail. */
async function sealed(key: RecipientKey, message: Buffer, { ciphers }: KeyParts): Promise<Uint8Array> {
  const header = readHeader(message, true);
  if (header === undefined) throw new Error("a notice without a header");
  const cipher = ciphers[key.kind] as MessageCipher<Reader>;
  const ciphertext = await cipher.encrypt(splitMessage(header, sizedBytes(message), "hide"), [key]);
  const plan = { kind: key.kind, readerIds: [plannedId(key, [key])], isSubjectHidden: true };
  return collect((await guard(ciphertext, plan)).message);
}

export function harvestLog(log: Log, metrics: Metrics, learned: (address: Mailbox) => void): HarvestObserver {
  return {
    happened(event, { address: recipient, kind, fingerprint, reason, detail }, queueId) {
      metrics.harvestedKeys.labels(kind ?? "none", event).inc();
      log.event(`harvest.${event}`, { queueId, address: recipient, kind, fingerprint, reason, detail });
      if ((event === "learned" || event === "promoted") && recipient !== undefined) learned(recipient);
    },
    failed(fault, queueId) {
      log.event("service.fault", { queueId, fault });
    },
  };
}
