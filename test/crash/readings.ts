// Readings: every duplicate and a sample of the rest is decrypted by openssl or gpg and must be the mail that its Message-ID names.
import { readSmime } from "../e2e/arrived.ts";
import { CANARIES } from "../e2e/canary.ts";
import { hunt } from "../e2e/hunt.ts";
import { gnupgHome } from "../pgp/gnupg.ts";
import type { Arrival } from "./ledger.ts";
import { contentOf, type LedgerMail } from "./mails.ts";

/** So many messages wait at most to be decrypted; a sample more is passed over, a duplicate never. */
const MOST_WAITING = 100;

export class Readings {
  readonly #gnupg = gnupgHome(true);
  readonly #mail: (number: number) => LedgerMail;
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();
  count = 0;
  /** What does not read as it must, each in a line. */
  readonly faults: string[] = [];

  constructor(mail: (number: number) => LedgerMail) {
    this.#mail = mail;
  }

  /** Looks at the message now, and decrypts it later if it `must` be read or there is time. */
  take(arrival: Arrival, data: Buffer, must: boolean): void {
    if (!must && this.#waiting >= MOST_WAITING) return;
    this.#waiting++;
    this.#last = this.#last
      .then(() => this.#read(arrival, data))
      .catch((cause: unknown) => this.#fault(arrival, String(cause)))
      .finally(() => this.#waiting--);
  }

  async done(): Promise<void> {
    while (this.#waiting > 0) await this.#last;
  }

  close(): void {
    this.#gnupg.close();
  }

  async #read(arrival: Arrival, data: Buffer): Promise<void> {
    this.count++;
    const found = hunt({ upstream: data }, CANARIES);
    if (found.length > 0) this.#fault(arrival, found.join(", "));
    const { form, mail, recipients } = arrival;
    if (mail === undefined || (form !== "smime" && form !== "pgp")) return;
    const sent = contentOf(this.#mail(mail)).toString("latin1");
    const body = sent.slice(sent.indexOf("\r\n\r\n") + 4);
    const readers = this.#mail(mail).recipients.filter(({ address }) => recipients.includes(address));
    for (const { key } of readers) {
      const clear = form === "smime" ? await readSmime(data, key) : this.#readPgp(data);
      if (!clear.endsWith(`\r\n\r\n${body}`)) this.#fault(arrival, `${key} reads another text`);
    }
  }

  #readPgp(data: Buffer): string {
    const { status, stdout, stderr } = this.#gnupg.run(["--decrypt"], armorOf(data));
    if (status !== 0) throw new Error(`gpg exits with ${status}: ${stderr}`);
    return stdout.toString("latin1");
  }

  #fault({ mail, form, recipients }: Arrival, what: string): void {
    this.faults.push(`m${mail ?? "?"} ${form} to ${recipients.join()}: ${what}`);
  }
}

const armorOf = (message: Buffer) =>
  Buffer.from(/-----BEGIN PGP MESSAGE-----[^]*-----END PGP MESSAGE-----/.exec(message.toString("latin1"))?.[0] ?? "");
