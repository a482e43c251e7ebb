// What is remembered of Jira's answers, and look-ups of one address at the same time.
import { describe, expect, test } from "vitest";
import { mailbox } from "../../src/mail/address.ts";
import { rememberAnswers } from "../../src/users/remembered-answers.ts";
import { account, forever, jiraStage, MINUTE_MS, said } from "./jira-stage.ts";

const stage = jiraStage();
const { find, instead } = stage;
const searches = (text: string) => stage.jira.requests.filter(({ query }) => query.get("username") === text).length;

describe("what is remembered", () => {
  test("somebody found for five minutes, even when Jira is away", async () => {
    stage.jira.state.users = [account("ann@example.com")];
    await find("ann@example.com");
    instead("user/search", { status: 503, body: "" });
    stage.clock.advance(5 * MINUTE_MS);
    expect(await find("ANN@example.com")).toBe("active user");
    stage.clock.advance(1);
    expect(await find("ann@example.com")).toContain("503");
  });

  test("R12: somebody absent for one minute: a new user is known soon", async () => {
    expect(await find("new@example.com")).toBe("absent");
    stage.jira.state.users = [account("new@example.com")];
    stage.clock.advance(MINUTE_MS);
    expect(await find("new@example.com")).toBe("absent");
    stage.clock.advance(1);
    expect(await find("new@example.com")).toBe("active user");
  });

  test("LOOK-20: a hundred look-ups of one address at the same time ask Jira once", async () => {
    stage.jira.state.users = [account("herd@example.com")];
    const answers = await Promise.all(Array.from({ length: 100 }, () => find("herd@example.com")));
    expect(new Set(answers)).toEqual(new Set(["active user"]));
    expect(searches("herd@example.com")).toBe(1);
  });

  test("one who gives up fails at once, and the others get the answer when it comes", async () => {
    stage.jira.state.users = [account("slow@example.com")];
    const late = Promise.withResolvers<undefined>();
    stage.jira.state.instead = () => late.promise;
    const impatient = new AbortController();
    const asks = [impatient.signal, forever].map((signal) => stage.users.find(mailbox("slow@example.com"), signal));
    await stage.jira.until(() => searches("slow@example.com") === 1);
    impatient.abort();
    expect((await asks[0]!).kind).toBe("failed");
    late.resolve(undefined);
    expect(said(await asks[1]!)).toBe("active user");
    expect(searches("slow@example.com")).toBe(1);
  });

  test("when all have given up, the request is ended, and the next look-up asks again", async () => {
    instead("user/search", "hang");
    const before = stage.jira.abandoned;
    const impatient = [new AbortController(), new AbortController()];
    const asks = impatient.map(({ signal }) => stage.users.find(mailbox("slow@example.com"), signal));
    await stage.jira.until(() => searches("slow@example.com") === 1);
    for (const one of impatient) one.abort();
    expect((await Promise.all(asks)).map(({ kind }) => kind)).toEqual(["failed", "failed"]);
    await stage.jira.until(() => stage.jira.abandoned === before + 1);
    stage.jira.state.instead = () => undefined;
    stage.jira.state.users = [account("slow@example.com")];
    expect(await find("slow@example.com")).toBe("active user");
  });

  test("no more answers than asked for: the one not used for longest is asked for again", async () => {
    const asked: string[] = [];
    const ask = (question: string) => {
      asked.push(question);
      return Promise.resolve({ question });
    };
    const remembered = rememberAnswers(ask, () => MINUTE_MS, 2, stage.clock);
    for (const question of ["a", "b", "a", "c", "a", "b"]) await remembered(question, forever);
    expect(asked).toEqual(["a", "b", "c", "b"]);
  });
});
