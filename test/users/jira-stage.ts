// The stage of the tests of Jira as a user directory: the mock, a clock, an HTTP client over fetch, and accounts.
import { afterAll, beforeAll, beforeEach } from "vitest";
import type { HttpGet } from "../../src/http/http-get.ts";
import { mailbox } from "../../src/mail/address.ts";
import { Secret } from "../../src/secret.ts";
import type { PersonLookup, UserDirectory } from "../../src/users/directory.ts";
import { jiraUsers } from "../../src/users/jira.ts";
import { manualClock, type ManualClock } from "../manual-clock.ts";
import { startJiraMock, type Instead, type JiraMock, type JiraUser } from "./jira-mock.ts";

export const TOKEN = "NjY1MTk0.canary-token";
export const MINUTE_MS = 60_000;
export const forever = new AbortController().signal;

const get: HttpGet = async (url, signal, headers) => {
  const answer = await fetch(url, { signal, redirect: "error", headers: { ...headers } });
  const [contentType = ""] = (answer.headers.get("content-type") ?? "").split(";");
  return { status: answer.status, contentType, body: Buffer.from(await answer.arrayBuffer()) };
};

let made = 0;
/** An active user of Jira Software with this address, under a key and a name of its own. */
export function account(emailAddress: string | undefined, more: Partial<JiraUser> = {}): JiraUser {
  const name = `user${++made}`;
  const address = emailAddress === undefined ? {} : { emailAddress };
  const rest = { displayName: "A Person", ...address, active: true, roles: ["jira-software"] };
  return { key: `JIRAUSER${made}`, name, ...rest, ...more };
}

export const SELF = account("sealpost@example.com", { name: "relay" });

/** "active user", "inactive customer", "absent", or the text of the failure. */
export function said(answer: PersonLookup): string {
  if (answer.kind === "failed") return answer.cause.message;
  return answer.kind === "absent" ? "absent" : `${answer.value.isActive ? "active" : "inactive"} ${answer.value.kind}`;
}

export type Stage = {
  readonly jira: JiraMock;
  readonly clock: ManualClock;
  /** Another directory, which remembers nothing yet; of the mock with its token unless said otherwise. */
  readonly directory: (other?: { url?: string; token?: string }) => UserDirectory;
  /** What one directory per test, or the given one, says of an address. */
  readonly find: (address: string, users?: UserDirectory) => Promise<string>;
  readonly users: UserDirectory;
  /** From now on Jira gives this answer at `path`. */
  readonly instead: (path: string, answer: Instead) => void;
};

/** For the top of a test file: one mock for the file, made new for each test. */
export function jiraStage(): Stage {
  let jira: JiraMock;
  let clock: ManualClock;
  let users: UserDirectory;
  const directory: Stage["directory"] = ({ url = jira.url, token = TOKEN } = {}) =>
    jiraUsers({ url, token: new Secret(token), get, clock });
  beforeAll(async () => void (jira = await startJiraMock({ token: TOKEN, self: SELF })));
  afterAll(() => jira.close());
  beforeEach(() => {
    jira.reset();
    clock = manualClock();
    users = directory();
  });
  return {
    get jira() {
      return jira;
    },
    get clock() {
      return clock;
    },
    get users() {
      return users;
    },
    directory,
    find: async (address, asked = users) => said(await asked.find(mailbox(address), forever)),
    instead(path, answer) {
      jira.state.instead = (request) => (request.path === path ? answer : undefined);
    },
  };
}
