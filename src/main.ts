// Main: from the command line to the command.
import { Command, CommanderError } from "commander";
import { complain, endWhenReaderGoes, EXIT } from "./cli/run.ts";

/** In the order of the help text. Each is loaded when it is named: no command carries what the others need. */
const COMMANDS: Readonly<Record<string, () => Promise<{ register(program: Command): void }>>> = {
  serve: () => import("./cli/serve.ts"),
  check: () => import("./cli/check.ts"),
  config: () => import("./cli/config.ts"),
  verify: () => import("./cli/verify.ts"),
  explain: () => import("./cli/explain.ts"),
  encrypt: () => import("./cli/encrypt.ts"),
  keys: () => import("./cli/keys.ts"),
  harvest: () => import("./cli/harvest.ts"),
  cache: () => import("./cli/cache.ts"),
  queue: () => import("./cli/queue.ts"),
  demo: () => import("./cli/demo.ts"),
  healthcheck: () => import("./cli/healthcheck.ts"),
  version: () => import("./cli/version.ts"),
};

/**
 * Runs one command line (without node and script). The exit code goes to process.exitCode; thrown is only what keeps a command
 * from being loaded.
 */
export async function main(args: readonly string[]): Promise<void> {
  endWhenReaderGoes();
  const program = new Command("sealpost")
    .description("SMTP encrypting relay for Jira")
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(oneSentence(text)) });
  for (const load of commandsFor(args)) (await load()).register(program);
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

/** All of them for the help, and to say what is meant by a name that is none. */
function commandsFor([name = ""]: readonly string[]) {
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  return load === undefined ? Object.values(COMMANDS) : [load];
}

function oneSentence(text: string): string {
  return `${text
    .trim()
    .replace(/^error: /, "sealpost: ")
    .replace(/\s*\n\s*/g, " ")}\n`;
}
