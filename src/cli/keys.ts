// keys: the personal keys, as an administrator sees and changes them.
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { systemClock } from "../clock.ts";
import { fitness, notAfter, type FitnessPolicy } from "../keys/fitness.ts";
import type { PersonalKey } from "../keys/personal-keys.ts";
import { parseMailbox, type Mailbox } from "../mail/address.ts";
import type { RecipientKey } from "../keys/recipient-key.ts";
import { readOfferedKeys } from "../sources/offered-keys.ts";
import { mailboxArgument } from "./arguments.ts";
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
import { withKeys } from "./with-keys.ts";

type ListOptions = CommonOptions & { readonly expiring?: string };
const DAY_MS = 86_400_000;
/** Revocation lists are waited for within bounds of their own. */
const never = new AbortController().signal;

export function register(program: Command): void {
  const keys = program.command("keys").description("Personal keys: uploaded by an administrator or user, or learned.");
  addCommand(keys, "list", "List personal keys.")
    .option("--expiring <days>", "only those that expire within so many days")
    .action(run(list));
  addCommand(keys, "show <address>", "Show the personal keys of an address.").action(run(show));
  addCommand(keys, "add <address> <file>", "Add the certificate or public key in a file for an address.").action(
    run(add),
  );
  addCommand(keys, "remove <address> [fingerprint]", "Remove one personal key of an address, or all.").action(
    run(remove),
  );
  addCommand(keys, "export <address>", "Write the personal keys of an address to stdout, PEM and armored.").action(
    run(exportKeys),
  );
}

function list(options: ListOptions): Promise<ExitCode> {
  return withKeys(options, async ({ store: { personalKeys }, trust }) => {
    const days = options.expiring === undefined ? undefined : Number(options.expiring);
    if (days !== undefined && !(Number.isFinite(days) && days >= 0)) {
      complain(new Error(`--expiring takes a number of days, not ${options.expiring ?? ""}`), false);
      return EXIT.usage;
    }
    const end = days === undefined ? Infinity : systemClock.now() + days * DAY_MS;
    const listed = (await personalKeys.list()).filter(
      (one) => days === undefined || (notAfter(one.key) ?? Infinity) <= end,
    );
    await print(listed, options, trust);
    return EXIT.ok;
  });
}

function show(address: string, options: CommonOptions): Promise<ExitCode> {
  return withKeys(options, async ({ store: { personalKeys }, trust }) => {
    const mailbox = mailboxArgument(address);
    if (mailbox === undefined) return EXIT.usage;
    const own = (await personalKeys.list()).filter((one) => isOf(one, mailbox));
    if (own.length === 0) return none(address);
    await print(own, options, trust);
    return EXIT.ok;
  });
}

function add(address: string, file: string, options: CommonOptions): Promise<ExitCode> {
  return withKeys(options, async ({ store: { personalKeys, changes }, trust }, settings) => {
    const mailbox = mailboxArgument(address);
    if (mailbox === undefined) return EXIT.usage;
    const now = systemClock.now();
    const offered = await readOfferedKeys(await readFile(file), now);
    if ("refused" in offered) throw new Error(`${file}: ${offered.refused}`);
    await trust.fitness.ready?.(never);
    const judged = offered.keys.map((key) => ({ key, verdict: fitness(key, mailbox, now, trust.fitness) }));
    const fit = judged.filter(({ verdict }) => verdict.fit).map(({ key }) => key);
    if (fit.length === 0) {
      const reasons = judged.map(({ key, verdict }) => `${key.fingerprint} (${verdict.fit ? "" : verdict.reason})`);
      throw new Error(
        `${file} holds no key that can be used for ${mailbox.address}: ${reasons.join(", ") || "no key at all"}`,
      );
    }
    for (const { kind } of fit) {
      const { users, customers } = settings[kind].userUpload;
      // who is a customer is known to Jira only
      if (users || (customers && settings.users.jira !== null)) continue;
      throw new Error(`${kind}.userUpload.users is off, so this upload would not be used; switch it on first`);
    }
    for (const key of fit) await personalKeys.add(mailbox, key, "upload", now);
    await changes.announce({ what: "key.uploaded", address: mailbox.address });
    if (options.json === true) printJson(fit.map((key) => ({ kind: key.kind, fingerprint: key.fingerprint })));
    else for (const key of fit) printLine(`${key.kind} ${key.fingerprint} is used for ${mailbox.address} from now on`);
    return EXIT.ok;
  });
}

function remove(address: string, fingerprint: string | undefined, options: CommonOptions): Promise<ExitCode> {
  return withKeys(options, async ({ store: { personalKeys, changes }, trust }) => {
    const mailbox = mailboxArgument(address);
    if (mailbox === undefined) return EXIT.usage;
    const removed = await personalKeys.remove(mailbox, fingerprint?.toLowerCase().replace(/[:\s]/g, ""));
    if (removed.length === 0) return none(address);
    await changes.announce({ what: "key.removed", address: mailbox.address });
    await print(removed, options, trust);
    return EXIT.ok;
  });
}

function exportKeys(address: string, options: CommonOptions): Promise<ExitCode> {
  return withKeys(options, async ({ store: { personalKeys } }) => {
    const mailbox = mailboxArgument(address);
    if (mailbox === undefined) return EXIT.usage;
    const own = (await personalKeys.list()).filter((one) => isOf(one, mailbox));
    if (own.length === 0) return none(address);
    const texts = own.map(({ key }) => ({ kind: key.kind, fingerprint: key.fingerprint, text: asText(key) }));
    if (options.json === true) printJson(texts);
    else for (const { text } of texts) process.stdout.write(text);
    return EXIT.ok;
  });
}

function asText(key: RecipientKey): string {
  const isCertificate = key.kind === "smime";
  const bytes = Buffer.from(isCertificate ? key.certificate.der : key.certificate.bytes);
  const label = isCertificate ? "CERTIFICATE" : "PGP PUBLIC KEY BLOCK";
  const lines = bytes.toString("base64").replace(/.{64}(?!$)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${isCertificate ? "" : "\n"}${lines}\n-----END ${label}-----\n`;
}

function isOf({ address }: PersonalKey, { key }: Mailbox): boolean {
  const parsed = parseMailbox(address);
  return "mailbox" in parsed && parsed.mailbox.key === key;
}

function none(address: string): ExitCode {
  complain(new Error(`there is no such personal key of ${address}`), false);
  return EXIT.no;
}

async function print(
  keys: readonly PersonalKey[],
  options: CommonOptions,
  { fitness: policy }: { readonly fitness: FitnessPolicy },
): Promise<void> {
  await policy.ready?.(never);
  const now = systemClock.now();
  const rows = keys.map(({ address, key, origin, addedAt }) => {
    const mailbox = mailboxArgument(address);
    const verdict = mailbox === undefined ? undefined : fitness(key, mailbox, now, policy);
    const end = notAfter(key);
    return {
      address,
      kind: key.kind,
      fingerprint: key.fingerprint,
      origin,
      fit: verdict?.fit === true,
      reason: verdict?.fit === false ? verdict.reason : null,
      notAfter: end === undefined ? null : new Date(end).toISOString(),
      addedAt: new Date(addedAt).toISOString(),
    };
  });
  if (options.json === true) printJson(rows);
  else
    printTable(
      ["ADDRESS", "KIND", "ORIGIN", "VERDICT", "VALID UNTIL", "FINGERPRINT"],
      rows.map((row) => [
        row.address,
        row.kind,
        row.origin,
        row.reason ?? "fit",
        row.notAfter?.slice(0, 10) ?? "ever",
        row.fingerprint,
      ]),
    );
}
