// Revocation lists: the lists of the places that an administrator named, read again in time; the last good one stays in use.
//
// Rules:
//   A place that cannot be read, or gives a list that its CA did not sign or that is older, keeps what it had.
//   Where a list of a known CA was, nobody else's takes its place; where a stranger's was, only one of the same name.
//   A list that still holds stays in use beside the new content until that has one of the same CA that holds already.
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { asError } from "../as-error.ts";
import type { HttpGet } from "../http/http-get.ts";
import type { Probe } from "../keys/source.ts";
import type { Certificate } from "../smime/certificate.ts";
import {
  isListOf,
  readRevocationLists,
  type RevocationList,
  type RevocationListHead,
} from "../smime/revocation-list.ts";
import { comparableName } from "../smime/name-constraints.ts";
import { unlessAborted } from "../unless-aborted.ts";

/** What the log is told: each list once when it changed, each fault once until it is gone. */
export type RevocationObserver = {
  loaded(place: string, issuer: string, entries: number, nextUpdate: number): void;
  failed(place: string, cause: Error): void;
};

export type RevocationSources = {
  /** Absolute file paths and http(s) URLs. */
  readonly places: readonly string[];
  readonly get: HttpGet;
  readonly observe: RevocationObserver;
  readonly now: () => number;
  /** CAs that are known: a list in the name of one that it did not sign is refused and does not displace a good one. */
  readonly issuers?: readonly Certificate[];
};

export type RevocationLists = {
  /** Resolves when every place has been tried once, well or not; rejects when `signal` fires before. */
  ready(signal: AbortSignal): Promise<void>;
  /** Reads changed files and URLs that are due; never rejects. */
  refresh(signal: AbortSignal): Promise<void>;
  /** The last good lists, current or not; the same array until one changes. */
  readonly current: () => readonly RevocationList[];
  /** Whether each place has been read and its lists hold at `now` (ms). */
  probe(now: number): Probe;
};

/** A list of a large CA, over a slow line. */
export const MAX_LIST_BYTES = 20 * 1024 * 1024;
export const MAX_LOAD_MS = 60_000;
/** Lists of unknown CAs that are kept beside those that followed them. */
const MAX_KEPT = 10;
const MAX_SHOWN = 200;
/** A URL is asked again after so long, or so long before its list ends; after a fault, or in its last minutes, this often. */
const REFRESH_MS = 60 * 60_000;
const AHEAD_MS = 10 * 60_000;
const RETRY_MS = 60_000;

type Place = {
  readonly name: string;
  readonly isUrl: boolean;
  lists: readonly RevocationList[];
  digest: string;
  /** What the file was when it was last read. */
  mark: string;
  /** When a URL is due again (ms); undefined before the first attempt has ended. */
  dueAt: number | undefined;
  fault: Error | undefined;
  busy: Promise<void> | undefined;
};

export function revocationLists({ places, get, observe, now, issuers = [] }: RevocationSources): RevocationLists {
  const all = places.map(newPlace);
  const authorities = knownAuthorities(issuers);
  let lists: readonly RevocationList[] = [];
  const use = async (place: Place, bytes: Buffer) => {
    const digest = createHash("sha256").update(bytes).digest("hex");
    if (digest !== place.digest) {
      const read = await readRevocationLists(bytes, (heads) => {
        for (const head of heads) authorities.refuseForeign(head, place.lists);
        authorities.refuseOthers(heads, place.lists, now());
      });
      place.lists = [...authorities.stillNeeded(place.lists, read, now()), ...read];
      place.digest = digest;
      lists = all.flatMap((one) => one.lists);
      for (const list of read) observe.loaded(place.name, list.issuer, list.revoked.size, list.nextUpdate);
    }
    place.fault = undefined;
  };
  const load = async (place: Place, signal: AbortSignal) => {
    try {
      const bytes = await (place.isUrl ? fetched(place.name, get, signal) : fileContent(place));
      if (bytes !== undefined) await use(place, bytes);
    } catch (cause) {
      // whoever stops the attempt has learned nothing of the place
      if (signal.aborted && !isTimeout(signal.reason)) return;
      const reason = asError(cause);
      const next = new Error(`${place.name} cannot be used: ${reason.message}; see smime.trust.crls`, {
        cause: reason,
      });
      if (place.fault?.message !== next.message) observe.failed(place.name, next);
      place.fault = next;
    }
    place.dueAt = dueAt(place, now());
  };
  const loadOnce = (place: Place, signal?: AbortSignal) => {
    const deadline = AbortSignal.timeout(MAX_LOAD_MS);
    place.busy ??= load(place, signal === undefined ? deadline : AbortSignal.any([signal, deadline])).finally(
      () => (place.busy = undefined),
    );
    return place.busy;
  };
  return {
    async ready(signal) {
      signal.throwIfAborted();
      const untried = all.filter((place) => place.dueAt === undefined);
      // not stopped by the one who waits: others wait for the same attempt
      if (untried.length > 0) await unlessAborted(Promise.all(untried.map((place) => loadOnce(place))), signal);
    },
    async refresh(signal) {
      const due = all.filter((place) => !place.isUrl || place.dueAt === undefined || place.dueAt <= now());
      await Promise.all(due.map((place) => loadOnce(place, signal)));
    },
    current: () => lists,
    probe(at) {
      const details = all.map((place) => placeState(place, authorities, at));
      return { ok: details.every(({ ok }) => ok), detail: details.map(({ detail }) => detail).join("; ") };
    },
  };
}

function newPlace(name: string): Place {
  const isUrl = /^https?:\/\//i.test(name);
  return { name, isUrl, lists: [], digest: "", mark: "", dueAt: undefined, fault: undefined, busy: undefined };
}

function dueAt({ lists, fault }: Place, now: number): number {
  if (fault !== undefined) return now + RETRY_MS;
  const ends = [...Map.groupBy(lists, ({ issuerName }) => issuerName).values()].map((same) =>
    Math.max(...same.map(({ nextUpdate }) => nextUpdate)),
  );
  const end = Math.min(...ends);
  return Math.max(now + RETRY_MS, Math.min(now + REFRESH_MS, end - AHEAD_MS));
}

async function fetched(url: string, get: HttpGet, signal: AbortSignal): Promise<Buffer> {
  const { status, body } = await get(new URL(url), signal);
  if (status !== 200) throw new Error(`the server answers with status ${status}`);
  if (body.length > MAX_LIST_BYTES) throw new Error(`it is larger than ${MAX_LIST_BYTES} bytes`);
  return body;
}

/** The octets of a file that has changed since it was last read; undefined when it has not. */
async function fileContent(place: Place): Promise<Buffer | undefined> {
  const last = place.mark;
  // a file that was away and is put back unchanged has to be read again
  place.mark = "";
  // a FIFO must not hold up the open
  const handle = await open(place.name, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const state = await handle.stat({ bigint: true });
    if (!state.isFile()) throw new Error("it is not a regular file");
    if (state.size > MAX_LIST_BYTES) throw new Error(`it is larger than ${MAX_LIST_BYTES} bytes`);
    const mark = [state.dev, state.ino, state.size, state.mtimeNs].join(" ");
    const bytes = mark === last ? undefined : await boundedContent(handle);
    place.mark = mark;
    return bytes;
  } finally {
    await handle.close();
  }
}

/** A file may grow while it is read. */
async function boundedContent(handle: FileHandle): Promise<Buffer> {
  const bytes = await handle.readFile();
  if (bytes.length > MAX_LIST_BYTES) throw new Error(`it is larger than ${MAX_LIST_BYTES} bytes`);
  return bytes;
}

type Authorities = ReturnType<typeof knownAuthorities>;

/** What the CAs that are known say of lists, each of which is verified once. */
function knownAuthorities(issuers: readonly Certificate[]) {
  const named = Map.groupBy(issuers, ({ subjectDer }) => comparableName(subjectDer));
  // by the octets that are signed, which a list has in common with its head
  const verified = new WeakMap<Uint8Array, boolean>();
  const isKnown = (list: RevocationListHead): boolean => {
    let answer = verified.get(list.signed);
    if (answer === undefined) {
      answer = named.get(list.issuerName)?.some((issuer) => isListOf(list, issuer)) ?? false;
      verified.set(list.signed, answer);
    }
    return answer;
  };
  return {
    isEmpty: issuers.length === 0,
    isKnown,
    /** Throws when a known CA did not sign the list in its name, or when it is older than the CA's own that is in use. */
    refuseForeign(list: RevocationListHead, inUse: readonly RevocationListHead[]): void {
      if (!named.has(list.issuerName)) return;
      if (!isKnown(list)) throw new Error(`its list is not signed by ${list.issuer}`);
      const newer = inUse.find((one) => one.issuerName === list.issuerName && one.thisUpdate > list.thisUpdate);
      if (newer !== undefined && isKnown(newer))
        throw new Error(`its list of ${list.issuer} is older than the one in use`);
    },
    /** Throws when a place gives lists of others than before: of no known CA, or of none of the strangers whose list still holds. */
    refuseOthers(
      heads: readonly [RevocationListHead, ...RevocationListHead[]],
      inUse: readonly RevocationListHead[],
      now: number,
    ): void {
      if (issuers.length === 0) return;
      const known = inUse.filter(isKnown);
      const before = known.length > 0 ? known : inUse.filter((one) => now < one.nextUpdate);
      const strangers = new Set(known.length > 0 ? [] : before.map(({ issuerName }) => issuerName));
      if (before[0] === undefined || heads.some((one) => isKnown(one) || strangers.has(one.issuerName))) return;
      throw new Error(`its list is of ${heads[0].issuer.slice(0, MAX_SHOWN)}, where one of ${before[0].issuer} was`);
    },
    /** Which of the lists in use hold beyond the reading of others. Of a stranger's the first: the others may be forged. */
    stillNeeded(
      inUse: readonly RevocationList[],
      read: readonly RevocationList[],
      now: number,
    ): readonly RevocationList[] {
      // without any CA nothing can be told of them
      if (issuers.length === 0) return [];
      const holding = inUse.filter((one) => now < one.nextUpdate);
      const known = holding.filter(
        (one) =>
          isKnown(one) &&
          !read.some((next) => next.issuerName === one.issuerName && isKnown(next) && isCurrent(next, now)),
      );
      const strangers = Map.groupBy(
        holding.filter((one) => !isKnown(one)),
        ({ issuerName }) => issuerName,
      );
      const firsts = [...strangers.values()].flatMap(([first]) => (first === undefined ? [] : [first]));
      const isReadAgain = (one: RevocationList) => read.some((next) => Buffer.compare(one.der, next.der) === 0);
      return [...known, ...firsts.filter((one) => !isReadAgain(one)).slice(0, MAX_KEPT)];
    },
  };
}

function isCurrent({ thisUpdate, nextUpdate }: RevocationListHead, now: number): boolean {
  return thisUpdate <= now && now < nextUpdate;
}

function placeState({ name, fault, lists }: Place, authorities: Authorities, now: number): Probe {
  if (fault !== undefined) return { ok: false, detail: fault.message };
  if (lists.length === 0) return { ok: false, detail: `${name} was not read yet; see smime.trust.crls` };
  const ofEach = [...Map.groupBy(lists, ({ issuerName }) => issuerName).values()].flatMap(
    (same) => same.toSorted((a, b) => standing(b, now) - standing(a, now) || b.thisUpdate - a.thisUpdate)[0] ?? [],
  );
  const shown = ofEach.map((list) => `${list.issuer}, ${list.revoked.size} entries, ${term(list, now)}`);
  const detail = `${name}: ${shown.join(", ")}`;
  if (!authorities.isEmpty && !lists.some(authorities.isKnown))
    return { ok: false, detail: `${detail}, of no CA that is known; add it to smime.trust.intermediates` };
  return { ok: ofEach.every((list) => isCurrent(list, now)), detail };
}

/** Of several lists of one CA the newest that holds counts, else one to come. */
function standing(list: RevocationListHead, now: number): number {
  return isCurrent(list, now) ? 2 : now < list.thisUpdate ? 1 : 0;
}

function term(list: RevocationListHead, now: number): string {
  const [from, until] = [list.thisUpdate, list.nextUpdate].map((time) => new Date(time).toISOString());
  if (isCurrent(list, now)) return `until ${until}`;
  return now < list.thisUpdate ? `not current, from ${from}` : `not current, ended ${until}`;
}

function isTimeout(reason: unknown): boolean {
  return reason instanceof DOMException && reason.name === "TimeoutError";
}
