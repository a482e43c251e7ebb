// Revocation lists: the lists of the places that an administrator named, read again in time; the last good one stays in use.
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { asError } from "../as-error.ts";
import type { HttpGet } from "../http/http-get.ts";
import type { Probe } from "../keys/source.ts";
import type { Certificate } from "../smime/certificate.ts";
import { isListOf, readRevocationLists, type RevocationList } from "../smime/revocation-list.ts";
import { comparableName } from "../smime/name-constraints.ts";

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

const MAX_LIST_BYTES = 20 * 1024 * 1024;
const MAX_LOAD_MS = 60_000;
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
  let lists: readonly RevocationList[] = [];
  const use = (place: Place, bytes: Buffer) => {
    const digest = createHash("sha256").update(bytes).digest("hex");
    if (digest !== place.digest) {
      const read = readRevocationLists(bytes);
      for (const list of read) refuseForeign(list, place.lists, issuers);
      place.lists = read;
      place.digest = digest;
      lists = all.flatMap((one) => one.lists);
      for (const list of read) observe.loaded(place.name, list.issuer, list.revoked.size, list.nextUpdate);
    }
    place.fault = undefined;
  };
  const load = async (place: Place, signal: AbortSignal) => {
    try {
      const bytes = await (place.isUrl ? fetched(place.name, get, signal) : fileContent(place));
      if (bytes !== undefined) use(place, bytes);
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
      const details = all.map((place) => placeState(place, at));
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
  const end = Math.min(...lists.map((list) => list.nextUpdate));
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

/** Throws when a known CA did not sign the list in its name, or when the list is older than the CA's own that is in use. */
function refuseForeign(list: RevocationList, inUse: readonly RevocationList[], issuers: readonly Certificate[]): void {
  const named = issuers.filter((issuer) => comparableName(issuer.subjectDer) === list.issuerName);
  if (named.length === 0) return;
  const isOwn = (one: RevocationList) => named.some((issuer) => isListOf(one, issuer));
  if (!isOwn(list)) throw new Error(`its list is not signed by ${list.issuer}`);
  const newer = inUse.find((one) => one.issuerName === list.issuerName && one.thisUpdate > list.thisUpdate);
  if (newer !== undefined && isOwn(newer)) throw new Error(`its list of ${list.issuer} is older than the one in use`);
}

function placeState(place: Place, now: number): Probe {
  if (place.fault !== undefined) return { ok: false, detail: place.fault.message };
  if (place.lists.length === 0) return { ok: false, detail: `${place.name} was not read yet; see smime.trust.crls` };
  const isCurrent = (list: RevocationList) => list.thisUpdate <= now && now < list.nextUpdate;
  const shown = place.lists.map((list) => {
    const until = new Date(list.nextUpdate).toISOString();
    return `${list.issuer}, ${list.revoked.size} entries, ${isCurrent(list) ? "until" : "not current, ended"} ${until}`;
  });
  return { ok: place.lists.every(isCurrent), detail: `${place.name}: ${shown.join(", ")}` };
}

function isTimeout(reason: unknown): boolean {
  return reason instanceof DOMException && reason.name === "TimeoutError";
}

async function unlessAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<never>();
  const stop = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
