// Jira's REST API: many results, and answers that are none.
import { describe, expect, test } from "vitest";
import { mailbox } from "../../src/mail/address.ts";
import { startJiraMock, type Instead } from "./jira-mock.ts";
import { account, forever, jiraStage, said, SELF, TOKEN } from "./jira-stage.ts";

const INACTIVE = { active: false };
const stage = jiraStage();
const { find, directory, instead } = stage;

describe("a search with many results", () => {
  const crowd = (count: number) => Array.from({ length: count }, (_, at) => account(`x${at}.ann@example.com`));

  test("somebody on the third page is found, and no page is asked for twice", async () => {
    stage.jira.state.users = [...crowd(120), account("ann@example.com")];
    const before = stage.jira.requests.length;
    expect(await find("ann@example.com")).toBe("active user");
    const starts = stage.jira.requests.slice(before).flatMap(({ query }) => query.get("startAt") ?? []);
    expect(starts).toEqual(["0", "50", "100"]);
  });

  test("an inactive account on the first page does not end the search for an active one", async () => {
    stage.jira.state.users = [account("ann@example.com", INACTIVE), ...crowd(60), account("ann@example.com")];
    expect(await find("ann@example.com")).toBe("active user");
  });

  test.each([
    [99, 1000, "absent"],
    [130, 1000, "absent"],
    [100, 100, "jira's search for one address found 100 users and may have left some out"],
    [150, 100, "jira's search for one address found 100 users and may have left some out"],
    [1200, 1000, "jira's search for one address found 1000 users and may have left some out"],
  ])("of %i others, of which Jira shows %i at most: %s", async (count, resultLimit, expected) => {
    Object.assign(stage.jira.state, { users: crowd(count), resultLimit });
    expect(await find("ann@example.com")).toBe(expected);
  });

  test("an inactive account is no answer when Jira may have left out an active one", async () => {
    Object.assign(stage.jira.state, { users: [account("ann@example.com", INACTIVE), ...crowd(120)], resultLimit: 100 });
    expect(await find("ann@example.com")).toContain("may have left some out");
  });

  test("a Jira that never stops giving pages has failed after 20", async () => {
    const page = JSON.stringify(crowd(50).map(({ name, emailAddress }) => ({ name, emailAddress, active: true })));
    instead("user/search", { status: 200, body: page });
    const before = stage.jira.requests.length;
    expect(await find("ann@example.com")).toContain("found 1000 users and may have left some out");
    expect(stage.jira.requests.length - before).toBe(20);
  });
});

describe("an answer that is none has failed and is not remembered", () => {
  const page = "<html><title>Log in - Jira</title></html>";
  test.each<[string, string, Instead, RegExp]>([
    ["401", "user/search", { status: 401, body: "{}" }, /refuses the token \(401\).*see users\.jira\.tokenFile$/],
    ["403", "user/search", { status: 403, body: page }, /forbids user\/search.*\(403\); see users\.jira\.tokenFile$/],
    [
      "404",
      "user/search",
      { status: 404, body: page },
      /has no rest\/api\/2\/user\/search there.*see users\.jira\.url$/,
    ],
    ["429", "user/search", { status: 429, body: "" }, /limits how often.*\(429\)/],
    ["500", "user/search", { status: 500, body: "[]" }, /status 500/],
    ["503 of a proxy", "user/search", { status: 503, contentType: "text/html", body: page }, /status 503/],
    ["204", "user/search", { status: 204, body: "" }, /status 204/],
    [
      "a log-in page",
      "user/search",
      { status: 200, contentType: "text/html", body: page },
      /text\/html.*see users\.jira\.url$/,
    ],
    ["a page called JSON", "user/search", { status: 200, body: page }, /broken JSON/],
    ["half an answer", "user/search", { status: 200, body: '[{"name":"ann"' }, /broken JSON/],
    ["nothing", "user/search", { status: 200, body: "" }, /broken JSON/],
    ["an object for a list", "user/search", { status: 200, body: '{"values":[]}' }, /not as Jira Data Center's/],
    ["Jira Cloud's users", "user/search", { status: 200, body: '[{"accountId":"5b1","active":true}]' }, /at 0\.name/],
    ["a user without active", "user/search", { status: 200, body: '[{"name":"ann"}]' }, /at 0\.active/],
    ["roles missing", "user", { status: 200, body: '{"name":"ann","active":true}' }, /at applicationRoles/],
    [
      "the user gone",
      "user",
      { status: 404, body: "{}" },
      /^jira does not know a user \(404\) that its search found, who/,
    ],
    ["no myself", "myself", { status: 500, body: "" }, /answered myself with status 500/],
  ])(
    "%s to %s: the look-up fails in an operator's words, and the next one asks again",
    async (_, path, answer, expected) => {
      const address = path === "myself" ? "nobody@example.com" : "ann@example.com";
      stage.jira.state.users = [account("ann@example.com")];
      instead(path, answer);
      const failure = await find(address);
      expect(failure).toMatch(expected);
      expect(failure).not.toContain("ann");
      stage.jira.state.instead = () => undefined;
      expect(await find(address)).toBe(path === "myself" ? "absent" : "active user");
    },
  );

  test("a server that is not there is named, with the setting", async () => {
    const gone = await startJiraMock({ token: TOKEN, self: SELF });
    await gone.close();
    expect(await find("ann@example.com", directory({ url: gone.url }))).toMatch(
      /^jira cannot be asked: .*see users\.jira\.url$/,
    );
  });

  test("a Jira that hangs has failed when the look-up's time is over, and the request is ended", async () => {
    instead("user/search", "hang");
    const before = stage.jira.abandoned;
    const answer = await stage.users.find(mailbox("ann@example.com"), AbortSignal.timeout(50));
    expect(said(answer)).toBe("jira did not answer in the time it was given; see users.jira.url");
    await stage.jira.until(() => stage.jira.abandoned > before);
  });

  test("a look-up that is over before it begins asks nothing", async () => {
    const before = stage.jira.requests.length;
    expect((await stage.users.find(mailbox("ann@example.com"), AbortSignal.abort())).kind).toBe("failed");
    expect(stage.jira.requests.length).toBe(before);
  });

  test.each([`${TOKEN}\u00e9`, `${TOKEN}\n`, `${TOKEN} x`])(
    "a token that no header can hold is never shown",
    async (token) => {
      const broken = directory({ token });
      const answer = await broken.find(mailbox("ann@example.com"), forever);
      expect(said(answer)).toMatch(/token for jira holds a character.*see users\.jira\.tokenFile$/);
      expect(JSON.stringify([answer, await broken.probe(forever), said(answer)])).not.toContain("canary");
    },
  );
});
