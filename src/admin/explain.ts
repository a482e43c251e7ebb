// Explain: the whole look-up for one address, by the very code that mail takes.
import type { WaitingKey } from "./foreseen.ts";
import type { TrailEntry } from "../keys/chain.ts";
import { notAfter } from "../keys/fitness.ts";
import type { KeyKind, PgpKey, SmimeKey } from "../keys/recipient-key.ts";
import { withCauses } from "../log.ts";
import type { Mailbox } from "../mail/address.ts";
import { decide, resolve, type Chains, type TreatmentSettings } from "../outbound/decide.ts";

/** As `explain --json` prints it (CONTRACT 1). */
export type Explanation = {
  readonly address: string;
  readonly treatment: string;
  readonly reason: string;
  readonly keys: readonly { kind: KeyKind; fingerprint: string; source: string; notAfter: string | null }[];
  readonly trail: readonly {
    kind: KeyKind;
    source: string;
    answer: TrailEntry["answer"];
    ms: number;
    cached: boolean;
    candidates: readonly {
      fingerprint: string;
      fit: boolean;
      reason: string | null;
      notAfter: string | null;
      detail?: string;
      place?: string;
    }[];
    fault?: string;
    /** Of a source that was skipped although no fit key was found above it. */
    why?: string;
    setAside?: readonly string[];
  }[];
  /** Keys out of incoming mail that are not in use. */
  readonly waiting: readonly WaitingKey[];
};

/** The treatment that a mail without an issue key would get, and both chains whole, also the one that mail would not ask. */
export async function explain(
  mailbox: Mailbox,
  chains: Chains,
  settings: TreatmentSettings,
  signal: AbortSignal,
  waiting: readonly WaitingKey[],
): Promise<Explanation> {
  const facts = { projects: [], isRecoveryMail: false };
  const { treatment, trail } = await decide(mailbox, facts, chains, settings, signal);
  const asked = new Set(trail.map((entry) => entry.kind));
  const rest = await Promise.all(
    (["smime", "pgp"] as const)
      .filter((kind) => !asked.has(kind))
      .map((kind) => resolve<SmimeKey | PgpKey>(chains[kind] as never, mailbox, settings.plusAddress, signal)),
  );
  const key = "key" in treatment ? treatment : undefined;
  const reason =
    "reason" in treatment
      ? treatment.reason
      : treatment.kind === "later"
        ? withCauses(treatment.cause)
        : `fit key from ${key?.source ?? ""}`;
  return {
    address: mailbox.address,
    treatment: treatment.kind,
    reason,
    keys:
      key === undefined
        ? []
        : [
            {
              kind: key.kind,
              fingerprint: key.key.fingerprint,
              source: key.source,
              notAfter: isoTime(notAfter(key.key)),
            },
          ],
    trail: [...trail, ...rest.flatMap((answer) => answer.trail)].map(({ fault, candidates, ...entry }) => ({
      ...shown(entry),
      candidates: candidates.map((one) => ({ ...one, reason: one.reason ?? null, notAfter: isoTime(one.notAfter) })),
      ...(fault === undefined ? {} : { fault: withCauses(fault) }),
    })),
    waiting,
  };
}

/** What is of use to the log alone is not printed. */
function shown({ kind, source, answer, ms, cached, setAside, why }: Omit<TrailEntry, "fault" | "candidates">) {
  return {
    ...{ kind, source, answer, ms, cached },
    ...(setAside === undefined ? {} : { setAside }),
    ...(why === undefined ? {} : { why }),
  };
}

/** Whether mail to this address would be encrypted now. */
export function isEncrypted({ treatment }: Explanation): boolean {
  return treatment === "smime" || treatment === "pgp";
}

function isoTime(at: number | undefined): string | null {
  return at === undefined ? null : new Date(at).toISOString();
}
