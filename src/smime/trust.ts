// Trust: whether a certificate has a certification path to an anchor that an administrator named, and is not revoked.
import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Certificate } from "./certificate.ts";
import { day, pathFinder, pathValidityFault, shown, type PathFault } from "./certification-path.ts";
import { comparableName } from "./name-constraints.ts";
import { isListOf, revokedSince, type RevocationList } from "./revocation-list.ts";

/**
 * `path` begins with the certificate and ends with the anchor. `detail` is a sentence for an operator who chose the certificate: it says
 * what mends it. `fault` is the same without that, for a certificate that a stranger sent; undefined: `detail` advises nothing.
 */
export type TrustVerdict =
  | { readonly trusted: true; readonly path: readonly Certificate[] }
  | {
      readonly trusted: false;
      readonly reason: "untrusted" | "revoked" | "revocation-unknown";
      readonly detail: string;
      readonly fault?: string;
    };

export type TrustSettings = {
  readonly anchors: readonly Certificate[];
  /** CA certificates that help to find a path and are not believed for themselves. */
  readonly intermediates: readonly Certificate[];
  /** The lists as they are now; undefined when none are configured: revocation is not looked at then. */
  readonly lists: (() => readonly RevocationList[]) | undefined;
  /** What becomes of a certificate whose issuer has no current list. */
  readonly onMissingList: "accept" | "wait";
};

export type Trust = {
  /**
   * Judges a certificate at `now` (ms): its path (RFC 5280 6.1), then every certificate of it but the anchor in the list of its
   * issuer (6.3). `companions` came along with it; they are never anchors.
   */
  readonly judge: (certificate: Certificate, companions: readonly Certificate[], now: number) => TrustVerdict;
};

const MAX_REMEMBERED = 10_000;
const MAX_REMEMBERED_CAS = 1000;
/** A search among the same certificates that found nothing is not made again for so long. */
const FAULT_REMEMBERED_MS = 60_000;

/** A CA of a remembered path, and what was found out about lists of its name. */
type Issuer = {
  readonly certificate: Certificate;
  readonly name: string;
  readonly isList: WeakMap<RevocationList, boolean>;
};

type Refusal = Extract<TrustVerdict, { trusted: false }>;

/**
 * Paths that were found are remembered by the certificate's fingerprint; time and revocation are judged afresh each time. That
 * there is none is remembered for a minute, of the certificate with these companions.
 */
export function createTrust({ anchors, intermediates, lists, onMissingList }: TrustSettings): Trust {
  const findPath = pathFinder(anchors, intermediates);
  const remembered = new LRUCache<string, readonly Issuer[]>({ max: MAX_REMEMBERED });
  // thousands of certificates share the few CAs above them, which came along anew with each
  const cas = new LRUCache<string, Issuer>({ max: MAX_REMEMBERED_CAS });
  const faults = new LRUCache<string, PathFault & { readonly at: number }>({ max: MAX_REMEMBERED });
  const issuerOf = (certificate: Certificate): Issuer => {
    const known = cas.get(certificate.fingerprint);
    if (known !== undefined) return known;
    const issuer: Issuer = { certificate, name: comparableName(certificate.subjectDer), isList: new WeakMap() };
    cas.set(certificate.fingerprint, issuer);
    return issuer;
  };
  const chainOf = (certificate: Certificate, companions: readonly Certificate[], now: number) => {
    const known = remembered.get(certificate.fingerprint);
    if (known !== undefined) {
      const chain = { path: pathOf(certificate, known), issuers: known };
      if (pathValidityFault(chain.path, now) === undefined) return chain;
    }
    const question = digestOf([certificate, ...companions]);
    const before = faults.get(question);
    if (before !== undefined && before.at <= now && now < before.at + FAULT_REMEMBERED_MS) return before;
    const answer = findPath(certificate, companions, now);
    if ("fault" in answer) {
      faults.set(question, { ...answer, at: now });
      return answer;
    }
    const issuers = answer.path.slice(1).map(issuerOf);
    remembered.set(certificate.fingerprint, issuers);
    return { path: answer.path, issuers };
  };
  return {
    judge(certificate, companions, now) {
      const chain = chainOf(certificate, companions, now);
      if ("fault" in chain) return untrusted(chain);
      const { path, issuers } = chain;
      const refusal = lists && revocation(path, issuers, lists(), now);
      const isRefused = refusal?.reason === "revoked" || (refusal !== undefined && onMissingList === "wait");
      return isRefused ? refusal : { trusted: true, path };
    },
  };
}

function untrusted({ fault, advice }: PathFault): Refusal {
  const detail = advice === undefined ? fault : `${fault}; ${advice}`;
  return { trusted: false, reason: "untrusted", detail, fault };
}

function digestOf(certificates: readonly Certificate[]): string {
  const digest = createHash("sha256");
  for (const { fingerprint } of certificates) digest.update(fingerprint);
  return digest.digest("base64");
}

function pathOf(certificate: Certificate, issuers: readonly Issuer[]): Certificate[] {
  return [certificate, ...issuers.map((issuer) => issuer.certificate)];
}

/** `issuers` belong to `path`, one each but for the anchor. What is revoked comes before what is not known. */
function revocation(
  path: readonly Certificate[],
  issuers: readonly Issuer[],
  lists: readonly RevocationList[],
  now: number,
): Refusal | undefined {
  let unknown: Refusal | undefined;
  for (const [index, issuer] of issuers.entries()) {
    const certificate = path[index];
    if (certificate === undefined) break;
    const list = currentList(issuer, lists, now);
    if (list === undefined) {
      unknown ??= { trusted: false, reason: "revocation-unknown", detail: missing(issuer, lists, now) };
      continue;
    }
    const since = revokedSince(list, certificate);
    if (since === undefined) continue;
    const serial = Buffer.from(certificate.serial).toString("hex");
    const detail = `${shown(certificate)} (serial ${serial}) is revoked since ${day(since)} by ${shown(issuer.certificate)}`;
    return { trusted: false, reason: "revoked", detail };
  }
  return unknown;
}

/** The newest list that the CA signed and that holds at `now`. */
function currentList(issuer: Issuer, lists: readonly RevocationList[], now: number): RevocationList | undefined {
  let newest: RevocationList | undefined;
  for (const list of lists) {
    if (list.issuerName !== issuer.name || now < list.thisUpdate || now >= list.nextUpdate) continue;
    if (newest !== undefined && newest.thisUpdate >= list.thisUpdate) continue;
    if (isOwnList(issuer, list)) newest = list;
  }
  return newest;
}

function isOwnList(issuer: Issuer, list: RevocationList): boolean {
  let answer = issuer.isList.get(list);
  if (answer === undefined) issuer.isList.set(list, (answer = isListOf(list, issuer.certificate)));
  return answer;
}

function missing(issuer: Issuer, lists: readonly RevocationList[], now: number): string {
  const name = shown(issuer.certificate);
  const named = lists.filter((list) => list.issuerName === issuer.name);
  const own = named.filter((list) => isOwnList(issuer, list));
  const [first] = own.toSorted((a, b) => b.nextUpdate - a.nextUpdate);
  if (first !== undefined) {
    const when = now < first.thisUpdate ? `holds from ${day(first.thisUpdate)}` : `ended on ${day(first.nextUpdate)}`;
    return `the revocation list of ${name} ${when}; see smime.trust.crls`;
  }
  if (named.length > 0) return `the revocation list of ${name} is not signed by it; see smime.trust.crls`;
  return `there is no revocation list of ${name}; see smime.trust.crls`;
}
