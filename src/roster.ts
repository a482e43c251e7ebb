// Roster: what is under way right now, where each mail comes and goes.
//
// Not a Set: V8 replaces the table of a Set now and then, and the old one keeps what it held and points to the next. Once such a table
// has come into the old space, everything that any later one held is kept until the whole heap is marked: all octets of all mail.

export class Roster<T> {
  readonly #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  add(member: T): void {
    this.#members.push(member);
  }

  /** Nothing happens when it is not there. */
  delete(member: T): void {
    const index = this.#members.indexOf(member);
    const last = this.#members.at(-1);
    if (index < 0 || last === undefined) return;
    this.#members[index] = last;
    this.#members.pop();
  }

  /** Those that are there now, in no order; what comes or goes meanwhile makes no difference. */
  [Symbol.iterator](): IterableIterator<T> {
    return [...this.#members].values();
  }
}
