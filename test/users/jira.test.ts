// Jira as a user directory: who has an address, who is not to be seen, what is remembered, what verify says.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startJiraMock, type JiraMock } from "./jira-mock.ts";
import { account, forever, jiraStage, MINUTE_MS, TOKEN } from "./jira-stage.ts";

const INACTIVE = { active: false };
const CUSTOMER = { roles: [] };
const stage = jiraStage();
const { find, directory, instead } = stage;

const HOMELESS = account(undefined, { name: "homeless" });
let homeless: JiraMock;
beforeAll(async () => void (homeless = await startJiraMock({ token: TOKEN, self: HOMELESS, contextPath: "" })));
afterAll(() => homeless.close());

describe("who has this address", () => {
  test.each([
    ["R13: with an application is a user", account("ann@example.com"), "active user"],
    ["R13: without any application is a customer", account("ann@example.com", CUSTOMER), "active customer"],
    ["R12: that is inactive is found, and said to be inactive", account("ann@example.com", INACTIVE), "inactive user"],
    [
      "R13: without a key is asked for by its name",
      { ...account("ann@example.com", CUSTOMER), key: undefined },
      "active customer",
    ],
    ["written in capitals is the same", account("Ann@EXAMPLE.com"), "active user"],
  ])("an account %s", async (_, one, expected) => {
    stage.jira.state.users = [one];
    expect(await find("ann@example.com")).toBe(expected);
  });

  test("no account whose name, full name or longer address only contains the address", async () => {
    const more = [account("ann@example.com.au"), account("joann@example.com"), account("other@example.com")];
    stage.jira.state.users = [...more, account("b@example.com", { displayName: "was ann@example.com" })];
    expect(await find("ann@example.com")).toBe("absent");
  });

  const first = account("ann@example.com", { ...INACTIVE, ...CUSTOMER });
  const second = account("ann@example.com", INACTIVE);
  const third = account("ann@example.com", CUSTOMER);
  const fourth = account("ann@example.com");
  test.each([
    ["R12: an active customer and an inactive user: active wins", [second, third], "active customer"],
    ["R13: a customer and a user, both active: the user wins", [third, fourth], "active user"],
    ["R13: a customer and a user, both inactive: the user wins", [first, second], "inactive user"],
    ["all four: the active user wins", [first, second, third, fourth], "active user"],
  ])("two accounts with one address, %s, in whatever order", async (_, accounts, expected) => {
    for (const order of [accounts, accounts.toReversed()]) {
      stage.jira.state.users = order;
      expect(await find("ann@example.com", directory())).toBe(expected);
    }
  });

  test("hundreds of accounts with one address fail after twenty questions for what they may use", async () => {
    stage.jira.state.users = Array.from({ length: 90 }, () => account("ann@example.com", CUSTOMER));
    expect(await find("ann@example.com")).toBe("jira has more than 20 accounts with one mail address");
    expect(stage.jira.requests.filter(({ path }) => path === "user")).toHaveLength(20);
    stage.jira.state.users = stage.jira.state.users.slice(0, 20);
    expect(await find("ann@example.com")).toBe("active customer");
  });

  test("an address with a tag and signs of a URL reaches Jira as it is", async () => {
    stage.jira.state.users = [account("ann+a&b=c#d@example.com")];
    expect(await find("ann+a&b=c#d@example.com")).toBe("active user");
  });

  test.each(["jörg@bücher.example", "jörg@xn--bcher-kva.example"])(
    "an internationalised domain is found as Jira holds it: %s",
    async (address) => {
      stage.jira.state.users = [account(address)];
      expect(await find("jörg@bücher.example")).toBe("active user");
    },
  );

  test("the base URL may be Jira's root, with or without a slash, or a context path with one", async () => {
    homeless.state.users = [account("ann@example.com")];
    stage.jira.state.users = homeless.state.users;
    for (const url of [homeless.url, `${homeless.url}/`, `${stage.jira.url}/`])
      expect(await find("ann@example.com", directory({ url }))).toBe("active user");
  });
});

describe("whoever is not to be seen is not absent", () => {
  test("R12: a token that may not browse users gets an empty list and fails, naming the permission", async () => {
    Object.assign(stage.jira.state, { users: [account("ann@example.com")], mayBrowse: false });
    expect(await find("ann@example.com")).toMatch(
      /^relay, the user of users\.jira\.tokenFile, may not browse.*"Browse Users"/,
    );
  });

  test("R12: hidden addresses that are not searched give an empty list and fail, naming Jira's setting", async () => {
    Object.assign(stage.jira.state, { users: [account("ann@example.com")], emailVisibility: "hide" });
    expect(await find("ann@example.com")).toMatch(/^jira hides mail addresses from relay.*"User email visibility"/);
  });

  test.each(["mask", "hide"] as const)(
    "R12: results of which none shows its address fail: %s",
    async (emailVisibility) => {
      Object.assign(stage.jira.state, {
        users: [account("ann@example.com", { name: "ann@example.com" })],
        emailVisibility,
      });
      expect(await find("ann@example.com")).toMatch(
        /^jira shows no mail address of the users it found.*"User email visibility"/,
      );
    },
  );

  test("R12: a result with a masked address beside one that is shown may be the one asked for, and fails", async () => {
    const masked = account("ann at example dot com", { name: "ann@example.com-1" });
    stage.jira.state.users = [masked, account("other@example.com", { name: "ann@example.com-2" })];
    expect(await find("ann@example.com")).toMatch(
      /^jira masks the mail address of a user it found.*"User email visibility"/,
    );
  });

  test("R12: results without any address beside one that is shown are no fault", async () => {
    const homelessOne = account(undefined, { name: "ann@example.com-1" });
    stage.jira.state.users = [homelessOne, account("other@example.com", { name: "ann@example.com-2" })];
    expect(await find("ann@example.com")).toBe("absent");
  });

  test("a token whose user has no address cannot show that anybody is absent, and the failure says to give it one", async () => {
    homeless.state.users = [account("ann@example.com")];
    const unseeing = directory({ url: homeless.url });
    expect(await find("bob@example.com", unseeing)).toMatch(
      /hides mail addresses from homeless.*give this user a mail address$/,
    );
    expect(await find("ann@example.com", unseeing)).toBe("active user");
  });

  test("that the token's user sees itself is asked once in five minutes, not for every absent address", async () => {
    const asked = () => stage.jira.requests.filter(({ path }) => path === "myself").length;
    const before = asked();
    for (const address of ["a@example.com", "b@example.com", "c@example.com"])
      expect(await find(address)).toBe("absent");
    expect(asked() - before).toBe(1);
    stage.clock.advance(5 * MINUTE_MS + 1);
    stage.jira.state.mayBrowse = false;
    expect(await find("d@example.com")).toContain("may not browse users");
  });
});

describe("what verify says", () => {
  const probe = async (directory = stage.users) => directory.probe(forever);

  test("when all is well, verify says as whom the relay is logged in", async () =>
    expect(await probe()).toEqual({ ok: true, detail: "logged in as relay, who finds users by their mail address" }));

  test("a wrong token is called so, with the setting", async () =>
    expect(await probe(directory({ token: "wrong" }))).toEqual({
      ok: false,
      detail: expect.stringMatching(/^jira refuses the token.*see users\.jira\.tokenFile$/) as string,
    }));

  test("a URL that is not Jira's is called so, with the setting", async () =>
    expect(await probe(directory({ url: `${stage.jira.url}/wrong` }))).toEqual({
      ok: false,
      detail: "jira has no rest/api/2/myself there (404); see users.jira.url",
    }));

  test.each([
    ["no permission to browse users", { mayBrowse: false }, '"Browse Users"'],
    ["hidden addresses", { emailVisibility: "hide" }, '"User email visibility"'],
    ["masked addresses", { emailVisibility: "mask" }, '"User email visibility"'],
    [
      "roles that are not shown",
      { instead: ({ path }: { path: string }) => (path === "user" ? { status: 200, body: "{}" } : undefined) },
      "applicationRoles",
    ],
  ])(
    "a token whose user meets with %s is not well, and the sentence names what mends it",
    async (_, state, expected) => {
      Object.assign(stage.jira.state, state);
      expect(await probe()).toEqual({ ok: false, detail: expect.stringContaining(expected) as string });
    },
  );

  test("verify really asks, whatever is remembered", async () => {
    await find("nobody@example.com");
    expect((await probe()).ok).toBe(true);
    stage.jira.state.mayBrowse = false;
    expect((await probe()).ok).toBe(false);
  });

  test("a Jira that hangs did not answer in time", async () => {
    instead("myself", "hang");
    expect(await stage.users.probe(AbortSignal.timeout(50))).toEqual({
      ok: false,
      detail: "jira did not answer in the time it was given; see users.jira.url",
    });
  });
});
