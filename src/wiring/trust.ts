// The wiring of what decides whether a key may be used: certification paths, revocation lists, and who is known to Jira.
import { readFileSync } from "node:fs";
import type { SourceParts, SourceShelf } from "./source-shelf.ts";
import { proxyEnvironment } from "./sources.ts";
import type { Clock } from "../clock.ts";
import type { Settings } from "../config/schema.ts";
import { httpGet } from "../http/http-get.ts";
import type { FitnessPolicy } from "../keys/fitness.ts";
import type { Log } from "../log.ts";
import type { Certificate } from "../smime/certificate.ts";
import { readCertificateStore } from "../smime/certificate-store.ts";
import { createTrust } from "../smime/trust.ts";
import {
  MAX_LIST_BYTES,
  MAX_LOAD_MS,
  revocationLists,
  type RevocationLists,
  type RevocationObserver,
} from "../sources/revocation-lists.ts";
import type { UserDirectory } from "../users/directory.ts";
import { jiraUsers } from "../users/jira.ts";

/** So long a look-up waits for lists that were not tried yet. */
const LISTS_READY_MS = 3_000;

export type TrustSet = {
  readonly fitness: FitnessPolicy;
  /** The same with a certification path, whether or not smime.trust.check asks for one of every certificate. */
  readonly withPath: FitnessPolicy;
  /** Undefined when no list is configured. */
  readonly lists: RevocationLists | undefined;
};

/** smime.trust: without `check` no path is looked for. Throws a sentence when an anchor cannot be read. */
export function buildTrust({ smime }: Settings, shelf: SourceShelf, { log, clock }: SourceParts): TrustSet {
  const { anchors: files, intermediates, check, crls, onMissingCrl, minRsaBits } = smime.trust;
  const anchors = files.flatMap((file) => certificatesIn(file, "smime.trust.anchors"));
  const further = intermediates.flatMap((file) => certificatesIn(file, "smime.trust.intermediates"));
  const authorities = [...anchors, ...further];
  const now = () => clock.now();
  const lists =
    crls.length === 0
      ? undefined
      : shelf.reuse("smime.trust.crls", { crls, issuers: authorities.map(({ fingerprint }) => fingerprint) }, () => {
          const get = httpGet({
            proxy: "env",
            env: proxyEnvironment(),
            maxBytes: MAX_LIST_BYTES,
            deadlineMs: MAX_LOAD_MS,
          });
          const part = revocationLists({ places: crls, get, observe: listLog(log), now, issuers: authorities });
          return { part, close: () => get.close() };
        });
  const trust = createTrust({
    anchors,
    intermediates: further,
    lists: lists?.current,
    onMissingList: onMissingCrl,
  });
  const withPath: FitnessPolicy = {
    minRsaBits,
    path: trust.judge,
    ready: (signal) => readyInTime(lists, clock, signal),
  };
  return { fitness: check ? withPath : { minRsaBits }, withPath, lists };
}

/**
 * Resolves when the lists were tried, or were given time enough: a list that hangs is a missing one, and what that means for a certificate is
 * judged with it.
 */
async function readyInTime(lists: RevocationLists | undefined, clock: Clock, signal: AbortSignal): Promise<void> {
  if (lists === undefined) return;
  const over = new AbortController();
  const late = clock.sleep(LISTS_READY_MS, over.signal);
  try {
    await Promise.race([lists.ready(signal), late]);
  } finally {
    over.abort("over");
  }
}

/** users.jira, with its own memory. */
export function buildPeople(
  { users }: Settings,
  shelf: SourceShelf,
  { clock }: SourceParts,
): UserDirectory | undefined {
  const { jira } = users;
  if (jira === null) return undefined;
  return shelf.reuse("users.jira", jira, () => {
    const get = httpGet({ proxy: "none" });
    return { part: jiraUsers({ url: jira.url, token: jira.token, get, clock }), close: () => get.close() };
  });
}

/** The authorities in a file of this setting. Throws a sentence when one of them, or the file, cannot be read. */
export function certificatesIn(file: string, setting: string): readonly Certificate[] {
  const contents = readCertificateStore(readFileSync(file));
  const fault = contents.kind === "unreadable" ? contents.reason : contents.faults[0]?.reason;
  if (contents.kind === "unreadable" || fault !== undefined)
    throw new Error(`${file} cannot be used: ${fault ?? ""}; see ${setting}`);
  return contents.certificates;
}

function listLog(log: Log): RevocationObserver {
  return {
    loaded: (place, issuer, entries, nextUpdate) =>
      log.event("crl.loaded", { place, issuer, entries, nextUpdate: new Date(nextUpdate).toISOString() }),
    failed: (place, fault) => log.event("crl.failed", { place, fault }),
  };
}
