import { describe, expect, test } from "vitest";
import { mailbox } from "../../src/mail/address.ts";
import { matchesPattern, policyFor, projectsOf, type Policy } from "../../src/outbound/rules.ts";

const BASE: Policy = {
  type: "smime-preferred",
  fallback: "report",
  holdMs: 7,
  subject: "keep",
  recoveryMail: "encrypt",
};

test("the first rule that matches wins and overrides only what it names", () => {
  const rules = [
    { recipients: ["*@internal.example.com"], fallback: "allow" },
    { project: "SEC", fallback: "block", subject: "hide" },
    { recipients: ["*"], holdMs: 0 },
  ] as const;
  const policy = (address: string, project?: string) =>
    policyFor(mailbox(address), project === undefined ? [] : [project], BASE, rules);
  expect(policy("ann@internal.example.com", "SEC")).toEqual({ ...BASE, fallback: "allow" });
  expect(policy("ann@example.com", "SEC")).toEqual({ ...BASE, fallback: "block", subject: "hide" });
  expect(policy("ann@example.com", "PUB")).toEqual({ ...BASE, holdMs: 0 });
});

test("a rule with recipients and project needs both", () => {
  const rules = [{ recipients: ["ann@*"], project: "SEC", fallback: "allow" }] as const;
  expect(policyFor(mailbox("ann@example.com"), ["PUB"], BASE, rules)).toEqual(BASE);
  expect(policyFor(mailbox("bob@example.com"), ["SEC"], BASE, rules)).toEqual(BASE);
});

describe("patterns", () => {
  test.each([
    ["*@example.com", "ann@example.com", true],
    ["*@example.com", "ann@sub.example.com", false],
    ["*@example.com", "ann@example.com.evil.test", false],
    ["ann@example.com", "joann@example.com", false],
    ["ANN@Example.com", "ann@example.com", true],
    ["a*n*@*.com", "ann@example.com", true],
    ["a*a", "a", false],
    ["*", "anyone@at.all", true],
    ["a.n@example.com", "axn@example.com", false],
  ])("%s on %s: %s", (pattern, key, matches) => expect(matchesPattern(pattern, key)).toBe(matches));
});

test("the issue key of Jira's template alone names the project; elsewhere every key counts", () => {
  expect(projectsOf("[JIRA] (SEC-42) see PUB-1")).toEqual(["SEC"]);
  expect(projectsOf("[JIRA] PUB-1 mentioned you on SEC-42 (Jira)")).toEqual(["PUB", "SEC"]);
  expect(projectsOf("Re: [JIRA] Created: (A1_B-7) x")).toEqual(["A1_B"]);
  expect(projectsOf("xSEC-42 and sec-42")).toEqual([]);
});

test("of several projects the strictest policy holds", () => {
  const rules = [
    { project: "PUB", fallback: "allow" },
    { project: "SEC", fallback: "block" },
    { project: "HID", subject: "hide", fallback: "allow" },
  ] as const;
  const policy = policyFor(
    mailbox("ann@example.com"),
    ["PUB", "SEC", "HID"],
    { ...BASE, recoveryMail: "exempt" },
    rules,
  );
  expect(policy).toMatchObject({ fallback: "block", subject: "hide" });
});
