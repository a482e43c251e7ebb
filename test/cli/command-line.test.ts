// The command line as a whole: exit codes, one sentence on stderr, old Nodes, readers that go away.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test, vi } from "vitest";
import { runNode, SEALPOST, sealpost } from "./child.ts";
import { folder, SMALLEST, written } from "../config/reading.ts";
import { startRelay } from "../relay.ts";

test("an unknown command or option is wrong usage: exit 2, one sentence, nothing on stdout", async () => {
  expect(await sealpost(["chekc"])).toEqual({
    code: 2,
    stdout: "",
    stderr: "sealpost: unknown command 'chekc' (Did you mean check?)\n",
  });
  expect(await sealpost(["check", "--nope"])).toEqual({
    code: 2,
    stdout: "",
    stderr: "sealpost: unknown option '--nope'\n",
  });
  expect(await sealpost(["check", "--config"])).toMatchObject({ code: 2, stdout: "" });
  expect(await sealpost(["check", "surplus"])).toMatchObject({ code: 2, stdout: "" });
});

test("no command at all is wrong usage and shows the commands; asked for, help is an answer", async () => {
  const bare = await sealpost([]);
  expect(bare).toMatchObject({ code: 2, stdout: "" });
  expect(bare.stderr).toContain("healthcheck");
  const help = await sealpost(["--help"]);
  expect(help).toMatchObject({ code: 0, stderr: "" });
  expect(help.stdout).toContain("healthcheck");
});

test("a command that needs the configuration names its faults on stderr and exits with 78", async () => {
  const path = written({ "sealpost.yaml": "upstream: {}\n" });
  expect(await sealpost(["config", "print", "--config", "sealpost.yaml"], { cwd: path })).toEqual({
    code: 78,
    stdout: "",
    stderr: "sealpost.yaml:1:1: upstream.host: missing, and it has no default\n",
  });
});

test("what Node makes of the source is kept beside the dependencies, and nowhere else", () => {
  const kept = fileURLToPath(new URL("../../node_modules/.cache/sealpost", import.meta.url));
  rmSync(kept, { recursive: true, force: true });
  const temporary = mkdtempSync(join(tmpdir(), "sealpost-cli-"));
  onTestFinished(() => rmSync(temporary, { recursive: true }));
  const env = { ...process.env, NODE_COMPILE_CACHE: undefined, TMPDIR: temporary };
  const { status } = spawnSync(process.execPath, [SEALPOST, "version"], { env });
  expect(status).toBe(0);
  expect(readdirSync(kept, { recursive: true }).length).toBeGreaterThan(100);
  expect(readdirSync(temporary)).toEqual([]);
});

test("serve begins once more with a bound for new objects: the same process, with the same arguments", () => {
  const tell = "--import=data:text/javascript,console.error(process.pid,process.execArgv.at(0))";
  const started = (command: string, options = "") => {
    const { stderr, status } = spawnSync(process.execPath, [tell, SEALPOST, command, "--config", "missing.yaml"], {
      env: { ...process.env, NODE_OPTIONS: options },
    });
    expect(status).toBe(78);
    return stderr
      .toString()
      .split("\n")
      .filter((line) => /^\d+ --/.test(line));
  };
  const [first = "", second, ...more] = started("serve");
  expect(second).toBe(first.replace(tell, "--max-semi-space-size=8"));
  expect(second).not.toBe(first);
  expect(more).toEqual([]);
  expect(started("check")).toHaveLength(1);
  expect(started("serve", "--max-semi-space-size=16")).toHaveLength(1);
});

test("this Node knows every flag of V8 that is set at run time, where an unknown one would pass unseen", () => {
  const sources = ["bin/runtime.js", "src/cli/serve.ts"].map((name) =>
    readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), "utf8"),
  );
  const flags = sources.flatMap((text) => [...text.matchAll(/"(--[a-z-]+(?:=\d+)?)"/g)].map(([, flag = ""]) => flag));
  expect(flags).toContain("--incremental-marking-soft-trigger=50");
  expect(flags).toContain("--no-parallel-scavenge");
  const known = flags.filter((flag) => flag !== "--max-semi-space-size");
  const { status, stderr } = spawnSync(process.execPath, [...known, "--eval", ""], { encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
});

test("what Node makes of the source is kept also when the relay is killed", async () => {
  const kept = mkdtempSync(join(tmpdir(), "sealpost-cli-"));
  onTestFinished(() => rmSync(kept, { recursive: true }));
  const relay = await startRelay(
    "upstream: { host: 127.0.0.1, port: 9, tls: off }",
    {},
    { env: { NODE_COMPILE_CACHE: kept } },
  );
  onTestFinished(() => relay.remove());
  await vi.waitFor(() => expect(readdirSync(kept, { recursive: true }).length).toBeGreaterThan(200), 5_000);
  await relay.kill();
});

test("version names the version of package.json and the Node, also as JSON", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  expect(await sealpost(["version"])).toEqual({
    code: 0,
    stdout: `sealpost ${version} on Node ${process.version}\n`,
    stderr: "",
  });
  expect(JSON.parse((await sealpost(["version", "--json"])).stdout)).toEqual({ version, node: process.version });
});

test("a Node older than 26 is told in one sentence what to do", async () => {
  for (const version of ["v20.20.2", "v6.17.1", "v25.9.0"]) {
    const pretend = `data:text/javascript,Object.defineProperty(process,"version",{value:"${version}"})`;
    expect(await runNode(["--import", pretend, SEALPOST, "version"])).toEqual({
      code: 1,
      stdout: "",
      stderr: `sealpost: Node 26 or newer is needed, this is ${version}: run it as \`npx sealpost\`, or with node_modules/.bin/node, which npm ci has installed\n`,
    });
  }
});

test("bin/sealpost.js holds no word that a Node of 2016 cannot read", () => {
  const code = readFileSync(SEALPOST, "utf8")
    .replace(/^\s*\/\/.*$/gm, "")
    .replace(/"[^"\n]*"/g, '""');
  expect(code).toContain("eval(load)");
  expect(code.match(/\b(?:import|export|const|let|class|async|await|require)\b|=>|`|\?\.|\?\?|\.\.\./g)).toBeNull();
});

test("a fault of the start is one sentence too, and says what is missing", async () => {
  const path = folder();
  writeFileSync(join(path, "package.json"), '{"type":"module"}');
  writeFileSync(join(path, "main.js"), readFileSync(SEALPOST));
  const ended = await runNode([join(path, "main.js"), "version"]);
  expect(ended).toMatchObject({ code: 1, stdout: "" });
  expect(ended.stderr).toMatch(/^sealpost: cannot start: Cannot find module [^\n]*; run npm ci\n$/);
});

test("a reader that goes away ends the command quietly", async () => {
  const path = written({ "sealpost.yaml": SMALLEST });
  const child = spawn(process.execPath, [SEALPOST, "config", "schema", "--config", join(path, "sealpost.yaml")], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  child.stdout.destroy();
  const code = await new Promise((resolve) => child.on("close", resolve));
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});
