// sealpost check and sealpost config, run as they are by an operator.
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { sealpost } from "./child.ts";
import { SMALLEST, written } from "../config/reading.ts";

const FAULTY = "upstream:\n  host: ldap://ldap.example.com\n  prot: 25\nretry: { first: soon }\n";

test("check says ok and exits with 0 when nothing is wrong", async () => {
  const cwd = written({ "sealpost.yaml": SMALLEST });
  expect(await sealpost(["check", "--config", "sealpost.yaml"], { cwd })).toEqual({
    code: 0,
    stdout: "sealpost.yaml: ok\n",
    stderr: "",
  });
  expect(await sealpost(["check", "--json"], { cwd, env: { SEALPOST_CONFIG: "sealpost.yaml" } })).toEqual({
    code: 0,
    stdout: "[]\n",
    stderr: "",
  });
});

test("check names all faults on stdout and exits with 78", async () => {
  const cwd = written({ "sealpost.yaml": FAULTY });
  const env = { SEALPOST_LOG_LEVEL: "loud" };
  expect(await sealpost(["check", "--config", "sealpost.yaml"], { cwd, env })).toEqual({
    code: 78,
    stdout: [
      "sealpost.yaml:2:9: upstream.host: host without scheme; write `ldap.example.com` and set tls",
      "sealpost.yaml:3:3: upstream.prot: unknown setting; did you mean port?",
      'sealpost.yaml:4:17: retry.first: must be a duration such as 30s, 5m, 2h or 7d, not "soon"',
      'SEALPOST_LOG_LEVEL: log.level: must be debug | info | warn | error, not "loud"',
      "",
    ].join("\n"),
    stderr: "",
  });
});

test("check --json gives the faults as one document", async () => {
  const cwd = written({ "sealpost.yaml": "upstream:\n  host: a.example\n  prot: 25\n" });
  const ended = await sealpost(["check", "--json", "--config", "sealpost.yaml"], { cwd, env: { SEALPOST_NONE: "1" } });
  expect(ended).toMatchObject({ code: 78, stderr: "" });
  expect(JSON.parse(ended.stdout)).toEqual([
    {
      file: "sealpost.yaml",
      line: 3,
      column: 3,
      variable: null,
      path: "upstream.prot",
      message: "unknown setting; did you mean port?",
    },
    {
      file: null,
      line: null,
      column: null,
      variable: "SEALPOST_NONE",
      path: "",
      message: "no setting has this name",
    },
  ]);
});

test("a configuration that is not there is one fault, exit 78", async () => {
  const cwd = written({});
  const ended = await sealpost(["check"], { cwd });
  expect(ended.code).toBe(78);
  expect(ended.stdout).toMatch(
    /^config\/sealpost\.yaml:1:1: cannot read \S+: there is no such file; name the configuration with [^\n]*\n$/,
  );
});

test("config print shows what is in force, no secret, and can be used as a configuration", async () => {
  const cwd = written({ pass: "CANARY\n" });
  const yaml =
    "upstream: { host: a.example, user: jira, passwordFile: pass }\nencryption: { rules: [{ project: SEC, hold: 36h }] }\n";
  writeFileSync(join(cwd, "sealpost.yaml"), yaml);
  const env = { SEALPOST_UPSTREAM_PORT: "587", SEALPOST_CONFIG: "sealpost.yaml" };
  const print = await sealpost(["config", "print"], { cwd, env });
  expect(print).toMatchObject({ code: 0, stderr: "" });
  expect(print.stdout).not.toContain("CANARY");
  expect(print.stdout).toContain(`passwordFile: ${join(cwd, "pass")} # [secret]\n`);
  const json = await sealpost(["config", "print", "--json"], { cwd, env });
  expect(json.stdout).not.toContain("CANARY");
  expect(JSON.parse(json.stdout)).toMatchObject({
    upstream: { host: "a.example", port: 587, passwordFile: join(cwd, "pass") },
    encryption: { fallback: "report", rules: [{ project: "SEC", hold: "36h" }] },
  });
  expect(parse(print.stdout)).toEqual(JSON.parse(json.stdout));

  writeFileSync(join(cwd, "again.yaml"), print.stdout);
  expect((await sealpost(["config", "print", "--config", "again.yaml"], { cwd })).stdout).toBe(print.stdout);
});

test("a secret file that everybody can read stops every command that needs the configuration", async () => {
  const cwd = written({ pass: "CANARY\n" });
  chmodSync(join(cwd, "pass"), 0o644);
  writeFileSync(join(cwd, "sealpost.yaml"), "upstream: { host: a.example, user: jira, passwordFile: pass }\n");
  const ended = await sealpost(["config", "print", "--config", "sealpost.yaml"], { cwd });
  expect(ended).toMatchObject({ code: 78, stdout: "" });
  expect(ended.stderr).toMatch(
    /^sealpost\.yaml:1:56: upstream\.passwordFile: \S+ may be used by others than its owner \(mode 0644\)/,
  );
});

test("config schema is one JSON document that names every section", async () => {
  const ended = await sealpost(["config", "schema"], { cwd: written({}) });
  expect(ended).toMatchObject({ code: 0, stderr: "" });
  const schema = JSON.parse(ended.stdout) as { properties: Record<string, unknown> };
  expect(Object.keys(schema.properties)).toContain("upstream");
  expect(JSON.stringify(schema)).not.toContain("/sealpost-config-");
});
