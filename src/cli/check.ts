// sealpost check: names all faults of the configuration.
import type { Command } from "commander";
import { faultLine, type Fault } from "../config/fault.ts";
import { configurationFile, readConfiguration } from "../config/read.ts";
import { addCommand, EXIT, printJson, printLine, run, type CommonOptions, type ExitCode } from "./run.ts";

export function register(program: Command): void {
  addCommand(program, "check", "read the configuration and name all its faults").action(run(check));
}

// the faults are what was asked for: stdout, not stderr
function check(options: CommonOptions): ExitCode {
  const reading = readConfiguration({ path: options.config, env: process.env });
  const faults = "faults" in reading ? reading.faults : [];
  if (options.json === true) printJson(faults.map(asJson));
  else if (faults.length === 0) printLine(`${configurationFile(options.config, process.env)}: ok`);
  else for (const fault of faults) printLine(faultLine(fault));
  return faults.length === 0 ? EXIT.ok : EXIT.configuration;
}

function asJson({ place, path, message }: Fault) {
  const nowhere = { file: null, line: null, column: null, variable: null };
  return { ...nowhere, ...place, path, message };
}
