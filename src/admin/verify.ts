// Verify: every part of the configuration is really used once, and says in an operator's words whether it works.
import { asError } from "../as-error.ts";
import type { Clock } from "../clock.ts";
import { withCauses } from "../log.ts";

/** One line of Verify Settings. `part` is a source's name, or the name of the setting that it is about. */
export type Verified = {
  readonly part: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly ms: number;
};

/** What is to be used. `use` may reject: that is a failure like any other. */
export type VerifiablePart = {
  readonly part: string;
  readonly use: (signal: AbortSignal) => Promise<{ readonly ok: boolean; readonly detail: string }>;
};

/** Long enough for a mail server that greets late; every source has a shorter deadline of its own. */
const PART_DEADLINE_MS = 30_000;

/** Uses all parts at once; the answers come in the order of the parts. Never rejects. */
export function verify(parts: readonly VerifiablePart[], clock: Clock): Promise<readonly Verified[]> {
  return Promise.all(parts.map((part) => verifyPart(part, clock)));
}

async function verifyPart({ part, use }: VerifiablePart, clock: Clock): Promise<Verified> {
  const since = clock.now();
  const deadline = new AbortController();
  const late = clock
    .sleep(PART_DEADLINE_MS, deadline.signal)
    .then(() => ({ ok: false, detail: `no answer within ${PART_DEADLINE_MS / 1000} s` }));
  const used = use(deadline.signal).catch((cause: unknown) => ({ ok: false, detail: withCauses(asError(cause)) }));
  const { ok, detail } = await Promise.race([used, late]);
  deadline.abort();
  return { part, ok, detail, ms: clock.now() - since };
}
