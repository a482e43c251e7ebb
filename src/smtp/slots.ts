// Slots: who may use one of the upstream's connections now.
//
// Rules:
//   At most `total` at once; for one recipient at most `each`: one for whom the upstream is slow leaves connections to others.
//   Whoever waits goes in the order of coming; those whose recipient has its share are passed by.

type Waiting = { readonly recipients: readonly string[]; readonly go: () => void };

export class Slots {
  readonly #each: number;
  readonly #inUse = new Map<string, number>();
  #free: number;
  #waiting: Waiting[] = [];

  constructor(total: number, each: number) {
    this.#free = total;
    this.#each = each;
  }

  /** Resolves when there is one for all of these recipients; give it back with the same. */
  async take(recipients: readonly string[]): Promise<void> {
    if (this.#mayGo(recipients)) this.#use(recipients);
    else await new Promise<void>((go) => this.#waiting.push({ recipients, go }));
  }

  give(recipients: readonly string[]): void {
    this.#free++;
    for (const recipient of recipients) {
      const others = (this.#inUse.get(recipient) ?? 1) - 1;
      if (others === 0) this.#inUse.delete(recipient);
      else this.#inUse.set(recipient, others);
    }
    // more than one may go: slots may be free for which nobody was left who may have them
    this.#waiting = this.#waiting.filter(({ recipients: waiting, go }) => {
      if (!this.#mayGo(waiting)) return true;
      this.#use(waiting);
      go();
      return false;
    });
  }

  #mayGo(recipients: readonly string[]): boolean {
    return this.#free > 0 && !recipients.some((one) => (this.#inUse.get(one) ?? 0) >= this.#each);
  }

  #use(recipients: readonly string[]): void {
    this.#free--;
    for (const one of recipients) this.#inUse.set(one, (this.#inUse.get(one) ?? 0) + 1);
  }
}
