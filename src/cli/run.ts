// Run: what all commands share: options, settings, output for people and programs, exit codes.
import type { Command } from "commander";
import { faultLine } from "../config/fault.ts";
import { readConfiguration, type Configuration } from "../config/read.ts";
import type { Settings } from "../config/schema.ts";

export const EXIT = { ok: 0, no: 1, usage: 2, configuration: 78 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The options that every command takes. */
export type CommonOptions = { readonly config?: string; readonly json?: true };

/**
 * Adds a command with `--config FILE` and `--json`. `usage` is as commander writes it: `explain <address>`. Give it an action
 * with `command.action(run(…))`.
 */
export function addCommand(parent: Command, usage: string, description: string): Command {
  return parent
    .command(usage)
    .description(description)
    .option("--config <file>", "configuration file (default: $SEALPOST_CONFIG, then config/sealpost.yaml)")
    .option("--json", "one JSON document on stdout");
}

/**
 * An action for commander: the command's answer becomes the exit code; whatever it throws becomes one sentence on stderr and
 * exit 1.
 */
export function run<A extends readonly unknown[]>(
  command: (...args: A) => Promise<ExitCode> | ExitCode,
): (...args: A) => Promise<void> {
  return async (...args) => {
    try {
      process.exitCode = await command(...args);
    } catch (cause) {
      complain(cause, false);
      process.exitCode = EXIT.no;
    }
  };
}

/**
 * Reads the configuration and hands it to the command. A wrong one is named on stderr, exit 78; with log.level debug an error
 * shows its stack.
 */
export async function withConfiguration(
  options: CommonOptions,
  command: (configuration: Configuration) => Promise<ExitCode> | ExitCode,
): Promise<ExitCode> {
  const reading = readConfiguration({ path: options.config, env: process.env });
  if ("faults" in reading) {
    for (const fault of reading.faults) process.stderr.write(`${faultLine(fault)}\n`);
    return EXIT.configuration;
  }
  try {
    return await command(reading);
  } catch (cause) {
    complain(cause, reading.settings.log.level === "debug");
    return EXIT.no;
  }
}

/** The same for commands that need no more than the settings. */
export function withSettings(
  options: CommonOptions,
  command: (settings: Settings) => Promise<ExitCode> | ExitCode,
): Promise<ExitCode> {
  return withConfiguration(options, ({ settings }) => command(settings));
}

/** Writes an error with its causes to stderr, as one sentence or with stacks. */
export function complain(error: unknown, withStack: boolean): void {
  process.stderr.write(`sealpost: ${withStack ? stacks(error) : sentence(error)}\n`);
}

/** Never what else hangs on an error: that may be the octets of a mail. */
function stacks(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\ncaused by ${stacks(error.cause)}`;
  return `${error.stack ?? sentence(error)}${cause}`;
}

function sentence(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : sentence(error.cause);
  const said = (error.message === "" ? error.name : error.message).replaceAll("\n", " ");
  return cause === "" || said.includes(cause) ? said : `${said}: ${cause}`;
}

/** One line of text on stdout. */
export function printLine(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** One JSON document on stdout. */
export function printJson(document: unknown): void {
  process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
}

/** A table for people: columns as wide as their longest cell, control characters shown as `?`. */
export function printTable(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  const cells = [heads, ...rows].map((row) => row.map((cell) => printable(String(cell))));
  const widths = heads.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  for (const row of cells)
    printLine(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}

/** Text from outside (a reply, a subject, an address) without characters that could steer a terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "?");
}

/** Ends quietly when the reader of our output has gone (`sealpost queue list | head -1`). */
export function endWhenReaderGoes(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(process.exitCode);
  });
}
