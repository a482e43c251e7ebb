// The wiring of explain: the chains as the next mail to an address finds them, the keys that it makes theirs among them.
import { explain, type Explanation } from "../admin/explain.ts";
import { foresee } from "../admin/foreseen.ts";
import type { Clock } from "../clock.ts";
import type { Settings } from "../config/schema.ts";
import { neverAbsentFor } from "../keys/chain.ts";
import { withoutTag, type Mailbox } from "../mail/address.ts";
import { harvestPolicy } from "./harvest.ts";
import type { OpenKeys } from "./keys.ts";

/** Writes nothing: explaining is no mail. */
export async function explainNextMail(
  mailbox: Mailbox,
  keys: OpenKeys,
  settings: Settings,
  clock: Clock,
  signal: AbortSignal,
): Promise<Explanation> {
  const { personalKeys, harvested } = keys.store;
  const policy = harvestPolicy(settings, keys);
  // with plusAddress "strip" the key of ann@ serves ann+jira@ too
  const plain = keys.treatment.plusAddress === "strip" ? withoutTag(mailbox) : undefined;
  const concerned = plain === undefined ? [mailbox] : [mailbox, plain];
  const foreseen = await foresee(concerned, { personalKeys, harvested, policy, now: () => clock.now() });
  const { chains } = foreseen.personalKeys === undefined ? keys : keys.over(foreseen.personalKeys);
  const wary = { ...chains, smime: neverAbsentFor(chains.smime, foreseen.undecided) };
  return explain(mailbox, wary, keys.treatment, signal, foreseen.waiting);
}
