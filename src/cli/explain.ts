// explain: which key a mail to this address would get, and why.
import type { Command } from "commander";
import { explain } from "../admin/explain.ts";
import { openKeys } from "../app-keys.ts";
import { addCommand, EXIT, printJson, printLine, printTable, run, withSettings, type CommonOptions } from "./run.ts";
import { mailboxArgument } from "./arguments.ts";

export function register(program: Command): void {
  addCommand(program, "explain <address>", "Show which key mail to an address would get, and why.").action(
    run(explainCommand),
  );
}

function explainCommand(address: string, options: CommonOptions) {
  return withSettings(options, async (settings) => {
    const mailbox = mailboxArgument(address);
    if (mailbox === undefined) return EXIT.usage;
    const keys = await openKeys(settings);
    try {
      const answer = await explain(mailbox, keys.chains, keys.treatment, AbortSignal.timeout(60_000));
      if (options.json === true) {
        printJson(answer);
        return hasNoKey(answer.treatment) ? EXIT.no : EXIT.ok;
      }
      printLine(`${answer.address}: ${answer.treatment} (${answer.reason})`);
      for (const key of answer.keys)
        printLine(`key: ${key.kind} ${key.fingerprint} from ${key.source}, valid until ${key.notAfter ?? "ever"}`);
      printLine("");
      printTable(
        ["KIND", "SOURCE", "ANSWER", "MS", "CANDIDATE", "VERDICT", "VALID UNTIL"],
        answer.trail.flatMap((entry) => {
          const head = [entry.kind, entry.source, entry.answer, entry.ms] as const;
          if (entry.candidates.length === 0) return [[...head, "", entry.fault ?? "", ""]];
          return entry.candidates.map((one) => [
            ...head,
            one.fingerprint,
            one.fit ? "fit" : (one.reason ?? ""),
            one.notAfter?.slice(0, 10) ?? "",
          ]);
        }),
      );
      return hasNoKey(answer.treatment) ? EXIT.no : EXIT.ok;
    } finally {
      await keys.close();
    }
  });
}

/** Exit 1: mail to this address would not be encrypted now. */
function hasNoKey(treatment: string): boolean {
  return treatment !== "smime" && treatment !== "pgp";
}
