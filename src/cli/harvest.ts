// harvest: keys out of incoming mail that wait for their user or for a decision.
import type { Command } from "commander";
import { decideOn } from "../inbound/pending.ts";
import type { HarvestedKey } from "../keys/harvested-keys.ts";
import { systemClock } from "../clock.ts";
import { harvestPolicy } from "../wiring/harvest.ts";
import { addCommand, complain, EXIT, printJson, printLine, printTable, run, type CommonOptions } from "./run.ts";
import { withKeys } from "./with-keys.ts";

type ListOptions = CommonOptions & { readonly state?: string };

export function register(program: Command): void {
  const harvest = program.command("harvest").description("Keys out of incoming mail that are not used yet.");
  addCommand(harvest, "list", "List the keys that wait.")
    .option("--state <state>", "deferred (for their user) or pending (for a decision)")
    .action(run(list));
  addCommand(harvest, "approve <id>", "Use a waiting key from now on.").action(
    run((id: string, options: CommonOptions) => decide(id, "approve", options)),
  );
  addCommand(harvest, "reject <id>", "Forget a waiting key.").action(
    run((id: string, options: CommonOptions) => decide(id, "reject", options)),
  );
}

function list(options: ListOptions) {
  return withKeys(options, async ({ store }) => {
    const { state } = options;
    if (state !== undefined && state !== "deferred" && state !== "pending") {
      complain(new Error(`--state is deferred or pending, not ${state}`), false);
      return EXIT.usage;
    }
    const rows = (await store.harvested.list(state)).map(shown);
    if (options.json === true) printJson(rows);
    else
      printTable(
        ["ID", "STATE", "ADDRESS", "KIND", "SIGNED", "FORGOTTEN", "FINGERPRINT", "WHY FROM WAS BELIEVED"],
        rows.map((row) => [
          ...[row.id, row.state, row.address, row.kind, row.signedAt.slice(0, 10), row.expiresAt.slice(0, 10)],
          ...[row.fingerprint, row.evidence],
        ]),
      );
    return EXIT.ok;
  });
}

function decide(text: string, decision: "approve" | "reject", options: CommonOptions) {
  return withKeys(options, async (keys, settings) => {
    const { personalKeys, harvested, changes } = keys.store;
    const entry = /^\d{1,15}$/.test(text) ? await harvested.byId(Number(text)) : undefined;
    if (entry === undefined) {
      complain(new Error(`there is no waiting key ${text}; see sealpost harvest list`), false);
      return EXIT.no;
    }
    let reason = "";
    const observe = {
      happened: (_event: string, facts: { readonly reason?: string | undefined }) => void (reason = facts.reason ?? ""),
      failed: (cause: Error) => complain(cause, false),
    };
    const parts = {
      personalKeys,
      harvested,
      policy: harvestPolicy(settings, keys),
      now: () => systemClock.now(),
      observe,
    };
    const isDone = await decideOn(entry, decision, "decided-by-operator", parts);
    const address = entry.mailbox.address;
    const isLearned = isDone && decision === "approve";
    await changes.announce({ what: isLearned ? "harvest.learned" : "harvest.ignored", address });
    if (!isDone) {
      complain(new Error(`the key of ${address} cannot be used any more (${reason}); it was forgotten`), false);
      return EXIT.no;
    }
    if (options.json === true) printJson(shown(entry));
    else printLine(`${entry.key.kind} ${entry.key.fingerprint} of ${address} was ${isLearned ? "taken" : "forgotten"}`);
    return EXIT.ok;
  });
}

function shown({ id, state, mailbox, key, signedAt, expiresAt, evidence }: HarvestedKey) {
  return {
    ...{ id, state, address: mailbox.address, kind: key.kind, fingerprint: key.fingerprint, evidence },
    signedAt: new Date(signedAt).toISOString(),
    expiresAt: new Date(expiresAt).toISOString(),
  };
}
