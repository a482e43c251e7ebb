// Leases: who works on which message until when; in memory, because one process serves a SQLite data folder.
import type { Lease } from "../spool/spool.ts";
import type { StoredMessage } from "./spool-rows.ts";

export type HeldLease = Lease & {
  readonly stored: Pick<StoredMessage, "id" | "seq" | "in_file">;
  until: number;
  readonly woken: Set<string>;
  isWoken: boolean;
};

/** Times are those of a clock that nobody sets: a lease that ended because the clock was set would send its message twice. */
export class Leases {
  readonly #bySeq = new Map<number, HeldLease>();
  #count = 0;

  /** How many run or have run out unnoticed. */
  get size(): number {
    return this.#bySeq.size;
  }

  has(seq: number): boolean {
    return this.#bySeq.has(seq);
  }

  take(stored: HeldLease["stored"], until: number): HeldLease {
    const { id, seq } = stored;
    const lease = { id, token: String(++this.#count), stored, until, woken: new Set<string>(), isWoken: false };
    this.#bySeq.set(seq, lease);
    return lease;
  }

  /** The lease that this proves; undefined when it was lost or given back. */
  current({ id, token }: Lease): HeldLease | undefined {
    return this.#bySeq.values().find((one) => one.id === id && one.token === token);
  }

  end(lease: HeldLease): void {
    const { seq } = lease.stored;
    if (this.#bySeq.get(seq) === lease) this.#bySeq.delete(seq);
  }

  /** Whether there were any. */
  endExpired(now: number): boolean {
    const before = this.size;
    for (const lease of this.#bySeq.values()) if (lease.until <= now) this.end(lease);
    return this.size < before;
  }

  nextEnd(): number | undefined {
    return this.size === 0 ? undefined : Math.min(...[...this.#bySeq.values()].map((one) => one.until));
  }

  /** A key came while these messages were in work: what is held now may have been looked up before. */
  wake(addressKeys: readonly string[] | undefined): void {
    for (const lease of this.#bySeq.values()) {
      if (addressKeys === undefined) lease.isWoken = true;
      else for (const key of addressKeys) lease.woken.add(key);
    }
  }
}
