// While something fails and mail waits: the canaries are nowhere, not in what is left of a killed process either.
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { keyStoreLog } from "../../src/sources/key-store-log.ts";
import { openLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { makeAuthority } from "../authority.ts";
import { fixtureBytes } from "../fixtures.ts";
import { freePort } from "../free-port.ts";
import { startRelay, type Event } from "../relay.ts";
import { startUpstream, DROP } from "../upstream.ts";
import type { UpstreamOptions } from "../upstream-script.ts";
import { canaryMail, expectNoCanary } from "./canary.ts";
import { sendMail } from "./jira.ts";

// a machine that is busy with others
vi.setConfig({ testTimeout: 180_000 });

const [ALICE, NOBODY] = ["alice@example.com", "nobody@example.com"];
const ENCRYPTED = "encryption: { subject: hide }\nsmime: { keyStore: { file: alice.pem } }";

type Fault = {
  readonly title: string;
  readonly tls?: string;
  readonly upstream?: () => Promise<UpstreamOptions>;
  /** Beside the upstream; without it alice has a certificate and nobody has none. */
  readonly yaml?: () => Promise<string>;
  readonly shows: (event: Event) => boolean;
};

const deferred = ({ event }: Event) => event === "delivery.deferred";
const down = ({ event }: Event) => event === "upstream.down";

const FAULTS: readonly Fault[] = [
  {
    title: "CONF-02: a directory is down, and the fallback would be clear text",
    yaml: async () =>
      `encryption: { fallback: allow, subject: hide }\nsmime: { ldap: { host: 127.0.0.1, port: ${await freePort()}, tls: off, baseDn: "dc=example" } }`,
    shows: deferred,
  },
  {
    title: "CONF-35: a key store is half written, and the fallback would be clear text",
    yaml: () =>
      Promise.resolve("encryption: { fallback: allow, subject: hide }\nsmime: { keyStore: { file: half.p7b } }"),
    shows: deferred,
  },
  {
    title: "CONF-23: the upstream offers no STARTTLS",
    tls: "required",
    shows: down,
  },
  {
    title: "CONF-24: the upstream has a certificate of nobody that is trusted",
    tls: "required",
    upstream: async () => ({ certificate: await (await makeAuthority()).issue(["DNS:localhost", "IP:127.0.0.1"]) }),
    shows: down,
  },
  {
    title: "CONF-19: the upstream refuses each message with a text that goes on for long",
    upstream: () =>
      Promise.resolve({
        reply: ({ verb }) =>
          verb === "DOT" ? `554-5.7.1 ${"no ".repeat(300)}\r\n554 5.7.1 \x1b[31mreally not\x07` : undefined,
      }),
    shows: ({ event }) => event === "dsn.sent",
  },
  {
    title: "the upstream breaks off at the final dot",
    upstream: () => Promise.resolve({ reply: ({ verb }) => (verb === "DOT" ? DROP : undefined) }),
    shows: deferred,
  },
];

describe("the canaries while", () => {
  test.each(FAULTS)("$title", async ({ tls = "off", upstream: options, yaml, shows }) => {
    const to = yaml === undefined ? [ALICE, NOBODY] : [ALICE];
    const upstream = await startUpstream(await options?.());
    onTestFinished(() => upstream.close());
    const store = fixtureBytes("smime/bundles/all.p7b");
    const relay = await startRelay(
      `upstream: { host: 127.0.0.1, port: ${upstream.port}, tls: ${tls} }\n${(await yaml?.()) ?? ENCRYPTED}`,
      { "alice.pem": fixtureBytes("smime/certs/alice.pem"), "half.p7b": store.subarray(0, store.length / 2) },
    );
    onTestFinished(() => relay.remove());
    for (const [id, sizeBytes] of [0, 300_000].entries())
      expect(await sendMail(relay.port, { to, message: canaryMail(String(id), to.join(", "), sizeBytes) })).toMatch(
        /^250 /,
      );
    await relay.event(shows);
    await relay.kill();
    await expectNoCanary(relay, [upstream]);
    const replies = relay.events.flatMap(({ reply }) => (typeof reply === "string" ? [reply] : []));
    expect(replies.filter((reply) => reply.length > 600 || /\p{Cc}/u.test(reply))).toEqual([]);
  });
});

test.each(["full", "hashed"] as const)(
  "CONF-20: aliases in a key store are told only with log.addresses full: %s",
  (addresses) => {
    const lines: string[] = [];
    const log = openLog({ level: "info", addresses }, { write: (line) => void lines.push(line) });
    const faults = [{ entry: "alias Ann Meier", reason: "damaged" }];
    keyStoreLog(log, createMetrics("1")).loaded("people.ks", "smime", "BKS", 3, faults, []);
    expect(lines.join("")).toContain('"faults":1');
    expect(lines.join("").includes("Ann Meier")).toBe(addresses === "full");
  },
);
