// harvest: keys out of incoming mail that wait for their user or for a decision.
import type { Command } from "commander";
import type { HarvestFacts } from "../inbound/harvest-observer.ts";
import { decideOn, type Decided } from "../inbound/pending.ts";
import type { HarvestedKey } from "../keys/harvested-keys.ts";
import { systemClock } from "../clock.ts";
import type { News } from "../store/changes.ts";
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
    const address = entry.mailbox.address;
    const { kind, fingerprint } = entry.key;
    const news: News[] = [];
    const happened = (event: "learned" | "ignored", { reason = "" }: HarvestFacts) =>
      void news.push({ what: `harvest.${event}`, address, kind, fingerprint, reason });
    const decided = await decideOn(entry, decision, "decided-by-operator", {
      ...{ personalKeys, harvested, now: () => systemClock.now(), observe: { happened } },
      policy: harvestPolicy(settings, keys),
    });
    // the process that serves writes it to its log
    for (const one of news) await changes.announce(one);
    const refusal = refusalOf(decided, address);
    if (refusal !== undefined) {
      complain(new Error(refusal), false);
      return EXIT.no;
    }
    if (options.json === true) printJson(shown(entry));
    else {
      const what = decided.kind === "taken" ? "taken" : "forgotten";
      printLine(`${kind} ${fingerprint} of ${address} was ${what}`);
    }
    return EXIT.ok;
  });
}

/** Why what was asked for did not come to pass. */
function refusalOf(decided: Decided, address: string): string | undefined {
  switch (decided.kind) {
    case "taken":
    case "rejected":
      return undefined;
    case "uploaded":
      return `${address} has uploaded this key, and it is used already; it waits no longer`;
    case "unfit":
      return `the key of ${address} cannot be used any more (${decided.reason}); it was forgotten`;
    case "undecided":
      return `the key of ${address} cannot be judged now (${decided.reason}) and waits on; see smime.trust.crls`;
  }
}

function shown({ id, state, mailbox, key, signedAt, expiresAt, evidence }: HarvestedKey) {
  return {
    ...{ id, state, address: mailbox.address, kind: key.kind, fingerprint: key.fingerprint, evidence },
    signedAt: new Date(signedAt).toISOString(),
    expiresAt: new Date(expiresAt).toISOString(),
  };
}
