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

/** Takes the entries of a store one by one, so that a broken one never hides its neighbours. */
export class StoreEntries {
  readonly certificates: Certificate[] = [];
  readonly faults: StoreFault[] = [];
  readonly notes: string[] = [];
  #privateKeys = 0;

  /** `entry` names the entry in case that the certificate is broken. */
  addCertificate(entry: string, der: Uint8Array): void {
    this.#claim();
    try {
      this.certificates.push(parseCertificate(der));
    } catch (cause) {
      if (!(cause instanceof Malformed)) throw cause;
      this.#fault(entry, cause.message);
    }
  }

  addFault(entry: string, reason: string): void {
    this.#claim();
    this.#fault(entry, reason);
  }

  /** The bytes of a private key are not looked at. */
  addPrivateKey(): void {
    this.#privateKeys += 1;
  }

  get privateKeys(): number {
    return this.#privateKeys;
  }

  contents(format: string): ReadStore {
    const keys = this.#privateKeys;
    const notes = [...this.notes];
    if (keys > 0) {
      notes.push(`${keys === 1 ? "1 private key" : `${keys} private keys`} ignored, which should not be in this file`);
    }
    if (this.certificates.length === 0) notes.push("holds no certificate");
    return { kind: "store", format, certificates: this.certificates, faults: this.faults, notes: [...new Set(notes)] };
  }

  #fault(entry: string, reason: string): void {
    if (this.faults.length >= MAX_FAULTS) {
      throw new UnreadableStore(`this file has more than ${MAX_FAULTS} broken entries, the first: ${reason}`);
    }
    this.faults.push({ entry, reason });
  }

  #claim(): void {
    if (this.certificates.length + this.faults.length >= MAX_ENTRIES) {
      throw new UnreadableStore(`this file has more than ${MAX_ENTRIES} certificates; split it`);
    }
  }
}
