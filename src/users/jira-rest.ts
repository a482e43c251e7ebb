// Jira REST: the three questions that Jira Data Center is asked about its users, and what is wrong when it gives no answer.
import { z } from "zod";
import { asError } from "../as-error.ts";
import type { HttpAnswer, HttpGet } from "../http/http-get.ts";
import { parseMailbox, type Mailbox } from "../mail/address.ts";
import type { Secret } from "../secret.ts";

/** `shownAddress` is undefined when Jira shows none; `mailbox` when what it shows is no address, as a masked one. */
export type JiraAccount = {
  readonly key: string | undefined;
  readonly name: string;
  readonly isActive: boolean;
  readonly shownAddress: string | undefined;
  readonly mailbox: Mailbox | undefined;
};

/** Every question rejects with a sentence for an operator unless Jira gave a whole answer of the right shape. */
export type JiraRest = {
  /** The account that the token belongs to. */
  myself(signal: AbortSignal): Promise<JiraAccount>;
  /**
   * Pages of the accounts, inactive ones too, of which some part begins with or holds `text`: none at all when the token's user
   * may not browse users, and none by address when addresses are hidden. Rejects at the end when Jira may have cut off the rest.
   */
  search(text: string, signal: AbortSignal): AsyncGenerator<readonly JiraAccount[]>;
  /** Whether the account may use an application of Jira, and so is more than a customer. */
  hasApplication(account: JiraAccount, signal: AbortSignal): Promise<boolean>;
};

const PAGE_ACCOUNTS = 50;
const MAX_PAGES = 20;
/** Jira 10 cuts off after 100 results (JRASERVER-78520), older ones after 1,000 (JRASERVER-65089), and neither says so. */
const LEAST_CUT_OFF = 100;

const account = z.object({
  key: z.string().min(1).optional(),
  name: z.string().min(1),
  active: z.boolean(),
  emailAddress: z.string().nullish(),
});
const withRoles = z.object({ applicationRoles: z.object({ size: z.int().nonnegative() }) });

/** Jira's REST API, version 2, below `base`, which may have a context path. */
export function jiraRest(base: string, token: Secret, get: HttpGet): JiraRest {
  const root = new URL(base);
  const ask = async <T>(path: string, query: Record<string, string>, shape: z.ZodType<T>, signal: AbortSignal) => {
    const url = new URL(`${root.origin}${root.pathname.replace(/\/+$/, "")}/rest/api/2/${path}`);
    url.search = new URLSearchParams(query).toString();
    const answer = await send(get, url, token, signal);
    // the search found the user a moment ago: the URL is right
    if (answer.status === 404 && path === "user")
      throw new Error("jira does not know a user (404) that its search found, who may just have been deleted");
    return read(answer, path, shape);
  };

  return {
    myself: async (signal) => accountOf(await ask("myself", {}, account, signal)),
    async *search(text, signal) {
      let seen = 0;
      for (let page = 0; page < MAX_PAGES; page++) {
        const query = { username: text, includeActive: "true", includeInactive: "true" };
        const place = { startAt: String(seen), maxResults: String(PAGE_ACCOUNTS) };
        const accounts = await ask("user/search", { ...query, ...place }, z.array(account), signal);
        yield accounts.map(accountOf);
        seen += accounts.length;
        if (accounts.length === 0 && seen >= LEAST_CUT_OFF) break;
        if (accounts.length < PAGE_ACCOUNTS) return;
      }
      throw new Error(`jira's search for one address found ${seen} users and may have left some out`);
    },
    async hasApplication({ key, name }, signal) {
      const query = key === undefined ? { username: name } : { key };
      const answer = await ask("user", { ...query, expand: "applicationRoles" }, withRoles, signal);
      return answer.applicationRoles.size > 0;
    },
  };
}

async function send(get: HttpGet, url: URL, token: Secret, signal: AbortSignal): Promise<HttpAnswer> {
  // whoever makes the header would show the whole of it when it cannot be sent
  if (!/^[\x21-\x7e]+$/.test(token.reveal()))
    throw new Error("the token for jira holds a character that no token has; see users.jira.tokenFile");
  try {
    return await get(url, signal, { Authorization: `Bearer ${token.reveal()}`, Accept: "application/json" });
  } catch (cause) {
    throw new Error(`jira cannot be asked: ${asError(cause).message}; see users.jira.url`, { cause });
  }
}

function read<T>({ status, contentType, body }: HttpAnswer, path: string, shape: z.ZodType<T>): T {
  if (status !== 200) throw new Error(refusal(status, path));
  if (contentType !== "application/json") {
    const kind = contentType === "" ? "something" : contentType;
    throw new Error(`jira answered ${path} with ${kind}, as a log-in page, and not with JSON; see users.jira.url`);
  }
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch {
    // the parser's own words quote what it read
    throw new Error(`jira answered ${path} with broken JSON; see users.jira.url`);
  }
  const parsed = shape.safeParse(json);
  if (parsed.success) return parsed.data;
  const place = parsed.error.issues[0]?.path.join(".") ?? "";
  throw new Error(
    `jira's answer to ${path} is not as Jira Data Center's${place && ` at ${place}`}; see users.jira.url`,
  );
}

function refusal(status: number, path: string): string {
  switch (status) {
    case 401:
      return "jira refuses the token (401), which may be wrong, expired or revoked; see users.jira.tokenFile";
    case 403:
      return `jira forbids ${path} to the user of the token (403); see users.jira.tokenFile`;
    case 404:
      return `jira has no rest/api/2/${path} there (404); see users.jira.url`;
    case 429:
      return "jira limits how often it may be asked (429); exempt the user of users.jira.tokenFile from rate limiting";
    default:
      return `jira answered ${path} with status ${status}; see users.jira.url`;
  }
}

function accountOf({ key, name, active, emailAddress }: z.infer<typeof account>): JiraAccount {
  const shownAddress = emailAddress?.trim() ?? "";
  const parsed = parseMailbox(shownAddress);
  return {
    ...{ key, name, isActive: active },
    shownAddress: shownAddress === "" ? undefined : shownAddress,
    mailbox: "mailbox" in parsed ? parsed.mailbox : undefined,
  };
}
