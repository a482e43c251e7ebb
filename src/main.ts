// Main: from the command line to the command.
import { Command, CommanderError } from "commander";
import { register as cache } from "./cli/cache.ts";
import { register as check } from "./cli/check.ts";
import { register as config } from "./cli/config.ts";
import { register as demo } from "./cli/demo.ts";
import { register as encrypt } from "./cli/encrypt.ts";
import { register as explain } from "./cli/explain.ts";
import { register as harvest } from "./cli/harvest.ts";
import { register as healthcheck } from "./cli/healthcheck.ts";
import { register as keys } from "./cli/keys.ts";
import { register as queue } from "./cli/queue.ts";
import { complain, endWhenReaderGoes, EXIT } from "./cli/run.ts";
import { register as serve } from "./cli/serve.ts";
import { register as verify } from "./cli/verify.ts";
import { register as version } from "./cli/version.ts";

/** In the order of the help text. */
const COMMANDS = [
  serve,
  check,
  config,
  verify,
  explain,
  encrypt,
  keys,
  harvest,
  cache,
  queue,
  demo,
  healthcheck,
  version,
];

/** Runs one command line (without node and script). The exit code goes to process.exitCode; nothing is thrown. */
export async function main(args: readonly string[]): Promise<void> {
  endWhenReaderGoes();
  const program = new Command("sealpost")
    .description("SMTP encrypting relay for Jira")
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(oneSentence(text)) });
  for (const register of COMMANDS) register(program);
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (cause) {
    // commander has already written its sentence, or the help that was asked for
    if (cause instanceof CommanderError) process.exitCode = cause.exitCode === 0 ? EXIT.ok : EXIT.usage;
    else {
      complain(cause, false);
      process.exitCode = EXIT.no;
    }
  }
}

function oneSentence(text: string): string {
  return `${text
    .trim()
    .replace(/^error: /, "sealpost: ")
    .replace(/\s*\n\s*/g, " ")}\n`;
}
