// StoreContents: what a file of certificates holds, entry by entry.
import { parseCertificate, type Certificate } from "./certificate.ts";
import { Malformed } from "./der.ts";

/** An entry that is there but of no use. The reason is for people. */
export type StoreFault = { readonly entry: string; readonly reason: string };

export type ReadStore = {
  readonly kind: "store";
  /** For people, e.g. `PKCS#7 (PEM)`. */
  readonly format: string;
  /** In the order of the file, duplicates included. */
  readonly certificates: readonly Certificate[];
  readonly faults: readonly StoreFault[];
  /** What an administrator should know, e.g. that integrity was not checked. */
  readonly notes: readonly string[];
};

/** `reason` is a sentence that says what the file is and, where this helps, how to export it. */
export type StoreContents = ReadStore | { readonly kind: "unreadable"; readonly reason: string };

/** A file that is nothing we read, or is cut short: nothing of it may be used. The message is the reason for people. */
export class UnreadableStore extends Error {}

export const MAX_STORE_BYTES = 64 * 1024 * 1024;
const MAX_ENTRIES = 100_000;
/** A file with more broken entries than this is no store of certificates; each costs more time than a good one. */
const MAX_FAULTS = 1000;

/** The frame of a store was read; its certificates are still octets. */
export type OpenedStore = {
  readonly format: string;
  readonly found: readonly { readonly entry: string; readonly der: Uint8Array }[];
  readonly faults: readonly StoreFault[];
  readonly notes: readonly string[];
};

/** Takes the entries of a store one by one, so that a broken one never hides its neighbours. */
export class StoreEntries {
  readonly #found: { readonly entry: string; readonly der: Uint8Array }[] = [];
  readonly #faults: StoreFault[] = [];
  readonly notes: string[] = [];
  #privateKeys = 0;

  /** `entry` names the entry in case that the certificate is broken. */
  addCertificate(entry: string, der: Uint8Array): void {
    this.#claim();
    this.#found.push({ entry, der });
  }

  addFault(entry: string, reason: string): void {
    this.#claim();
    addFault(this.#faults, { entry, reason });
  }

  /** The bytes of a private key are not looked at. */
  addPrivateKey(): void {
    this.#privateKeys += 1;
  }

  get privateKeys(): number {
    return this.#privateKeys;
  }

  /** Certificates and broken entries. */
  get count(): number {
    return this.#found.length + this.#faults.length;
  }

  contents(format: string): OpenedStore {
    const keys = this.#privateKeys;
    const notes = [...this.notes];
    if (keys > 0) {
      notes.push(`${keys === 1 ? "1 private key" : `${keys} private keys`} ignored, which should not be in this file`);
    }
    return { format, found: this.#found, faults: this.#faults, notes: [...new Set(notes)] };
  }

  #claim(): void {
    if (this.count >= MAX_ENTRIES) {
      throw new UnreadableStore(`this file has more than ${MAX_ENTRIES} certificates; split it`);
    }
  }
}

/** Parses the certificates, yielding after each one, so that a large store need not hold up everything else. Throws UnreadableStore. */
export function* parseStore({ format, found, faults: before, notes }: OpenedStore): Generator<void, ReadStore, void> {
  const certificates: Certificate[] = [];
  const faults = [...before];
  for (const { entry, der } of found) {
    try {
      certificates.push(parseCertificate(der));
    } catch (cause) {
      if (!(cause instanceof Malformed)) throw cause;
      addFault(faults, { entry, reason: cause.message });
    }
    yield;
  }
  const all = certificates.length === 0 ? [...notes, "holds no certificate"] : notes;
  return { kind: "store", format, certificates, faults, notes: all };
}

function addFault(faults: StoreFault[], fault: StoreFault): void {
  if (faults.length >= MAX_FAULTS) {
    throw new UnreadableStore(`this file has more than ${MAX_FAULTS} broken entries, the first: ${fault.reason}`);
  }
  faults.push(fault);
}
