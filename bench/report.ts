// Report: what was measured against what was to be reached, as lines on stdout and as a table for RESULTS.md.

export type Figure = {
  readonly what: string;
  readonly value: number;
  /** Undefined: a note, nothing to be reached. */
  readonly goal?: { readonly atLeast: number } | { readonly atMost: number };
  readonly unit: "×" | "/s" | "ms" | "MB/s" | "MiB" | "µs" | "s";
};

export type Report = { readonly title: string; readonly figures: readonly Figure[] };

export function isMissed({ value, goal }: Figure): boolean {
  if (goal === undefined) return false;
  return "atLeast" in goal ? value < goal.atLeast : value > goal.atMost;
}

/** Ratios first, as they hold on other machines too. */
export function lines({ title, figures }: Report): string[] {
  const sorted = [...figures].sort((a, b) => Number(b.unit === "×") - Number(a.unit === "×"));
  return [
    `### ${title}`,
    "",
    "| what | measured | goal | |",
    "|---|---:|---:|---|",
    ...sorted.map((figure) => `| ${figure.what} | ${shown(figure)} | ${goalOf(figure)} | ${verdict(figure)} |`),
    "",
  ];
}

function shown({ value, unit }: Figure): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}`;
}

function goalOf({ goal, unit }: Figure): string {
  if (goal === undefined) return "";
  return "atLeast" in goal ? `≥ ${goal.atLeast} ${unit}` : `≤ ${goal.atMost} ${unit}`;
}

function verdict(figure: Figure): string {
  if (figure.goal === undefined) return "";
  return isMissed(figure) ? "missed" : "reached";
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

/** For a bench that is run alone: prints and sets the exit code. */
export function print(report: Report): void {
  console.log(lines(report).join("\n"));
  if (report.figures.some(isMissed)) process.exitCode = 1;
}
