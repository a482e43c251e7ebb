// What is told and left behind: log lines at every level, crashes, core files, metrics and health pages.
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { configurationOf, SMALLEST } from "../config/reading.ts";
import { EVENT_LEVELS, openLog, type LogEvent } from "../../src/log.ts";
import { fixtureBytes } from "../fixtures.ts";
import type { Relay } from "../relay.ts";
import { expectArrived } from "./arrived.ts";
import { CANARIES, canaryMail, expectNoCanary } from "./canary.ts";
import { hunt } from "./hunt.ts";
import { JiraSession, sendMail } from "./jira.ts";
import { preloaded } from "./preloaded.ts";
import { stage } from "./stage.ts";

// a machine that is busy with others
vi.setConfig({ testTimeout: 180_000 });

const [ALICE, NOBODY] = ["alice@example.com", "nobody@example.com"];
const ALICE_ONLY = { "alice.pem": fixtureBytes("smime/certs/alice.pem") };
const YAML = "encryption: { subject: hide }\nsmime: { keyStore: { file: alice.pem } }";
const PASSWORD = "Marabutwaage";

const base64 = (text: string) => Buffer.from(text).toString("base64");

describe("CONF-20: the log at debug", () => {
  const login = "outbound: { listen: 127.0.0.1:0, users: [{ name: jira, passwordFile: pass }] }";

  test("shows nothing of logins, right or wrong, of mail, whole or broken, and of what a server says of it but its reply", async () => {
    const { relay, upstream } = await stage(`${YAML}\n${login}`, {
      ...ALICE_ONLY,
      pass: PASSWORD,
    });
    const session = await JiraSession.open(relay.port);
    expect(await session.command(`AUTH PLAIN ${base64(`\0jira\0${PASSWORD}x`)}`)).toMatch(/^535 /);
    expect(await session.command("AUTH LOGIN")).toMatch(/^334 /);
    expect(await session.command(base64("jira"))).toMatch(/^334 /);
    expect(await session.command(base64(PASSWORD))).toMatch(/^235 /);
    for (const [id, message] of broken().entries())
      expect(await session.send({ to: [ALICE, NOBODY], message }), `mail ${id}`).toMatch(/^(?:250|55\d) /);
    upstream.behaviour.reply = ({ verb }) => (verb === "DOT" ? "554 5.7.1 refused" : undefined);
    expect(await session.send({ to: [ALICE], message: canaryMail("9", ALICE) })).toMatch(/^250 /);
    await session.quit();
    await relay.event(({ event }) => event === "delivery.failed");
    expect(relay.events.map(({ level }) => level)).toEqual(expect.arrayContaining(["debug", "info", "warn"]));
    expect(relay.output).toContain("auth.failed");
    expect(hunt({ log: Buffer.from(relay.output) }, [PASSWORD])).toEqual([]);
    // stopped: what it has left is looked through, without a command for each mail
    await relay.stop();
    await expectNoCanary(relay, [upstream]);
  });

  test.each(["hashed", "domain"])(
    "with log.addresses %s names nobody, not in a server's reply either",
    async (form) => {
      const { relay, upstream } = await stage(`${YAML}\nlog: { level: debug, addresses: ${form} }`, ALICE_ONLY);
      upstream.behaviour.reply = ({ verb }) =>
        verb === "RCPT" ? "550 5.1.1 <Alice@example.com>: no such user, ask root@EXAMPLE.com" : undefined;
      expect(await sendMail(relay.port, { to: [ALICE, NOBODY], message: canaryMail("1", ALICE) })).toMatch(/^250 /);
      const { reply } = await relay.event(({ event }) => event === "delivery.failed");
      await relay.event(({ event }) => event === "report.sent");
      expect(hunt({ log: Buffer.from(relay.output) }, ["alice@", "nobody@", "root@", "jira@example"])).toEqual([]);
      const { recipient } = await relay.event(({ event }) => event === "treatment.decided");
      // whoever is named in the reply can be told apart as ever
      expect(reply).toContain(`<${String(recipient)}>`);
    },
  );
});

test.each(["debug", "info", "warn", "error"] as const)(
  "CONF-20: no event at level %s writes what hangs on an error, and an event below it is not written",
  (level) => {
    const lines: string[] = [];
    const log = openLog({ level, addresses: "full" }, { write: (line) => void lines.push(line) });
    const words = CANARIES.join(" ");
    const cause = Object.assign(new Error("inner"), { words, octets: Buffer.from(words) });
    const fault = Object.assign(new Error("outer", { cause }), { words });
    const names = Object.keys(EVENT_LEVELS) as LogEvent[];
    for (const name of names) log.event(name, { fault });
    const levels = ["debug", "info", "warn", "error"];
    const isWritten = (name: LogEvent) => levels.indexOf(EVENT_LEVELS[name]) >= levels.indexOf(level);
    expect(lines.map((line) => (JSON.parse(line) as { event: string }).event)).toEqual(names.filter(isWritten));
    expect(lines[0]).toContain("outer: inner");
    expect(hunt({ log: Buffer.from(lines.join("")) }, CANARIES)).toEqual([]);
  },
);

/** Mails that no parser likes, each with the canaries. */
function broken(): Buffer[] {
  const change = (from: RegExp | string, to: string) =>
    Buffer.from(canaryMail("1", ALICE).toString("latin1").replace(from, to), "latin1");
  const words = CANARIES.join(" ");
  return [
    change("--b0undary--", ""),
    change('boundary="b0undary"', `boundary="${CANARIES[2]!}`),
    change("MIME-Version: 1.0", `MIME-Version: ${words}\r\nno field at all ${words}`),
    change(/Content-Transfer-Encoding: base64/, `Content-Transfer-Encoding: ${CANARIES[1]!}`),
    change(/^Subject: .*\r\n/m, `Subject: =?utf-8?B?${base64(words)}?= =?x?Q?=ZZ?=\r\n`),
    change(/^Content-Type: multipart.*\r\n/m, `Content-Type: application/pkcs7-mime; name="${words}"\r\n`),
    change(/^From: .*\r\n/m, ""),
  ];
}

/** A folder for the process to be in and one for its temporary files, and a mail in the middle of being sent. */
async function inTheMiddle(program: string, options: readonly string[] = []) {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-crash-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const [cwd, temporary] = [join(folder, "cwd"), join(folder, "tmp")];
  for (const path of [cwd, temporary]) mkdirSync(path);
  const { env } = preloaded(program, options);
  const { relay, upstream } = await stage(YAML, ALICE_ONLY, {
    ...{ cwd, env: { ...env, TMPDIR: temporary, CANARIES: CANARIES.join(" ") } },
  });
  // as the unit and the container are set up
  expect(spawnSync("prlimit", [`--pid=${relay.process.pid ?? 0}`, "--core=0:0"]).status).toBe(0);
  const middle = new Promise<void>((resolve) => {
    upstream.behaviour.duringData = () => {
      resolve();
      return "stall";
    };
  });
  await sendMail(relay.port, { to: [ALICE, NOBODY], message: canaryMail("1", ALICE, 2_000_000) });
  await middle;
  const exited = once(relay.process, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  const leftBehind = () => [cwd, temporary].flatMap((path) => readdirSync(path));
  return { relay, upstream, exited, leftBehind };
}

describe("a process that dies with mail in its memory", () => {
  const EAT = "process.on('SIGUSR2', () => { for (const all = [];;) all.push(new Array(1e6).fill(all.length)); });";
  test.each<[string, NodeJS.Signals, string, readonly string[]]>([
    ["of SIGABRT", "SIGABRT", "", []],
    ["of too small a heap", "SIGUSR2", EAT, ["--max-old-space-size=100"]],
  ])(
    "CONF-22: %s leaves no core, no report, no heap snapshot and no temporary file",
    async (_, signal, program, options) => {
      const { relay, upstream, exited, leftBehind } = await inTheMiddle(program, options);
      relay.process.kill(signal);
      expect((await exited)[1]).toBe("SIGABRT");
      expect(leftBehind()).toEqual([]);
      await expectNoCanary(relay, [upstream]);
    },
  );

  test("CONF-20: of a bug tells what and where, and nothing of what hangs on the error", async () => {
    const bug =
      "const words = process.env.CANARIES; process.on('SIGUSR2', () => {" +
      "  const cause = Object.assign(new Error('inner'), { words });" +
      "  throw Object.assign(new Error('outer', { cause }), { words, octets: Buffer.from(words) }); });";
    const { relay, upstream, exited, leftBehind } = await inTheMiddle(bug);
    relay.process.kill("SIGUSR2");
    expect((await exited)[0]).toBe(1);
    const fault = await relay.event(({ event }) => event === "service.fault");
    expect(fault["fault"]).toBe("outer: inner");
    expect(String((fault["places"] as string[])[0])).toMatch(/^at /);
    expect(leftBehind()).toEqual([]);
    await expectNoCanary(relay, [upstream]);
  });
});

describe("CONF-39: metrics and health pages", () => {
  const pages = (relay: Relay) => [
    `http://127.0.0.1:${relay.webPort}/readyz`,
    `http://127.0.0.1:${relay.webPort}/livez`,
    `http://127.0.0.1:${relay.metricsPort}/metrics`,
  ];

  test("name no address and nothing of any mail, and listen on the loopback alone", async () => {
    const { relay, upstream } = await stage(`${YAML}\npgp: { keyStore: { file: gone.asc } }`, ALICE_ONLY);
    upstream.behaviour.reply = ({ verb, line }) =>
      verb === "RCPT" && line.includes("quinn") ? "550 5.1.1 <quinn@example.com> unknown" : undefined;
    await sendMail(relay.port, { to: [ALICE, NOBODY], message: canaryMail("1", ALICE) });
    await expectArrived(upstream, [`${ALICE} smime`]);
    await relay.event(({ event }) => event === "source.down");
    const texts = await Promise.all(pages(relay).map(async (page) => (await fetch(page)).text()));
    expect(texts[2]).toContain('sealpost_recipients_total{treatment="smime"} 1');
    const words = [...CANARIES, "alice", "nobody", "example.com", "SEC-42"];
    expect(hunt(Object.fromEntries(texts.map((text, index) => [String(index), Buffer.from(text)])), words)).toEqual([]);

    const others = Object.values(networkInterfaces()).flatMap((own) => own ?? []);
    for (const { address } of others.filter(({ internal }) => !internal))
      for (const port of [relay.webPort, relay.metricsPort]) {
        const [refused] = (await once(connect(port, address), "error").catch((cause: unknown) => [cause])) as [
          NodeJS.ErrnoException,
        ];
        expect(refused.code).toMatch(/^(?:ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EINVAL|EADDRNOTAVAIL)$/);
      }
    const { settings } = configurationOf(SMALLEST);
    expect([settings.web.listen.host, settings.metrics.listen.host]).toEqual(["127.0.0.1", "127.0.0.1"]);
  });
});
