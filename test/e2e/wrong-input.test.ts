// What is wrong is said in one clear sentence that names the setting; nothing is lost, and a running relay goes on.
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { SEALPOST } from "../cli/child.ts";
import type { Relay } from "../relay.ts";
import { expectArrived } from "./arrived.ts";
import { issueMail, JiraSession, sendMail } from "./jira.ts";
import { KEY_STORES, queueStates, stage } from "./stage.ts";

const [ALICE, NOBODY] = ["alice@example.com", "nobody@example.com"];

/** `sealpost serve` that is expected to end by itself. */
function serve(configFile: string) {
  const ended = spawnSync(process.execPath, [SEALPOST, "serve", "--config", configFile], {
    encoding: "utf8",
    timeout: 20_000,
  });
  return { code: ended.status, stdout: ended.stdout, stderr: ended.stderr };
}

function rewrite(relay: Relay, change: (yaml: string) => string): void {
  writeFileSync(relay.configFile, change(readFileSync(relay.configFile, "utf8")));
}

/** One line, no stack, the setting's name in it. */
function expectOneSentence(text: string, setting: string): void {
  const lines = text.trim().split("\n");
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain(setting);
  expect(lines[0]).not.toMatch(/\bat .*:\d+:\d+\)/);
}

/** A stopped relay with one message in its queue, so that "nothing lost" means something. */
async function stoppedWithMail(extra = "log: { level: info }") {
  const { relay, upstream } = await stage(`encryption: { fallback: block }\n${extra}`);
  await sendMail(relay.port, { to: [NOBODY], message: issueMail("1", { to: NOBODY }) });
  await relay.event(({ event }) => event === "delivery.held");
  expect(await relay.stop()).toBe(0);
  return { relay, upstream };
}

describe("serve does not start", () => {
  const secretFaults: readonly [string, (file: string) => void][] = [
    ["open to others", (file) => chmodSync(file, 0o644)],
    ["not a key", (file) => writeFileSync(file, "hello\n", { mode: 0o600 })],
    ["another key", (file) => writeFileSync(file, `${Buffer.alloc(32, 7).toString("base64")}\n`)],
  ];
  test.each(secretFaults)("with a secret key that is %s; with the right one nothing is lost", async (_, spoil) => {
    const { relay } = await stoppedWithMail();
    const file = join(relay.folder, "secret.key");
    const good = readFileSync(file);
    spoil(file);
    const { code, stderr } = serve(relay.configFile);
    expect(code).toBe(1);
    expectOneSentence(stderr, "secretKeyFile");
    writeFileSync(file, good);
    chmodSync(file, 0o600);
    await relay.start();
    expect(await queueStates(relay)).toEqual([`${NOBODY} held`]);
  });

  test("with its secret key gone, and it makes no new one", async () => {
    const { relay } = await stoppedWithMail();
    const moved = spawnSync("mv", [join(relay.folder, "secret.key"), join(relay.folder, "kept.key")]);
    expect(moved.status).toBe(0);
    const { code, stderr } = serve(relay.configFile);
    expect(code).toBe(1);
    expectOneSentence(stderr, "secretKeyFile");
    expect(spawnSync("ls", [join(relay.folder, "secret.key")]).status).not.toBe(0);
  });

  test("with a password file that cannot be read: exit 78, file, line and setting", async () => {
    const { relay } = await stoppedWithMail();
    rewrite(relay, (yaml) => yaml.replace("tls: off }", "tls: required, user: jira, passwordFile: nowhere.txt }"));
    const { code, stderr } = serve(relay.configFile);
    expect(code).toBe(78);
    expectOneSentence(stderr, "upstream.passwordFile");
    expect(stderr).toMatch(/sealpost\.yaml:\d+:\d+: /);
  });

  test.each(["outbound", "web", "metrics"])("with the port of %s taken", async (section) => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    onTestFinished(() => void taken.close());
    const { port } = taken.address() as AddressInfo;
    const { relay } = await stoppedWithMail();
    rewrite(relay, (yaml) =>
      yaml.replace(new RegExp(`^${section}:.*$`, "m"), `${section}: { listen: 127.0.0.1:${port} }`),
    );
    const { code, stdout, stderr } = serve(relay.configFile);
    expect(code).toBe(1);
    expectOneSentence(stderr, `${section}.listen`);
    expect(stderr).toContain(`127.0.0.1:${port}`);
    expect(stdout).not.toContain("service.started");
  });

  test("a second time on one data folder, and the first goes on", async () => {
    const { relay, upstream } = await stage(`${KEY_STORES}\nlog: { level: info }`);
    const { code, stderr } = serve(relay.configFile);
    expect(code).toBe(1);
    expectOneSentence(stderr, "dataDir");
    await sendMail(relay.port, { to: [ALICE], message: issueMail("1") });
    await expectArrived(upstream, [`${ALICE} smime`]);
  });

  test("with a setting it does not know: exit 78, and the nearest one is named", async () => {
    const { relay } = await stoppedWithMail();
    rewrite(relay, (yaml) => yaml.replace("fallback: block", "fallbck: block"));
    const { code, stderr } = serve(relay.configFile);
    expect(code).toBe(78);
    expectOneSentence(stderr, "encryption.fallbck");
    expect(stderr).toContain("fallback");
  });
});

describe("what a client does wrong", () => {
  test("an unknown command gets 500, and the session goes on", async () => {
    const { relay, upstream } = await stage(KEY_STORES);
    const session = await JiraSession.open(relay.port);
    expect(await session.command("XYZZY now")).toMatch(/^500 5\.5\.[12] /);
    expect(await session.send({ to: [ALICE], message: issueMail("1") })).toMatch(/^250 /);
    await session.quit();
    await expectArrived(upstream, [`${ALICE} smime`]);
  });

  test("a message over the limit gets 552 5.3.4, nothing of it is kept, and the next one is taken", async () => {
    const { relay, upstream } = await stage(`${KEY_STORES}\noutbound: { listen: 127.0.0.1:0, maxMessageSize: 300KiB }`);
    const session = await JiraSession.open(relay.port);
    const long = issueMail("1", { text: `${"x".repeat(76)}\r\n`.repeat(5_000) });
    expect(await session.send({ to: [ALICE], message: long })).toMatch(/^552 5\.3\.4 /);
    expect(await session.command("MAIL FROM:<jira@example.com> SIZE=400000")).toMatch(/^552 5\.3\.4 /);
    expect(await session.send({ to: [ALICE], message: issueMail("2") })).toMatch(/^250 /);
    await session.quit();
    await expectArrived(upstream, [`${ALICE} smime`]);
    expect(await queueStates(relay)).toEqual([`${ALICE} delivered`]);
    const refused = await relay.event(({ event }) => event === "message.refused");
    expect(refused).toMatchObject({ reason: "size", code: 552 });
  });
});

describe("SIGHUP", () => {
  const hangUp = async (relay: Relay, event: string) => {
    const before = relay.events.length;
    relay.process.kill("SIGHUP");
    return relay.event((one) => one.event === event && relay.events.indexOf(one) >= before);
  };

  test("a wrong configuration is refused with its fault, the old one stays, and sessions go on", async () => {
    const { relay, upstream } = await stage(KEY_STORES);
    const session = await JiraSession.open(relay.port);
    const good = readFileSync(relay.configFile, "utf8");
    for (const [wrong, said] of [
      [good.replace("tls: off", "tls: sometimes"), "upstream.tls"],
      [`${good}encryption: [`, "sealpost.yaml:"],
      [good.replace("dataDir: data", "dataDir: elsewhere"), "dataDir"],
    ] as const) {
      writeFileSync(relay.configFile, wrong);
      const refused = await hangUp(relay, "config.refused");
      expect(JSON.stringify(refused["faults"])).toContain(said);
    }
    expect(await session.send({ to: [ALICE], message: issueMail("1") })).toMatch(/^250 /);
    expect(await sendMail(relay.port, { to: [ALICE], message: issueMail("2") })).toMatch(/^250 /);
    await session.quit();
    await expectArrived(upstream, [`${ALICE} smime`, `${ALICE} smime`]);
  });

  test("a taken port is refused, and the old listener takes mail again", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    onTestFinished(() => void taken.close());
    const { relay, upstream } = await stage(KEY_STORES);
    const { port } = taken.address() as AddressInfo;
    rewrite(relay, (yaml) => yaml.replace(/^outbound:.*$/m, `outbound: { listen: 127.0.0.1:${port} }`));
    const refused = await hangUp(relay, "config.refused");
    expect(JSON.stringify(refused["faults"])).toContain("outbound.listen");
    expect(await sendMail(relay.port, { to: [ALICE], message: issueMail("1") })).toMatch(/^250 /);
    await expectArrived(upstream, [`${ALICE} smime`]);
  });

  test("a right configuration is used, and a transaction that is open meanwhile is finished", async () => {
    const { relay, upstream } = await stage(`${KEY_STORES}\nencryption:\n  fallback: allow\n  hold: 0`);
    const session = await JiraSession.open(relay.port);
    await session.command("MAIL FROM:<jira@example.com>");
    await session.command(`RCPT TO:<${ALICE}>`);
    expect(await session.command("DATA")).toMatch(/^354 /);
    rewrite(relay, (yaml) => yaml.replace("fallback: allow", "fallback: block"));
    rewrite(relay, (yaml) => yaml.replace(/^outbound:.*$/m, "outbound: { listen: 127.0.0.1:0, maxMessageSize: 7MiB }"));
    await hangUp(relay, "config.reloaded");
    session.socket.write(Buffer.concat([issueMail("1"), Buffer.from(".\r\n")]));
    expect(await session.reply()).toMatch(/^250 /);
    await session.quit();
    const next = await JiraSession.open(relay.port);
    expect(await next.command("EHLO jira.example.com")).toContain(`SIZE ${7 * 1024 * 1024}`);
    expect(await next.send({ to: [NOBODY], message: issueMail("2", { to: NOBODY }) })).toMatch(/^250 /);
    await next.quit();
    await expectArrived(upstream, [`${ALICE} smime`, "jira@example.com notice"]);
  });

  test("ten reloads under load turn no connection and no mail away", async () => {
    const { relay, upstream } = await stage(KEY_STORES);
    const replies: string[] = [];
    const stop = new AbortController();
    const sender = async () => {
      while (!stop.signal.aborted)
        replies.push(await sendMail(relay.port, { to: [ALICE], message: issueMail("1") }).catch(String));
    };
    const load = Promise.all([sender(), sender(), sender()]);
    for (let reload = 1; reload <= 10; reload++) {
      await hangUp(relay, "config.reloaded");
      // mail goes on between one reload and the next
      await expect.poll(() => replies.length, { timeout: 10_000, interval: 5 }).toBeGreaterThanOrEqual(reload);
    }
    stop.abort();
    await load;
    expect(replies.filter((reply) => !reply.startsWith("250"))).toEqual([]);
    await expectArrived(
      upstream,
      replies.map(() => `${ALICE} smime`),
    );
  });
});

describe("SIGTERM", () => {
  test("under load: what was acknowledged is delivered now or after the next start, exit 0", async () => {
    const { relay, upstream } = await stage(`${KEY_STORES}\nlog: { level: info }`);
    const acknowledged = new Set<string>();
    const sender = async (name: string) => {
      const session = await JiraSession.open(relay.port);
      try {
        for (let number = 1; ; number++) {
          const reply = await session.send({ to: [ALICE], message: issueMail(`${name}.${number}`) });
          if (!reply.startsWith("250")) return reply;
          acknowledged.add(`${name}.${number}`);
        }
      } catch {
        return "closed";
      } finally {
        session.socket.destroy();
      }
    };
    const load = Promise.all(["a", "b", "c", "d"].map(sender));
    await upstream.waitFor(20);
    const code = await relay.stop();
    for (const ending of await load) expect(ending).toMatch(/^421 |^closed$/);
    expect(code).toBe(0);
    expect(relay.events.at(-1)).toMatchObject({ event: "service.stopped" });
    await relay.start();
    const arrived = () =>
      upstream.transactions.map(
        ({ data }) => /JIRA\.10042\.(.*)@/.exec(data.toString("latin1").slice(data.indexOf("Message-ID")))?.[1] ?? "",
      );
    await upstream.until(() => new Set(arrived()).size >= acknowledged.size);
    expect([...acknowledged].filter((id) => !arrived().includes(id))).toEqual([]);
    // an orderly end sends nothing twice
    expect(arrived().length).toBe(new Set(arrived()).size);
  });
});
