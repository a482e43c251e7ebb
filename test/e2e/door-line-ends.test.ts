// The smuggling probe on both sides of a whole relay, and what line ends and long lines become on their way out in clear.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { freePort } from "../free-port.ts";
import { startRelay } from "../relay.ts";
import { expectArrived, readSmime } from "./arrived.ts";
import { issueMail, JiraSession, sendMail } from "./jira.ts";
import { KEY_STORES, stage } from "./stage.ts";

const run = promisify(execFile);
const NOBODY = "nobody@example.com";
const CLEAR = "encryption: { fallback: allow }";
const normalizing = `outbound: { listen: 127.0.0.1:0, lineEndings: normalize }\n${CLEAR}`;

describe.each(["strict", "normalize"] as const)("lineEndings %s", (lineEndings) => {
  test("SMUG-01 to SMUG-10: nothing is smuggled in, and what leaves in clear has no line end but CRLF and no end of data within", async () => {
    const sinkPort = await freePort();
    const relay = await startRelay(
      [
        `upstream: { host: 127.0.0.1, port: ${sinkPort}, tls: off }`,
        `outbound: { listen: 127.0.0.1:0, lineEndings: ${lineEndings} }`,
        // the probe becomes the upstream only after the relay has started
        `${CLEAR}\nretry: { first: 1s, factor: 1, max: 1s }`,
      ].join("\n"),
    );
    onTestFinished(() => relay.remove());
    const probe = fileURLToPath(new URL("../../../shared/probes/smuggle.mjs", import.meta.url));
    const options = ["127.0.0.1", String(relay.port), "--sink", String(sinkPort), "--wait", "60"];
    const { stdout } = await run(process.execPath, [probe, ...options], { maxBuffer: 1 << 24 });
    expect(stdout).toMatch(/\n\d{2,} probes, 0 bad\n/);
    // something did arrive to be looked at
    expect(stdout).toMatch(/up=clean/);
  }, 180_000);
});

/** A thousand bare LF, and an end of data for a server that takes them for line ends. */
const BARE = Buffer.from(
  issueMail("1", { to: NOBODY }).toString() +
    `${"line\n".repeat(1_000)}\n.\nMAIL FROM:<smuggled@evil.test>\nRCPT TO:<v@evil.test>\nDATA\nx\n.\n\r\n`,
);

test("SMUG-15: clear mail with bare LF is refused at the door, or leaves with CRLF only and dots doubled", async () => {
  const strict = await stage(CLEAR, {});
  expect(await sendMail(strict.relay.port, { to: [NOBODY], message: BARE })).toBe(
    "554 5.6.0 bare LF in the message (lineEndings: strict)",
  );
  const mending = await stage(normalizing, {});
  expect(await sendMail(mending.relay.port, { to: [NOBODY], message: BARE })).toMatch(/^250 /);
  await expectArrived(mending.upstream, [`${NOBODY} clear`]);
  const wire = mending.upstream.received().toString("latin1");
  expect(wire).not.toMatch(/(?<!\r)\n|\r(?!\n)/);
  expect(wire.match(/\r\n\.\r\n/g)).toHaveLength(1);
  expect(wire).toContain("\r\n..\r\nMAIL FROM:<smuggled@evil.test>\r\n");
  expect(mending.upstream.commands.filter(({ line }) => line.includes("evil.test"))).toEqual([]);
  expect(strict.upstream.transactions).toEqual([]);
});

test("SMUG-16: a line of 5,000 octets is whole inside a ciphertext, outside none has more than 998; clear mail keeps its lines", async () => {
  const [alice, long] = ["alice@example.com", "x".repeat(5_000)];
  const { relay, upstream } = await stage(`${KEY_STORES}\n${CLEAR}`);
  const fields = {
    "X-Long": long,
    References: Array.from({ length: 200 }, (_, id) => `<${id}.abc@example.com>`).join(" "),
  };
  for (const to of [alice, NOBODY])
    expect(
      await sendMail(relay.port, { to: [to], message: issueMail("1", { fields, text: `${long}\r\nend` }) }),
    ).toMatch(/^250 /);
  await expectArrived(upstream, [`${alice} smime`, `${NOBODY} clear`]);
  const longest = (text: string) => Math.max(...text.split("\r\n").map((line) => line.length));
  for (const { rcptTo, data } of upstream.transactions) {
    const text = data.toString("latin1");
    if (rcptTo[0] === NOBODY) expect(text).toContain(`\r\n\r\n${long}\r\nend\r\n`);
    else {
      expect(longest(text)).toBeLessThanOrEqual(998);
      expect(await readSmime(data, "alice")).toContain(`\r\n\r\n${long}\r\nend\r\n`);
    }
  }
});

test("SMUG-19: nothing of a message refused for its line ends is in the next one, on a new connection or the same", async () => {
  const { relay, upstream } = await stage(CLEAR, {});
  const session = await JiraSession.open(relay.port);
  const bad = Buffer.from(issueMail("1", { text: "CANARY\nbare" }).toString());
  expect(await session.send({ to: ["other@example.com"], message: bad })).toMatch(/^554 5\.6\.0 /);
  await expect(session.command("NOOP")).rejects.toThrow("closed");
  const again = await JiraSession.open(relay.port);
  const large = {
    to: ["other@example.com"],
    message: issueMail("2", { fields: { "X-Many": "x\r\nY: y".repeat(1_001) } }),
  };
  expect(await again.send(large)).toMatch(/^554 5\.6\.0 /);
  expect(await again.send({ to: [NOBODY], message: issueMail("3", { to: NOBODY }) })).toMatch(/^250 /);
  await again.quit();
  await expectArrived(upstream, [`${NOBODY} clear`]);
  expect(upstream.received().toString("latin1")).not.toMatch(/CANARY|X-Many|other@/);
});
