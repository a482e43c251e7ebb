// The ledger: what was sent and acknowledged, what arrived, and what that says of the relay (pure).
import { MIA, numberOfPath, type Ending, type LedgerMail } from "./mails.ts";

/** `clear` is never right; a `report` tells a recipient that mail is held. */
export type Form = Ending | "report" | "clear";

/** One message that the upstream has taken: its final dot was seen, whether its 250 was heard or not. */
export type Arrival = {
  /** The mail that its reverse-path, its Message-ID, or the address of a DSN tells of; undefined when they do not agree. */
  readonly mail: number | undefined;
  readonly recipients: readonly string[];
  readonly form: Form;
};

export type Ledger = {
  readonly sent: ReadonlyMap<number, LedgerMail>;
  readonly acknowledged: ReadonlySet<number>;
  /** By mail; what belongs to none is under undefined. */
  readonly arrivals: ReadonlyMap<number | undefined, readonly Arrival[]>;
};

export type Verdict = {
  /** Acknowledged recipients whose copy, or DSN, did not come, as `m12 alice@example.com`. */
  readonly lost: readonly string[];
  /** Arrivals that nobody sent. */
  readonly foreign: readonly string[];
  /** Arrivals with a recipient that the mail does not have, or in a form that is not his. */
  readonly wrong: readonly string[];
  /** Transactions with a recipient who had that message already. */
  readonly duplicates: number;
  readonly reports: number;
  /** Mails that arrived though the client never heard a 250. */
  readonly unacknowledged: number;
};

/** Whether one of these recipients had the message before. */
export function isAgain(before: readonly Arrival[], { recipients, form }: Arrival): boolean {
  return before.some((one) => one.form === form && one.recipients.some((address) => recipients.includes(address)));
}

export function verdict({ sent, acknowledged, arrivals }: Ledger): Verdict {
  const all = [...arrivals].flatMap(([number, list]) => list.map((arrival) => ({ number, arrival })));
  const reports = all.filter(({ arrival }) => isReport(arrival));
  const rest = all.filter(({ arrival }) => !isReport(arrival));
  const shown = ({ number, arrival: { recipients, form } }: (typeof all)[number]) =>
    `m${number ?? "?"} ${form} to ${recipients.join()}`;
  const isForeign = ({ number }: (typeof all)[number]) => number === undefined || !sent.has(number);
  const known = rest.filter((one) => !isForeign(one));
  const mailOf = (number: number | undefined) => sent.get(number ?? -1)!;
  const again = (list: readonly Arrival[]) => list.filter((one, index) => isAgain(list.slice(0, index), one)).length;
  return {
    lost: [...acknowledged].flatMap((number) => missing(mailOf(number), arrivals.get(number) ?? [])),
    foreign: rest.filter(isForeign).map(shown),
    wrong: known.filter(({ number, arrival }) => !isRight(mailOf(number), arrival)).map(shown),
    duplicates: [...arrivals.values()].reduce((sum, list) => sum + again(list), 0),
    reports: reports.length,
    unacknowledged: new Set(known.map(({ number }) => number).filter((number) => !acknowledged.has(number!))).size,
  };
}

/** All that is held is held for the same reason: one report a day is right, whatever mail it is for. */
const isReport = ({ form, recipients }: Arrival) => form === "report" && recipients.join() === MIA.address;

function missing(mail: LedgerMail, arrivals: readonly Arrival[]): string[] {
  const has = (form: Form, address: string) =>
    arrivals.some((one) => one.form === form && one.recipients.includes(address));
  return mail.recipients
    .filter(({ ending, address }) => !has(ending, ending === "dsn" ? mail.reversePath : address))
    .map(({ address }) => `${mail.id} ${address}`);
}

function isRight(mail: LedgerMail, { form, recipients }: Arrival): boolean {
  if (form === "dsn")
    return recipients.every((address) => numberOfPath(address) === mail.number && mail.recipients.some(isRefused));
  return recipients.every((address) => mail.recipients.some((one) => one.address === address && one.ending === form));
}

const isRefused = ({ ending }: { ending: Ending }) => ending === "dsn";
