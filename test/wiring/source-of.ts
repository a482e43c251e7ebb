// A source of OpenPGP keys as the configuration makes it, without database and log.
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { mailbox } from "../../src/mail/address.ts";
import { createMetrics } from "../../src/metrics.ts";
import { sourceShelf } from "../../src/wiring/source-shelf.ts";
import { buildSources } from "../../src/wiring/sources.ts";
import { configurationOf, SMALLEST } from "../config/reading.ts";
import { NO_DATABASE } from "./no-database.ts";

const never = new AbortController().signal;
const policy = { minRsaBits: 2048 };

/** `pgp` is the section's YAML. */
export function pgpSource(pgp: string, name: "keyServer" | "wkd") {
  const { settings } = configurationOf(`${SMALLEST}pgp: ${pgp}`);
  const parts = { log: silentLog, metrics: createMetrics("1"), clock: systemClock, cache: NO_DATABASE };
  const shelf = sourceShelf(settings.cache, parts, undefined, () => policy);
  const source = buildSources(settings, policy, shelf, parts).pgp[name];
  if (source === undefined) throw new Error(`no ${name} is configured`);
  return {
    probe: () => source.probe(never),
    /** What became of a look-up, or why it failed. */
    async said(address: string): Promise<string> {
      const answer = await source.find(mailbox(address), never);
      return answer.kind === "failed" ? answer.cause.message : answer.kind;
    },
  };
}
