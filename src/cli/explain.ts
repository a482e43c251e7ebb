// explain: which key a mail to this address would get, and why.
import type { Command } from "commander";
import { isEncrypted, type Explanation } from "../admin/explain.ts";
import type { WaitingKey } from "../admin/foreseen.ts";
import { systemClock } from "../clock.ts";
import { explainNextMail } from "../wiring/next-mail.ts";
import { addCommand, EXIT, printJson, printLine, printTable, run, type CommonOptions } from "./run.ts";
import { mailboxArgument } from "./arguments.ts";
import { withKeys } from "./with-keys.ts";

export function register(program: Command): void {
  addCommand(program, "explain <address>", "Show which key mail to an address would get, and why.").action(
    run(explainCommand),
  );
}

function explainCommand(address: string, options: CommonOptions) {
  return withKeys(options, async (keys, settings) => {
    const mailbox = mailboxArgument(address);
    if (mailbox === undefined) return EXIT.usage;
    const answer = await explainNextMail(mailbox, keys, settings, systemClock, AbortSignal.timeout(60_000));
    if (options.json === true) printJson(answer);
    else printExplanation(answer);
    return isEncrypted(answer) ? EXIT.ok : EXIT.no;
  });
}

/** For people: the treatment, the key, the keys that wait, and a row for each source and candidate. */
export function printExplanation(answer: Explanation): void {
  printLine(`${answer.address}: ${answer.treatment} (${answer.reason})`);
  for (const key of answer.keys)
    printLine(`key: ${key.kind} ${key.fingerprint} from ${key.source}, valid until ${key.notAfter ?? "ever"}`);
  for (const key of answer.waiting)
    printLine(`incoming (${key.state}): ${key.kind} ${key.fingerprint} ${whatBecomesOf(key)}`);
  printLine("");
  printTable(
    ["KIND", "SOURCE", "ANSWER", "MS", "CANDIDATE", "VERDICT", "VALID UNTIL"],
    answer.trail.flatMap((entry) => {
      const said = entry.cached ? `${entry.answer}, cached` : entry.answer;
      const head = [entry.kind, entry.source, said, entry.ms] as const;
      const words = [entry.fault, entry.why, ...(entry.setAside ?? [])].filter((text) => text !== undefined);
      const candidates = entry.candidates.map((one) => [
        ...head,
        one.place === undefined ? one.fingerprint : `${one.fingerprint} (${one.place})`,
        one.fit ? "fit" : [one.reason, one.detail].filter(Boolean).join(": "),
        one.notAfter?.slice(0, 10) ?? "",
      ]);
      const others = words.map((text) => [...head, "", text, ""]);
      return candidates.length + others.length === 0 ? [[...head, "", "", ""]] : [...candidates, ...others];
    }),
  );
}

function whatBecomesOf({ state, next, reason, expiresAt }: WaitingKey): string {
  const why = reason === null ? "" : `: ${reason}`;
  switch (next) {
    case "used":
      return "becomes theirs with the next mail of Jira";
    case "dropped":
      return `is dropped with the next mail of Jira${why}`;
    case "pending":
      return "waits for a decision from the next mail of Jira on, for another key is in use";
    case "unchanged":
      return state === "pending"
        ? `waits for a decision until ${expiresAt.slice(0, 10)}; see sealpost harvest list`
        : `goes on waiting until ${expiresAt.slice(0, 10)}${why}`;
  }
}
