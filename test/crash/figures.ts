// Figures: what a run of the ledger has found, the bounds it must keep, and both in words (pure).
import type { Place } from "./deaths.ts";
import type { Verdict } from "./ledger.ts";
import type { ProcessState } from "../process-state.ts";

export type Figures = Verdict & {
  readonly seed: number;
  readonly sent: number;
  readonly acknowledged: number;
  /** SIGKILLs that hit a process, of `planned`; those at a start have a second one behind the first. */
  readonly kills: number;
  readonly senders: number;
  readonly upstreamConnections: number;
  readonly deaths: Readonly<Record<Place, number>>;
  readonly transactions: number;
  readonly readings: { readonly count: number; readonly faults: readonly string[] };
  readonly hunts: { readonly count: number; readonly findings: readonly string[] };
  /** Events that say that the relay itself is at fault. */
  readonly relayFaults: readonly string[];
  /** Of each process: just before its end. */
  readonly lives: readonly ProcessState[];
  /** Of the first process when nothing had been sent, and of the last when all had been delivered. */
  readonly atStart: ProcessState;
  readonly atEnd: ProcessState;
  /** Memory of the last process while it took mail, by the mails it had taken. */
  readonly lastLife: readonly { readonly mails: number; readonly rssMiB: number }[];
  readonly left: {
    readonly queued: number;
    readonly held: number;
    readonly sealedRows: number;
    readonly sealedFiles: number;
  };
  readonly exitCode: number | null;
  readonly sendingSeconds: number;
  readonly allSeconds: number;
};

/** What V8 has not collected counts too. */
const MOST_RSS_MIB = 384;
/** So much more memory for each thousand mails is a leak; told of a life that has taken enough of them. */
const MOST_SLOPE_MIB = 5;
const LONG_LIFE_MAILS = 5_000;
/** Beside the connections to the upstream: the second thread's own loop, which begins with the first mail; our own look at the metrics. */
const SPARE_DESCRIPTORS = 4 + 10;

/** The bounds that were broken, each in a line; empty is what a run must show. */
export function brokenBounds(figures: Figures): string[] {
  const { kills, upstreamConnections, deaths, senders, left, atStart, atEnd, lastLife } = figures;
  const isLong = (lastLife.at(-1)?.mails ?? 0) >= LONG_LIFE_MAILS;
  const none: Record<string, readonly string[]> = {
    lost: figures.lost,
    foreign: figures.foreign,
    "wrong recipient or form": figures.wrong,
    "reads otherwise": figures.readings.faults,
    canary: figures.hunts.findings,
    "fault of the relay": figures.relayFaults,
  };
  const most: Record<string, readonly [number, number]> = {
    duplicates: [figures.duplicates, kills * upstreamConnections + deaths.after],
    "delivered but not acknowledged": [figures.unacknowledged, kills * senders],
    "recipients left in the queue": [left.queued + left.held, 0],
    "sealed bodies left": [left.sealedRows + left.sealedFiles, 0],
    "descriptors at rest": [atEnd.descriptors, atStart.descriptors + upstreamConnections + SPARE_DESCRIPTORS],
    "MiB of memory for 1000 mails": [isLong ? slopeOf(lastLife) * 1000 : 0, MOST_SLOPE_MIB],
    "MiB of memory at the end of a life": [Math.max(0, ...figures.lives.map(({ rssMiB }) => rssMiB)), MOST_RSS_MIB],
    "exit code of the last process": [figures.exitCode ?? 255, 0],
  };
  return [
    ...Object.entries(none).flatMap(([what, list]) => list.map((one) => `${what}: ${one}`)),
    ...Object.entries(most).flatMap(([what, [is, atMost]]) =>
      is <= atMost ? [] : [`${what}: ${is}, at most ${atMost}`],
    ),
  ];
}

export function shownFigures(figures: Figures): string {
  const { lost, duplicates, kills, upstreamConnections, deaths, lives, atStart, atEnd, left, lastLife } = figures;
  const died = Object.entries(deaths).map(([place, count]) => `${count} ${place}`);
  const rate = Math.round(figures.acknowledged / figures.sendingSeconds);
  return [
    `seed ${figures.seed}: ${figures.sent} sent, ${figures.acknowledged} acknowledged, ${lost.length} lost, ${figures.foreign.length} foreign, ${figures.wrong.length} wrong`,
    `${kills} kills, upstream died ${died.join(", ")}`,
    `${figures.transactions} transactions, ${duplicates} duplicates (at most ${kills * upstreamConnections + deaths.after}), ${figures.unacknowledged} delivered but not acknowledged, ${figures.reports} reports`,
    `${figures.readings.count} read by openssl and gpg, ${figures.readings.faults.length} otherwise; ${figures.hunts.count} hunts, ${figures.hunts.findings.length} canaries found`,
    `${rate} mails/s while sending (kills and starts included), ${Math.round(figures.sendingSeconds)} s; ${Math.round(figures.allSeconds)} s until all was delivered and looked at`,
    `memory at the end of a life: ${shownSpread(lives.map((one) => one.rssMiB))} MiB; ${atStart.rssMiB} MiB when idle, last life ${shownSlope(lastLife)}`,
    `descriptors at the end of a life: ${shownSpread(lives.map((one) => one.descriptors))}; at rest ${atStart.descriptors} at the start, ${atEnd.descriptors} at the end`,
    `left: ${left.queued} queued, ${left.held} held, ${left.sealedRows} sealed rows, ${left.sealedFiles} sealed files; exit code ${figures.exitCode ?? "none"}`,
  ].join("\n");
}

/** Medians of the first and the last quarter, and the most. */
export function shownSpread(values: readonly number[]): string {
  const quarter = Math.ceil(values.length / 4);
  const median = (part: readonly number[]) => [...part].sort((a, b) => a - b)[Math.floor(part.length / 2)] ?? 0;
  return `${median(values.slice(0, quarter))} in the first quarter, ${median(values.slice(-quarter))} in the last, at most ${Math.max(0, ...values)}`;
}

/** By least squares over the second half: the first warms up. */
export function slopeOf(points: readonly { readonly mails: number; readonly rssMiB: number }[]): number {
  const half = points.slice(Math.floor(points.length / 2));
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const x = mean(half.map(({ mails }) => mails));
  const y = mean(half.map(({ rssMiB }) => rssMiB));
  const squares = half.reduce((sum, { mails }) => sum + (mails - x) ** 2, 0);
  return squares === 0 ? 0 : half.reduce((sum, { mails, rssMiB }) => sum + (mails - x) * (rssMiB - y), 0) / squares;
}

function shownSlope(points: Figures["lastLife"]): string {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined) return "too short to tell";
  const slope = (slopeOf(points) * 1000).toFixed(2);
  return `${first.rssMiB} to ${last.rssMiB} MiB over ${last.mails} mails, ${slope} MiB for 1000 mails in its second half`;
}
