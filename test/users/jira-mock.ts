// A mock of what Jira Data Center's REST interface says of users: fuzzy search in pages, who am I, application roles.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type JiraUser = {
  /** Undefined: as a Jira that gives none. */
  readonly key?: string | undefined;
  readonly name: string;
  readonly displayName: string;
  /** Undefined: the account has none. */
  readonly emailAddress?: string;
  readonly active: boolean;
  /** Keys of applications, such as jira-software; none: a customer. */
  readonly roles: readonly string[];
};

/** An answer instead of the right one; "hang": none, until the client goes away. */
export type Instead = { readonly status: number; readonly contentType?: string; readonly body: string } | "hang";

export type JiraRequest = {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
};

/** What a test may change while the mock runs. */
export type JiraState = {
  users: readonly JiraUser[];
  /** As Jira's "User email visibility": hidden ones are not searched either, masked ones are. */
  emailVisibility: "show" | "hide" | "mask";
  /** Whether the token's user has "Browse Users"; without it every search is empty. */
  mayBrowse: boolean;
  /** Results beyond are silently cut off: 100 since Jira 10, 1,000 before. */
  resultLimit: number;
  /** `path` as below rest/api/2/, such as user/search; a promise makes the answer a late one. */
  instead: (request: JiraRequest) => Instead | undefined | Promise<Instead | undefined>;
};

export type JiraMock = {
  /** With the context path. */
  readonly url: string;
  readonly state: JiraState;
  /** The state as at the start, and no requests. */
  reset(): void;
  readonly requests: readonly JiraRequest[];
  /** Resolves when `condition` holds; it is asked again at every request and whenever a client has gone away. */
  until(condition: () => boolean): Promise<void>;
  /** Requests whose client went away before the answer. */
  readonly abandoned: number;
  close(): Promise<void>;
};

export type JiraOptions = { readonly token: string; readonly self: JiraUser; readonly contextPath?: string };

/** Listens on 127.0.0.1. `self` is the user that the token belongs to; it is one of the users. */
export async function startJiraMock(options: JiraOptions, state: Partial<JiraState> = {}): Promise<JiraMock> {
  const { contextPath = "/jira" } = options;
  const requests: JiraRequest[] = [];
  const waiting = new Set<() => void>();
  let abandoned = 0;
  const changed = () => waiting.forEach((look) => look());
  const initial = (): JiraState => ({
    ...{ users: [], emailVisibility: "show", mayBrowse: true, resultLimit: 1000, instead: () => undefined },
    ...state,
  });
  const current = initial();
  const server = createServer((message, response) => {
    const url = new URL(message.url ?? "/", "http://jira.invalid");
    const prefix = `${contextPath}/rest/api/2/`;
    const path = url.pathname.startsWith(prefix) ? url.pathname.slice(prefix.length) : url.pathname;
    const request = { path, query: url.searchParams, headers: message.headers };
    requests.push(request);
    response.once("close", () => {
      if (!response.writableFinished) abandoned++;
      changed();
    });
    void Promise.resolve(current.instead(request)).then((instead) => {
      if (instead === "hang") return;
      if (instead !== undefined) {
        answer(response, instead.status, instead.body, instead.contentType);
        return;
      }
      const [status, body] = rightAnswer(request, options, current);
      answer(response, status, JSON.stringify(body));
    });
    changed();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${contextPath}`,
    state: current,
    reset() {
      Object.assign(current, initial());
      requests.length = 0;
    },
    requests,
    until: (condition) =>
      new Promise((resolve) => {
        const look = () => {
          if (!condition()) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
    get abandoned() {
      return abandoned;
    },
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function answer(
  response: ServerResponse,
  status: number,
  body: string,
  contentType = "application/json;charset=UTF-8",
) {
  response.writeHead(status, { "Content-Type": contentType }).end(body);
}

function rightAnswer(
  { path, query, headers }: JiraRequest,
  { token, self }: JiraOptions,
  state: JiraState,
): [number, unknown] {
  if (headers.authorization !== `Bearer ${token}`)
    return [401, { message: "Client must be authenticated to access this resource." }];
  const isExpanded = query.get("expand") === "applicationRoles";
  switch (path) {
    case "myself":
      return [200, bean(self, state, isExpanded)];
    case "user": {
      const found = [...state.users, self].find((one) =>
        query.has("key") ? one.key === query.get("key") : one.name === query.get("username"),
      );
      return found === undefined ? [404, notFound] : [200, bean(found, state, isExpanded)];
    }
    case "user/search":
      return [200, search(query, [...state.users, self], state).map((one) => bean(one, state, undefined))];
    default:
      return [404, notFound];
  }
}

const notFound = { errorMessages: ["The user does not exist or there is no such resource."], errors: {} };

/** Matches any part of user name, full name and, unless hidden, mail address: more than Jira, which wants the start of a word. */
function search(query: URLSearchParams, users: readonly JiraUser[], state: JiraState): readonly JiraUser[] {
  if (!state.mayBrowse) return [];
  const text = query.get("username")?.toLowerCase() ?? "";
  const start = Number(query.get("startAt") ?? 0);
  const count = Number(query.get("maxResults") ?? 50);
  return users
    .filter((one) => query.get(one.active ? "includeActive" : "includeInactive") === "true")
    .filter((one) => {
      const address = state.emailVisibility === "hide" ? "" : (one.emailAddress ?? "");
      return [one.name, one.displayName, address].some((field) => field.toLowerCase().includes(text));
    })
    .slice(0, state.resultLimit)
    .slice(start, start + count);
}

/** As Jira writes a user; `isExpanded` is undefined where roles do not occur at all. */
function bean(
  user: JiraUser,
  { emailVisibility }: JiraState,
  isExpanded: boolean | undefined,
): Record<string, unknown> {
  const address = user.emailAddress ?? "";
  const shown = { show: address, mask: address.replace("@", " at ").replaceAll(".", " dot "), hide: undefined };
  const items = user.roles.map((key) => ({ key, name: key }));
  return {
    ...{
      key: user.key,
      name: user.name,
      displayName: user.displayName,
      active: user.active,
      timeZone: "Europe/Berlin",
    },
    emailAddress: shown[emailVisibility],
    ...(isExpanded === undefined
      ? {}
      : {
          applicationRoles: { size: items.length, items: isExpanded ? items : [] },
          expand: "groups,applicationRoles",
        }),
  };
}
