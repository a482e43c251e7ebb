// sealpost version: which Sealpost runs on which Node.
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { addCommand, EXIT, printJson, printLine, run, type CommonOptions, type ExitCode } from "./run.ts";

/** The version as package.json names it. */
export function sealpostVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

export function register(program: Command): void {
  addCommand(program, "version", "which Sealpost runs on which Node").action(run(version));
}

function version(options: CommonOptions): ExitCode {
  const versions = { version: sealpostVersion(), node: process.version };
  if (options.json === true) printJson(versions);
  else printLine(`sealpost ${versions.version} on Node ${versions.node}`);
  return EXIT.ok;
}
