// Key-store file: one file with the certificates or keys of many people, read by content and again whenever it changes.
import { asError } from "../as-error.ts";
import { open, stat } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { mailboxesIn, type Mailbox } from "../mail/address.ts";
import { absent, failed, found } from "../keys/lookup.ts";
import type { KeyKind, RecipientKey } from "../keys/recipient-key.ts";
import type { Answer, KeySource } from "../keys/source.ts";
import type { FitnessPolicy } from "../keys/fitness.ts";
import { usabilityOf, usabilityText } from "../keys/usability.ts";

/** An entry that is not used. `claimedAddresses`: it may be a fit key of theirs, or not, and nobody can tell; not verified. */
export type StoreFault = {
  readonly entry: string;
  readonly reason: string;
  readonly claimedAddresses?: readonly string[];
};

/** What a reader makes of a file's bytes. `unreadable` is a sentence that says what the file is and how to export it. */
export type StoreReading<K> =
  | {
      readonly kind: "keys";
      readonly format: string;
      readonly keys: readonly K[];
      readonly faults: readonly StoreFault[];
      readonly notes: readonly string[];
    }
  | { readonly kind: "unreadable"; readonly reason: string };

export type StoreReader<K> = (bytes: Buffer, now: number) => Promise<StoreReading<K>>;

/** What the log and /readyz are told of each reading. */
export type StoreObserver = {
  loaded(
    file: string,
    kind: KeyKind,
    format: string,
    count: number,
    faults: readonly { entry: string; reason: string }[],
    notes: readonly string[],
  ): void;
  failed(file: string, kind: KeyKind, cause: Error): void;
};

export type KeyStoreFile<K extends RecipientKey> = KeySource<K> & {
  /** Reads the file again if it has changed; true when another set of keys is in use now. */
  refresh(): Promise<boolean>;
  /** The next need reads the file again, whether it changed or not; what is in use stays until that is done. */
  forget(): void;
  /** Why the file as it is now cannot be used; the last good set stays in use. */
  readonly fault: Error | undefined;
};

const MAX_FILE_BYTES = 64 * 1024 * 1024;

/** The set in use: keys by the address keys they name or claim, and why it is not known of an address key what there is. */
type Loaded<K> = {
  readonly byAddress: ReadonlyMap<string, readonly K[]>;
  readonly inDoubt: ReadonlyMap<string, string>;
  readonly keys: readonly K[];
  readonly format: string;
  readonly faults: number;
  readonly notes: readonly string[];
};

export function keyStoreFile<K extends RecipientKey>(
  file: string,
  kind: K["kind"],
  settingName: string,
  read: StoreReader<K>,
  observe: StoreObserver,
  policy: FitnessPolicy,
  now: () => number,
): KeyStoreFile<K> {
  let loaded: Loaded<K> | undefined;
  // counts expiries: what was read before the last one is read again
  let expiries = 0;
  let seenExpiries = 0;
  let again: Promise<void> | undefined;
  let fault: Error | undefined;
  let seen = "";
  let busy: Promise<boolean> | undefined;

  const load = async (): Promise<boolean> => {
    const last = seen;
    // a file that was away and is put back unchanged has to be read again
    seen = "";
    try {
      const state = await stat(file, { bigint: true });
      // what a rename, an edit in place and a new mount each change
      const mark = [state.dev, state.ino, state.size, state.mtimeNs].join(" ");
      if (mark === last) {
        seen = last;
        return false;
      }
      if (!state.isFile()) throw new Error("it is not a regular file");
      if (state.size > MAX_FILE_BYTES) throw new Error(`it is larger than ${MAX_FILE_BYTES} bytes`);
      const bytes = await contentOf(file);
      // what can be read and is of no use is not read again before it changes
      seen = mark;
      const reading = await read(bytes, now());
      if (reading.kind === "unreadable") throw new Error(reading.reason);
      // an empty store is one; a file of which nothing can be read is not
      if (reading.keys.length === 0 && reading.faults[0] !== undefined) {
        throw new Error(`nothing in it can be read: ${reading.faults[0].entry}: ${reading.faults[0].reason}`);
      }
      loaded = {
        byAddress: await byAddress(reading.keys),
        inDoubt: new Map(
          reading.faults.flatMap(({ reason, claimedAddresses = [] }) =>
            addressKeys(claimedAddresses).map((address) => [address, reason] as const),
          ),
        ),
        keys: reading.keys,
        format: reading.format,
        faults: reading.faults.length,
        notes: reading.notes,
      };
      fault = undefined;
      observe.loaded(file, kind, reading.format, reading.keys.length, reading.faults, reading.notes);
      return true;
    } catch (cause) {
      const reason = asError(cause);
      const next = new Error(`${file} cannot be used: ${reason.message}; see ${settingName}`, { cause: reason });
      // the same fault is told once, not for every mail
      if (fault?.message !== next.message) observe.failed(file, kind, next);
      fault = next;
      return false;
    }
  };
  const refresh = async () => {
    busy ??= load().finally(() => (busy = undefined));
    return busy;
  };
  const readAgain = async () => {
    const upTo = expiries;
    await busy;
    seen = "";
    await refresh();
    seenExpiries = upTo;
  };

  return {
    name: "keystore",
    isKeptHere: true,
    refresh,
    get fault() {
      return fault;
    },
    forget() {
      expiries++;
    },
    async find(mailbox: Mailbox): Promise<Answer<K>> {
      const isExpired = seenExpiries !== expiries;
      const cached = loaded !== undefined && !isExpired;
      if (isExpired) await (again ??= readAgain().finally(() => (again = undefined)));
      else if (loaded === undefined) await refresh();
      if (loaded === undefined) return failed(fault ?? new Error(`${file} was not read yet`));
      const doubt = loaded.inDoubt.get(mailbox.key);
      if (doubt !== undefined)
        return { ...failed(new Error(`${file}: ${doubt}; see ${settingName}`)), isOnlyHere: true, cached };
      const keys = loaded.byAddress.get(mailbox.key);
      return { ...(keys === undefined ? absent : found(keys)), cached };
    },
    async probe(signal) {
      await readAgain();
      if (fault !== undefined) return { ok: false, detail: fault.message };
      await policy.ready?.(signal);
      const { keys = [], format = "", faults = 0, notes = [] } = loaded ?? {};
      const usability = usabilityOf(keys, now(), policy);
      const unreadable = faults > 0 ? [`${faults} entries cannot be read`] : [];
      return {
        ok: usability.usable > 0,
        detail: [`${file}: ${format}, ${usabilityText(usability)}`, ...unreadable, ...notes].join("; "),
      };
    },
  };
}

/** Reads at most MAX_FILE_BYTES + 1, whatever the file has become since it was looked at. */
async function contentOf(file: string): Promise<Buffer> {
  const handle = await open(file, "r");
  try {
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

/** So many keys are sorted in before other work has its turn. */
const SORTED_AT_ONCE = 500;

async function byAddress<K extends RecipientKey>(keys: readonly K[]): Promise<Map<string, readonly K[]>> {
  const index = new Map<string, Map<string, K>>();
  for (const [count, key] of keys.entries()) {
    if (count % SORTED_AT_ONCE === SORTED_AT_ONCE - 1) await setImmediate();
    const { certificate } = key;
    // a User ID that is not valid yet may be when the key is judged
    const named = "claimedAddresses" in certificate ? certificate.claimedAddresses : certificate.addresses;
    for (const address of addressKeys(named))
      index.set(address, (index.get(address) ?? new Map<string, K>()).set(key.fingerprint, key));
  }
  return new Map([...index].map(([address, own]) => [address, [...own.values()]]));
}

function addressKeys(addresses: readonly string[]): string[] {
  return [...new Set(mailboxesIn(addresses).map(({ key }) => key))];
}
