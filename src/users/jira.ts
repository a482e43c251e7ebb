// Jira as a user directory: finds the person with an address through Jira's search, which is fuzzy and silent about what it hides.
import { asError } from "../as-error.ts";
import type { Clock } from "../clock.ts";
import type { HttpGet } from "../http/http-get.ts";
import { mailbox, spellingsOf } from "../mail/address.ts";
import type { Secret } from "../secret.ts";
import type { Person, PersonLookup, UserDirectory } from "./directory.ts";
import { jiraRest, type JiraAccount, type JiraRest } from "./jira-rest.ts";
import { rememberAnswers } from "./remembered-answers.ts";

export type JiraSettings = {
  /** Base URL, with Jira's context path if it has one. */
  readonly url: string;
  /** Personal access token of a user who may browse users and has a mail address. */
  readonly token: Secret;
  readonly get: HttpGet;
  readonly clock: Clock;
};

type Sight = { readonly ok: boolean; readonly detail: string };

const FOUND_KEPT_MS = 5 * 60_000;
const ABSENT_KEPT_MS = 60_000;
const SIGHT_KEPT_MS = 5 * 60_000;
const MAX_KEPT = 10_000;
/** Of so many accounts with one address Jira is asked, one by one, what they may use. */
const MAX_ACCOUNTS = 20;

const SHOW_ADDRESSES =
  'set "User email visibility" in Jira\'s general configuration to "public" or "logged in users only"';

/**
 * Who Jira Data Center knows. Found people are remembered for 5 minutes, absent ones for 1, failures not at all.
 *
 * Jira answers a search with an empty list also when the token's user may not browse users or addresses are hidden. So nobody is
 * called absent unless the token's own user was found by its own address within the last 5 minutes.
 */
export function jiraUsers({ url, token, get, clock }: JiraSettings): UserDirectory {
  const rest = jiraRest(url, token, get);
  const sightKeptMs = ({ ok }: Sight) => (ok ? SIGHT_KEPT_MS : 0);
  const sightOf = rememberAnswers((_, signal) => checkSight(rest, signal), sightKeptMs, 1, clock);
  const ask = async (key: string, signal: AbortSignal): Promise<PersonLookup> => {
    const person = await findPerson(rest, key, signal);
    if (person !== undefined) return { kind: "found", value: person };
    const sight = await sightOf("self", signal);
    if (!sight.ok) throw new Error(sight.detail);
    return { kind: "absent" };
  };
  const keptMs = ({ kind }: PersonLookup) => (kind === "found" ? FOUND_KEPT_MS : ABSENT_KEPT_MS);
  const remembered = rememberAnswers(ask, keptMs, MAX_KEPT, clock);

  return {
    async find({ key }, signal) {
      try {
        return await remembered(key, signal);
      } catch (cause) {
        return { kind: "failed", cause: asFault(cause, signal) };
      }
    },
    async probe(signal) {
      try {
        return await checkSight(rest, signal);
      } catch (cause) {
        return { ok: false, detail: asFault(cause, signal).message };
      }
    },
  };
}

function asFault(cause: unknown, signal: AbortSignal): Error {
  if (signal.aborted) return new Error("jira did not answer in the time it was given; see users.jira.url", { cause });
  return asError(cause);
}

/** The best of all accounts with this address: active before inactive, then user before customer. */
async function findPerson(rest: JiraRest, key: string, signal: AbortSignal): Promise<Person | undefined> {
  const people: Person[] = [];
  let asked = 0;
  let found = 0;
  let shown = 0;
  let masked = 0;
  for (const spelling of spellingsOf(mailbox(key))) {
    for await (const page of rest.search(spelling, signal)) {
      for (const account of page) {
        found++;
        if (account.shownAddress?.includes("@") === true) shown++;
        else if (account.shownAddress !== undefined) masked++;
        if (account.mailbox?.key !== key) continue;
        asked++;
        if (asked > MAX_ACCOUNTS) throw new Error(`jira has more than ${MAX_ACCOUNTS} accounts with one mail address`);
        const kind = (await rest.hasApplication(account, signal)) ? "user" : "customer";
        if (kind === "user" && account.isActive) return { kind, isActive: true };
        people.push({ kind, isActive: account.isActive });
      }
    }
  }
  if (found > 0 && shown === 0) throw new Error(`jira shows no mail address of the users it found; ${SHOW_ADDRESSES}`);
  if (masked > 0) throw new Error(`jira masks the mail address of a user it found; ${SHOW_ADDRESSES}`);
  return people.sort((a, b) => rank(b) - rank(a))[0];
}

function rank({ kind, isActive }: Person): number {
  return (isActive ? 2 : 0) + (kind === "user" ? 1 : 0);
}

/** Whether the token's user sees what there is: it must find itself by its own address. */
async function checkSight(rest: JiraRest, signal: AbortSignal): Promise<Sight> {
  const self = await rest.myself(signal);
  const own = self.mailbox?.key;
  const isFoundBy = async (text: string, isSelf: (account: JiraAccount) => boolean) => {
    for await (const page of rest.search(text, signal)) if (page.some(isSelf)) return true;
    return false;
  };
  if (own !== undefined && (await isFoundBy(self.shownAddress ?? own, ({ mailbox }) => mailbox?.key === own))) {
    // what find asks for, too: the answer itself does not matter
    await rest.hasApplication(self, signal);
    return { ok: true, detail: `logged in as ${self.name}, who finds users by their mail address` };
  }
  const who = `${self.name}, the user of users.jira.tokenFile`;
  if (!(await isFoundBy(self.name, ({ name }) => name === self.name)))
    return { ok: false, detail: `${who}, may not browse users; give it Jira's global permission "Browse Users"` };
  const orGive = self.shownAddress === undefined ? ", and give this user a mail address" : "";
  return { ok: false, detail: `jira hides mail addresses from ${who}; ${SHOW_ADDRESSES}${orGive}` };
}
