// Rules: which mode, fallback, hold and subject hold for one recipient of one message (pure).
import type { Mailbox } from "../mail/address.ts";
import { issuePrefix, type SubjectMode } from "../encrypt/outer-header.ts";

export type TypeMode = "smime-only" | "smime-preferred" | "pgp-preferred" | "pgp-only";
export type Fallback = "allow" | "report" | "block";

/** What holds for one recipient. `holdMs` 0 keeps nothing. */
export type Policy = {
  readonly type: TypeMode;
  readonly fallback: Fallback;
  readonly holdMs: number;
  readonly subject: SubjectMode;
  readonly recoveryMail: "encrypt" | "exempt";
};

/** One entry of encryption.rules: it holds when every condition given does, and overrides what it names. */
export type Rule = {
  readonly recipients?: readonly string[] | undefined;
  readonly project?: string | undefined;
  readonly type?: TypeMode | undefined;
  readonly fallback?: Fallback | undefined;
  readonly holdMs?: number | undefined;
  readonly subject?: SubjectMode | undefined;
  readonly recoveryMail?: "encrypt" | "exempt" | undefined;
};

/** The first rule that matches wins; what it does not name comes from `base`. Of several projects the strictest policy holds. */
export function policyFor(
  recipient: Mailbox,
  projects: readonly string[],
  base: Policy,
  rules: readonly Rule[],
): Policy {
  const candidates = projects.length === 0 ? [undefined] : projects;
  return candidates.map((project) => policyOf(recipient, project, base, rules)).reduce(stricter);
}

function policyOf(recipient: Mailbox, project: string | undefined, base: Policy, rules: readonly Rule[]): Policy {
  const rule = rules.find((one) => matches(one, recipient, project));
  if (rule === undefined) return base;
  return {
    type: rule.type ?? base.type,
    fallback: rule.fallback ?? base.fallback,
    holdMs: rule.holdMs ?? base.holdMs,
    subject: rule.subject ?? base.subject,
    recoveryMail: rule.recoveryMail ?? base.recoveryMail,
  };
}

const FALLBACKS: readonly Fallback[] = ["allow", "report", "block"];
const SUBJECTS: readonly SubjectMode[] = ["keep", "issue-key", "hide"];

function stricter(a: Policy, b: Policy): Policy {
  const [lax, strict] = FALLBACKS.indexOf(a.fallback) >= FALLBACKS.indexOf(b.fallback) ? [b, a] : [a, b];
  return {
    ...strict,
    subject: SUBJECTS.indexOf(lax.subject) > SUBJECTS.indexOf(strict.subject) ? lax.subject : strict.subject,
    recoveryMail: lax.recoveryMail === "encrypt" ? "encrypt" : strict.recoveryMail,
  };
}

/**
 * The projects of a decoded Subject. An issue key where Jira's template puts it, `[JIRA] (SEC-42)`, stands for itself; of other
 * subjects every issue key counts, for a display name or summary may hold one too.
 */
export function projectsOf(subject: string): string[] {
  const keys = (issuePrefix(subject) ?? subject).matchAll(/(?<![A-Za-z0-9_])([A-Z][A-Z0-9_]+)-\d+(?![A-Za-z0-9_])/g);
  return [...new Set([...keys].flatMap((match) => match[1] ?? []))];
}

function matches(rule: Rule, recipient: Mailbox, project: string | undefined): boolean {
  if (rule.project !== undefined && rule.project !== project) return false;
  return rule.recipients === undefined || rule.recipients.some((pattern) => matchesPattern(pattern, recipient.key));
}

/** `*` stands for any run of characters, also none; everything else for itself, letters in either case. */
export function matchesPattern(pattern: string, key: string): boolean {
  const parts = pattern.toLowerCase().split("*");
  const first = parts[0] ?? "";
  const last = parts.at(-1) ?? "";
  if (parts.length === 1) return key === first;
  if (key.length < first.length + last.length || !key.startsWith(first) || !key.endsWith(last)) return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const next = key.indexOf(part, at);
    if (next < 0 || next + part.length > key.length - last.length) return false;
    at = next + part.length;
  }
  return true;
}
