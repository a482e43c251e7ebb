// verify: Verify Settings, every configured part really used.
import type { Command } from "commander";
import { isEncrypted } from "../admin/explain.ts";
import { verify } from "../admin/verify.ts";
import { explainNextMail } from "../wiring/next-mail.ts";
import { verifiableParts } from "../wiring/verify.ts";
import { systemClock } from "../clock.ts";
import { mailboxArgument } from "./arguments.ts";
import { printExplanation } from "./explain.ts";
import { addCommand, EXIT, printJson, printLine, printTable, run, type CommonOptions } from "./run.ts";
import { withKeys } from "./with-keys.ts";

export function register(program: Command): void {
  addCommand(program, "verify [address]", "Use every configured part once and say whether it works.").action(
    run(verifyCommand),
  );
}

function verifyCommand(address: string | undefined, options: CommonOptions) {
  return withKeys(options, async (keys, settings) => {
    const mailbox = address === undefined ? undefined : mailboxArgument(address);
    if (address !== undefined && mailbox === undefined) return EXIT.usage;
    const verified = await verify(verifiableParts(settings, keys, systemClock), systemClock);
    const since = systemClock.now();
    const deadline = AbortSignal.timeout(60_000);
    const explanation = mailbox && (await explainNextMail(mailbox, keys, settings, systemClock, deadline));
    const lookup = explanation && {
      part: explanation.address,
      ok: isEncrypted(explanation),
      detail: `${explanation.treatment} (${explanation.reason})`,
      ms: systemClock.now() - since,
    };
    const all = lookup === undefined ? verified : [...verified, lookup];
    if (options.json === true) printJson(lookup === undefined ? verified : [...verified, { ...lookup, explanation }]);
    else {
      printTable(
        ["", "PART", "MS", "DETAIL"],
        all.map(({ part, ok, detail, ms }) => [ok ? "ok" : "failed", part, ms, detail]),
      );
      if (explanation !== undefined) {
        printLine("");
        printExplanation(explanation);
      }
    }
    return all.every(({ ok }) => ok) ? EXIT.ok : EXIT.no;
  });
}
