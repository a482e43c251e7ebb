// /livez, /readyz and /metrics answer as the contract says.
import { expect, test } from "vitest";
import { expectArrived } from "./arrived.ts";
import { issueMail, sendMail } from "./jira.ts";
import { KEY_STORES, stage } from "./stage.ts";

const METRICS = [
  ["messages_accepted_total", "messages_refused_total", "recipients_total", "deliveries_total"],
  ["delivery_duration_seconds", "encryption_duration_seconds", "lookups_total", "lookup_duration_seconds"],
  ["addresses_disclosed_total", "source_up", "queue_recipients", "queue_oldest_age_seconds", "harvested_keys_total"],
  ["personal_keys", "personal_keys_expiring", "connections", "auth_failures_total", "reports_total", "dsn_total"],
  ["build_info"],
].flat();

test("after one mail: live, ready with upstream and sources, every metric of the contract with its figures", async () => {
  const { relay, upstream } = await stage(KEY_STORES);
  const get = async (port: number, path: string) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`);
    return { status: answer.status, type: answer.headers.get("content-type") ?? "", text: await answer.text() };
  };
  expect(await get(relay.webPort, "/livez")).toMatchObject({ status: 200, text: '{"status":"ok"}' });
  const fresh = JSON.parse((await get(relay.webPort, "/readyz")).text) as unknown;
  expect(fresh).toMatchObject({
    isReady: true,
    store: { ok: true },
    listeners: { outbound: true },
    upstream: { ok: null },
  });

  await sendMail(relay.port, { to: ["alice@example.com"], message: issueMail("1") });
  await expectArrived(upstream, ["alice@example.com smime"]);
  await relay.event(({ event }) => event === "delivery.delivered");
  const ready = await get(relay.webPort, "/readyz");
  expect(ready.status).toBe(200);
  expect(JSON.parse(ready.text)).toMatchObject({
    upstream: { ok: true },
    sources: { "keystore (smime)": { ok: true } },
  });

  const metrics = await get(relay.metricsPort, "/metrics");
  expect(metrics.status).toBe(200);
  expect(metrics.type).toMatch(/^text\/plain/);
  const declared = [...metrics.text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name);
  expect(declared).toEqual(expect.arrayContaining(METRICS.map((name) => `sealpost_${name}`)));
  expect(declared).toContain("process_cpu_seconds_total");
  for (const line of [
    'sealpost_messages_accepted_total{listener="outbound"} 1',
    'sealpost_recipients_total{treatment="smime"} 1',
    'sealpost_deliveries_total{result="delivered"} 1',
    'sealpost_queue_recipients{state="queued"} 0',
    'sealpost_lookups_total{source="keystore",answer="found"} 1',
  ])
    expect(metrics.text).toContain(line);

  expect((await get(relay.webPort, "/nowhere")).status).toBe(404);
  expect((await get(relay.webPort, "/metrics")).status).toBe(404);
});
