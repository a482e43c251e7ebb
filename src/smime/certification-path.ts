// Certification path: from a certificate over CA certificates up to an anchor, searched for and validated (RFC 5280 6.1).
//
// Issuers are searched by name, depth first (RFC 4158 2.4). Signatures are verified only once an anchor is reached, from the
// anchor down: keys that nobody vouched for are never computed with, whatever a maze of certificates offers.
import { createPublicKey, X509Certificate, type KeyObject } from "node:crypto";
import type { Certificate } from "./certificate.ts";
import { Malformed } from "./der.ts";
import { comparableName, forbiddenName, namesOf, readNameConstraints } from "./name-constraints.ts";

/** What is wrong with a path, in an operator's words. `advice` is for certificates that the operator chose, never for what a stranger sent. */
export type PathFault = { readonly fault: string; readonly advice?: string };

/** `path` begins with the certificate and ends with the anchor. */
export type PathAnswer = { readonly path: readonly Certificate[] } | PathFault;

/** Finds a path that holds at `now` (ms); `companions` came along with the certificate and are never anchors. */
export type PathFinder = (certificate: Certificate, companions: readonly Certificate[], now: number) => PathAnswer;

/** Certificates in one path, both ends counted. */
const MAX_PATH = 10;
const MAX_COMPANIONS = 100;
const MAX_SIGNATURES = 100;
/** Extensions of a path that are tried in one search; none of them computes with a key. */
const MAX_STEPS = 1000;
const MAX_SHOWN = 200;

const EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4";
const ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0";
const WEAK_DIGESTS: ReadonlySet<string> = new Set(["md2", "md4", "md5", "sha1", "unknown"]);

/** How much a fault says: of several dead ends the most telling is reported. */
const TELLS = { deadEnd: 1, signature: 2, rule: 3, givenUp: 4 } as const;

type Issuers = ReadonlyMap<string, readonly Certificate[]>;

/** Prepares searches over the anchors and the other CA certificates that an administrator gave. */
export function pathFinder(anchors: readonly Certificate[], intermediates: readonly Certificate[]): PathFinder {
  const known = bySubject([...anchors, ...intermediates]);
  const anchorFingerprints = new Set(anchors.map((anchor) => anchor.fingerprint));
  const isAnchor = (certificate: Certificate) => anchorFingerprints.has(certificate.fingerprint);
  return (certificate, companions, now) => {
    const brought = bySubject(companions.slice(0, MAX_COMPANIONS));
    return search(certificate, [known, brought], isAnchor, now);
  };
}

function search(
  certificate: Certificate,
  pools: readonly Issuers[],
  isAnchor: (certificate: Certificate) => boolean,
  now: number,
): PathAnswer {
  const verified = new Map<string, boolean>();
  let stepsLeft = MAX_STEPS;
  let worst: { readonly tells: number; readonly said: PathFault } = { tells: 0, said: { fault: "" } };
  const note = (tells: number, said: PathFault) => {
    if (tells > worst.tells) worst = { tells, said };
  };
  const isSigned = (subject: Certificate, issuer: Certificate): boolean => {
    const edge = `${subject.fingerprint} ${issuer.fingerprint}`;
    const before = verified.get(edge);
    if (before !== undefined) return before;
    if (verified.size >= MAX_SIGNATURES) {
      note(TELLS.givenUp, { fault: `no path to an anchor within ${MAX_SIGNATURES} signatures` });
      return false;
    }
    const answer = isSignedBy(subject, issuer);
    verified.set(edge, answer);
    return answer;
  };
  const judged = (path: readonly Certificate[]): readonly Certificate[] | undefined => {
    const unsigned = path.findLastIndex((one, index) => {
      const issuer = path[index + 1];
      return issuer !== undefined && !isSigned(one, issuer);
    });
    const [one, issuer] = [path[unsigned], path[unsigned + 1]];
    if (one !== undefined && issuer !== undefined) note(TELLS.signature, notSigned(one, issuer));
    const broken = unsigned < 0 ? ruleFault(path, now) : undefined;
    if (broken !== undefined) note(TELLS.rule, { fault: broken });
    return unsigned < 0 && broken === undefined ? path : undefined;
  };
  // a maze comes by the same certificates again and again
  const candidates = new Map<Certificate, readonly Certificate[]>();
  const above = (one: Certificate): readonly Certificate[] => {
    let issuers = candidates.get(one);
    if (issuers === undefined) candidates.set(one, (issuers = issuersOf(one, pools, isAnchor, now)));
    return issuers;
  };
  const extended = (path: readonly Certificate[], last: Certificate): readonly Certificate[] | undefined => {
    if (isAnchor(last)) return judged(path);
    if (path.length === MAX_PATH) {
      note(TELLS.deadEnd, deadEnd(path, last));
      return undefined;
    }
    let isDeadEnd = true;
    for (const issuer of above(last)) {
      if (isRepeated(path, issuer)) continue;
      isDeadEnd = false;
      if (verified.get(`${last.fingerprint} ${issuer.fingerprint}`) === false) continue;
      if ((stepsLeft -= 1) < 0) {
        const fault = `no path to an anchor among ${MAX_STEPS}: too many certificates of the same names`;
        note(TELLS.givenUp, { fault });
        return undefined;
      }
      const found = extended([...path, issuer], issuer);
      if (found !== undefined) return found;
    }
    if (isDeadEnd) note(TELLS.deadEnd, deadEnd(path, last));
    return undefined;
  };
  const path = extended([certificate], certificate);
  return path === undefined ? worst.said : { path };
}

/** Candidates by name, the likeliest first: the key that is named, an anchor, one that holds at `now`. */
function issuersOf(
  certificate: Certificate,
  pools: readonly Issuers[],
  isAnchor: (certificate: Certificate) => boolean,
  now: number,
): Certificate[] {
  const name = namesFor(certificate).issuer;
  const candidates = new Map<string, Certificate>();
  for (const one of pools.flatMap((pool) => pool.get(name) ?? []))
    if (!candidates.has(one.fingerprint)) candidates.set(one.fingerprint, one);
  const identifier = certificate.authorityKeyIdentifier;
  const rank = (issuer: Certificate) => {
    const { subjectKeyIdentifier } = issuer;
    const isKnown = identifier !== undefined && subjectKeyIdentifier !== undefined;
    const match = !isKnown ? 1 : Buffer.compare(identifier, subjectKeyIdentifier) === 0 ? 2 : 0;
    return match * 4 + (isAnchor(issuer) ? 2 : 0) + (validityFault(issuer, now) === undefined ? 1 : 0);
  };
  return [...candidates.values()]
    .map((issuer) => ({ issuer, rank: rank(issuer) }))
    .sort((a, b) => b.rank - a.rank)
    .map(({ issuer }) => issuer);
}

/** The same name with the same key, in whatever certificate, leads nowhere that it did not lead before (RFC 4158 2.4.2). */
function isRepeated(path: readonly Certificate[], issuer: Certificate): boolean {
  return path.some(
    (one) => Buffer.compare(one.spki, issuer.spki) === 0 && namesFor(one).subject === namesFor(issuer).subject,
  );
}

/** Which rule of RFC 5280 6.1 a path whose signatures are good breaks at `now`; the anchor is judged too, as OpenSSL does. */
function ruleFault(path: readonly Certificate[], now: number): string | undefined {
  return pathValidityFault(path, now) ?? useFault(path) ?? namesFault(path);
}

/** Whether a path found before still holds at `now` (ms): why not, for people. */
export function pathValidityFault(path: readonly Certificate[], now: number): string | undefined {
  for (const certificate of path) {
    const fault = validityFault(certificate, now);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function validityFault(certificate: Certificate, now: number): string | undefined {
  if (now > certificate.notAfter) return `${shown(certificate)} is expired since ${day(certificate.notAfter)}`;
  if (now < certificate.notBefore) return `${shown(certificate)} is not valid before ${day(certificate.notBefore)}`;
  return undefined;
}

function useFault(path: readonly Certificate[]): string | undefined {
  let casBelow = 0;
  for (const [index, certificate] of path.entries()) {
    const { unknownCriticalExtensions: unknown, extendedKeyUsage: purposes, signatureDigest, pathLength } = certificate;
    const isAnchor = index === path.length - 1;
    if (unknown.length > 0)
      return `${shown(certificate)} has critical extensions that are not known here: ${unknown.slice(0, 3).join(", ")}`;
    if (purposes?.includes(EMAIL_PROTECTION) === false && !purposes.includes(ANY_EXTENDED_KEY_USAGE))
      return `${shown(certificate)} is not for mail (extendedKeyUsage)`;
    if (!isAnchor && WEAK_DIGESTS.has(signatureDigest))
      return `${shown(certificate)} is signed with the weak or unknown digest ${signatureDigest}`;
    if (index === 0) continue;
    if (!mayIssue(certificate, isAnchor)) return `${shown(certificate)} may not issue certificates`;
    if (pathLength !== undefined && casBelow > pathLength)
      return `${shown(certificate)} may not have ${casBelow} further CA below it (pathLen ${pathLength})`;
    if (!isSelfIssued(certificate)) casBelow += 1;
  }
  return undefined;
}

/** Anchors of version 1 have no extension to say it with; private CAs of that kind are still in use. */
function mayIssue(certificate: Certificate, isAnchor: boolean): boolean {
  if (certificate.keyUsage?.has("keyCertSign") === false) return false;
  return certificate.isCa || (isAnchor && certificate.version === 1 && isSelfIssued(certificate));
}

/** Name constraints count for everything below, but not for intermediate self-issued certificates (RFC 5280 6.1.3 b). */
function namesFault(path: readonly Certificate[]): string | undefined {
  for (const [index, ca] of path.entries()) {
    if (ca.nameConstraints === undefined || index === 0) continue;
    const below = path.slice(0, index).filter((one, at) => at === 0 || !isSelfIssued(one));
    try {
      const constraints = readNameConstraints(ca.nameConstraints);
      for (const one of below) {
        const name = forbiddenName(constraints, namesOf(one));
        if (name !== undefined) return `${shown(ca)} may not issue certificates for ${name} (name constraints)`;
      }
    } catch (cause) {
      if (!(cause instanceof Malformed)) throw cause;
      return `the name constraints of ${shown(ca)} cannot be followed: ${cause.message}`;
    }
  }
  return undefined;
}

function isSignedBy(certificate: Certificate, issuer: Certificate): boolean {
  const key = issuerKey(issuer);
  if (key === undefined) return false;
  try {
    return new X509Certificate(certificate.der).verify(key);
  } catch {
    // what OpenSSL cannot read has no good signature
    return false;
  }
}

const keys = new WeakMap<Certificate, { readonly key: KeyObject | undefined }>();

/** The public key of a CA; undefined when OpenSSL cannot use it, or when it brings its own curve. */
export function issuerKey(certificate: Certificate): KeyObject | undefined {
  let known = keys.get(certificate);
  if (known === undefined) keys.set(certificate, (known = { key: readKey(certificate.spki) }));
  return known.key;
}

function readKey(spki: Uint8Array): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
    // explicit parameters let the certificate choose the curve (CVE-2020-0601)
    const isOwnCurve = key.asymmetricKeyType === "ec" && key.asymmetricKeyDetails?.namedCurve === undefined;
    return isOwnCurve ? undefined : key;
  } catch {
    return undefined;
  }
}

const names = new WeakMap<Certificate, { readonly subject: string; readonly issuer: string }>();

function namesFor(certificate: Certificate): { readonly subject: string; readonly issuer: string } {
  let known = names.get(certificate);
  if (known === undefined) {
    known = { subject: comparableName(certificate.subjectDer), issuer: comparableName(certificate.issuerDer) };
    names.set(certificate, known);
  }
  return known;
}

function bySubject(certificates: readonly Certificate[]): Issuers {
  return Map.groupBy(certificates, (certificate) => namesFor(certificate).subject);
}

function isSelfIssued(certificate: Certificate): boolean {
  const { subject, issuer } = namesFor(certificate);
  return subject === issuer;
}

function deadEnd(path: readonly Certificate[], last: Certificate): PathFault {
  if (path.length === MAX_PATH) return { fault: `no path to an anchor of at most ${MAX_PATH} certificates` };
  const advice = "add it to smime.trust.anchors";
  if (isSelfIssued(last)) return { fault: `no path to an anchor: ${shown(last)} is self-signed`, advice };
  const whose = path.length === 1 ? "its issuer" : `the issuer of ${shown(last)},`;
  return { fault: `no path to an anchor: ${whose} ${cut(last.issuer)} is not known`, advice };
}

function notSigned(certificate: Certificate, issuer: Certificate): PathFault {
  const fault = `${shown(certificate)} is not signed by the ${shown(issuer)} that is known`;
  return { fault, advice: "add the right one to smime.trust.anchors" };
}

/** The subject of a certificate, for people, in bounds. */
export function shown(certificate: Certificate): string {
  return certificate.subject === "" ? "a certificate without a subject" : cut(certificate.subject);
}

function cut(name: string): string {
  return name.length > MAX_SHOWN ? `${name.slice(0, MAX_SHOWN)}…` : name;
}

/** `2022-01-01` of a time in ms since 1970. */
export function day(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}
