// queue: the spool as an operator sees it; envelopes and states, never the content.
import type { Command } from "commander";
import { systemClock } from "../clock.ts";
import type { QueueEntry } from "../spool/spool.ts";
import type { Store } from "../store/open.ts";
import {
  addCommand,
  complain,
  EXIT,
  printJson,
  printLine,
  printTable,
  run,
  type CommonOptions,
  type ExitCode,
} from "./run.ts";
import { withStore } from "./with-store.ts";

const MAX_LISTED = 10_000;

export function register(program: Command): void {
  const queue = program.command("queue").description("Look at the spool and act on it.");
  addCommand(queue, "list", "List messages with the state of each recipient.").action(
    run((options: CommonOptions) => withStore(options, (store) => list(store, options))),
  );
  addCommand(queue, "show <id>", "Show one message.").action(
    run((id: string, options: CommonOptions) => withStore(options, (store) => show(store, id, options))),
  );
  addCommand(queue, "retry [id]", "Make waiting recipients due now: of one message, or of all.").action(
    run((id: string | undefined, options: CommonOptions) => withStore(options, (store) => retry(store, id, options))),
  );
  addCommand(queue, "drop <id>", "End the waiting recipients of a message without delivery and without a DSN.").action(
    run((id: string, options: CommonOptions) => withStore(options, (store) => drop(store, id, options))),
  );
}

async function list({ spool }: Store, options: CommonOptions): Promise<ExitCode> {
  const entries = await spool.list(MAX_LISTED);
  if (options.json === true) printJson(entries.map(shownEntry));
  else printEntries(entries);
  return EXIT.ok;
}

async function show({ spool }: Store, id: string, options: CommonOptions): Promise<ExitCode> {
  const entry = await spool.show(id);
  if (entry === null) return unknown(id);
  if (options.json === true) {
    printJson(shownEntry(entry));
    return EXIT.ok;
  }
  printLine(
    `${entry.id}: ${entry.route} ${entry.class} from ${shownPath(entry)}, ${entry.size} bytes, accepted ${shownTime(entry.acceptedAt) ?? ""}`,
  );
  printEntries([entry]);
  return EXIT.ok;
}

async function retry({ spool, tries }: Store, id: string | undefined, options: CommonOptions): Promise<ExitCode> {
  if (id !== undefined && (await spool.show(id)) === null) return unknown(id);
  if (id === undefined) tries.forget();
  else tries.done(id);
  const count = await spool.retry(systemClock.now(), id);
  if (options.json === true) printJson({ recipients: count });
  else printLine(`${count} recipients are due now`);
  return EXIT.ok;
}

async function drop({ spool }: Store, id: string, options: CommonOptions): Promise<ExitCode> {
  if ((await spool.show(id)) === null) return unknown(id);
  const count = await spool.drop(id);
  if (options.json === true) printJson({ recipients: count });
  else printLine(`${count} recipients of ${id} will not get it`);
  return EXIT.ok;
}

function unknown(id: string): ExitCode {
  complain(new Error(`there is no message ${id} in the queue`), false);
  return EXIT.no;
}

/** As `queue list --json` shows it (CONTRACT 1): times in ISO 8601. */
function shownEntry({ id, route, class: kind, acceptedAt, size, recipients, ...entry }: QueueEntry) {
  return {
    id,
    route,
    class: kind,
    reversePath: entry.reversePath,
    acceptedAt: shownTime(acceptedAt),
    size,
    recipients: recipients.map((one) => ({
      ...one,
      nextAttemptAt: shownTime(one.nextAttemptAt),
      treatment: one.treatment ?? null,
    })),
  };
}

function printEntries(entries: readonly QueueEntry[]): void {
  printTable(
    ["ID", "ROUTE", "FROM", "TO", "STATE", "TREATMENT", "ATTEMPTS", "NEXT", "LAST REPLY"],
    entries.flatMap((entry) =>
      entry.recipients.map((one) => [
        entry.id,
        entry.route,
        shownPath(entry),
        one.address,
        one.state,
        one.treatment ?? "",
        one.attempts,
        shownTime(one.nextAttemptAt) ?? "",
        one.lastReply,
      ]),
    ),
  );
}

function shownPath({ reversePath }: QueueEntry): string {
  return reversePath === "" ? "<>" : reversePath;
}

function shownTime(at: number | undefined): string | null {
  return at === undefined ? null : new Date(at).toISOString();
}
