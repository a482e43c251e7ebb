// Load at the door that is meant to hurt: parts without end, dot-stuffed lines without end, idle and passing connections.
import { describe, expect, onTestFinished, test } from "vitest";
import { expectArrived, readSmime } from "./arrived.ts";
import { deliver, inboundStage } from "./inbound-stage.ts";
import { floodOfDots, idleConnections, passingConnections } from "./floods.ts";
import { issueMail, JiraSession, sendMail } from "./jira.ts";
import { mimeBombs } from "./mime-bombs.ts";
import { KEY_STORES, stage } from "./stage.ts";

const ALICE = "alice@example.com";
const ONE_MINUTE_MS = 60_000;

describe("FD-32: a bomb of MIME parts", () => {
  test("is opaque octets on its way out: encrypted whole, and others' mail goes on", async () => {
    const { relay, upstream } = await stage(KEY_STORES);
    for (const [what, bomb] of mimeBombs()) {
      expect(await sendMail(relay.port, { to: [ALICE], message: bomb }), what).toMatch(/^250 /);
      expect(await sendMail(relay.port, { to: [ALICE], message: issueMail("2") }), what).toMatch(/^250 /);
    }
    await expectArrived(
      upstream,
      Array.from({ length: 6 }, () => `${ALICE} smime`),
    );
    const sizes = [...mimeBombs().values()].map(({ length }) => length);
    const bombs = upstream.transactions.filter(({ data }) => data.length > 100_000);
    expect(bombs).toHaveLength(sizes.length);
    for (const { data } of bombs) {
      const inner = await readSmime(data, "alice");
      expect(sizes.some((size) => Math.abs(size - inner.length) < 1_000)).toBe(true);
    }
  });

  test("is passed on byte for byte on its way in, and teaches nothing", async () => {
    const { relay, nextHop } = await inboundStage();
    for (const [what, bomb] of mimeBombs()) expect(await deliver(relay, bomb), what).toMatch(/^250 /);
    await nextHop.waitFor(3, ONE_MINUTE_MS);
    const bombs = [...mimeBombs().values()];
    for (const { data } of nextHop.transactions)
      expect(bombs.some((bomb) => data.subarray(-bomb.length).equals(bomb))).toBe(true);
    expect(relay.events.filter(({ event }) => event === "service.fault" || event === "harvest.learned")).toEqual([]);
  });
});

test("FD-34, FD-36: floods of dot-stuffed lines, of idle and of passing connections let ordinary mail through", async () => {
  const { relay, upstream } = await stage(KEY_STORES);
  const over = new AbortController();
  onTestFinished(() => over.abort());
  const flooded = Array.from({ length: 4 }, () => floodOfDots(relay.port, over.signal));
  const idle = idleConnections(relay.port, 190, "127.0.0.3");
  const passed = passingConnections(relay.port, 2_000, over.signal);
  const session = await JiraSession.open(relay.port);
  for (let mail = 0; mail < 20; mail++)
    expect(await session.send({ to: [ALICE], message: issueMail(String(mail)) })).toMatch(/^250 /);
  await upstream.until(() => upstream.transactions.length >= 20, ONE_MINUTE_MS);
  over.abort();
  await session.quit();
  for (const socket of idle) socket.destroy();
  await Promise.all(flooded);
  expect(await passed).toBeGreaterThan(100);
  expect(upstream.transactions.every(({ rcptTo }) => rcptTo[0] === ALICE)).toBe(true);
});
