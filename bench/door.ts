// The door under floods: how long one ordinary sender of 32 KiB mails waits for 250, alone and while others do their worst.
import { setTimeout as sleep } from "node:timers/promises";
import { fixtureBytes } from "../test/fixtures.ts";
import { JiraSession } from "../test/e2e/jira.ts";
import { mimeBombs } from "../test/e2e/mime-bombs.ts";
import { startRelay, type Relay } from "../test/relay.ts";
import { notification } from "./load/notification.ts";
import type { FloodFigures, FloodOptions } from "./load/flood.ts";
import { startFlood, startSink } from "./load/processes.ts";
import { median, print, type Figure, type Report } from "./report.ts";

const MAILS = 400;
const WARM_UP_MAILS = 100;
const RECIPIENT = "alice@example.com";

type Waits = { readonly median: number; readonly p99: number };

/** Waits for 250, in ms, of one mail after the other over one connection. */
async function waitsOf(relay: Relay, mails: number): Promise<Waits> {
  const session = await JiraSession.open(relay.port);
  const message = notification(32 * 1024, RECIPIENT);
  const waits: number[] = [];
  for (let mail = 0; mail < mails; mail++) {
    const since = performance.now();
    const reply = await session.send({ to: [RECIPIENT], message });
    if (!reply.startsWith("250")) throw new Error(reply);
    waits.push(performance.now() - since);
    await sleep(2);
  }
  await session.quit();
  return { median: median(waits), p99: waits.sort((a, b) => a - b)[Math.floor(waits.length * 0.99)] ?? NaN };
}

/** As `waitsOf`; the figures of the flood are those of a second. */
async function flooded(relay: Relay, options: Omit<FloodOptions, "port">): Promise<Waits & FloodFigures> {
  const end = await startFlood({ port: relay.port, ...options });
  await sleep(500);
  const since = performance.now();
  const waits = await waitsOf(relay, MAILS);
  const seconds = (performance.now() - since + 500) / 1_000;
  const { octets, passed } = await end();
  return { ...waits, octets: octets / seconds, passed: passed / seconds };
}

/** The longest that a command waits on another connection while the relay takes and encrypts a bomb. */
async function stallBy(relay: Relay, bomb: Buffer): Promise<number> {
  const [session, bomber] = [await JiraSession.open(relay.port), await JiraSession.open(relay.port)];
  await session.command("MAIL FROM:<jira@example.com>");
  const over = new AbortController();
  const from = relay.events.length;
  const done = bomber
    .send({ to: [RECIPIENT], message: bomb })
    .then(() => relay.event((one) => one.event === "delivery.delivered" && relay.events.indexOf(one) >= from))
    .finally(() => over.abort());
  let longest = 0;
  while (!over.signal.aborted) {
    const since = performance.now();
    await session.command("RCPT TO:<a@b.test>");
    longest = Math.max(longest, performance.now() - since);
    await sleep(5);
  }
  await done;
  await Promise.all([session.quit(), bomber.quit()]);
  return longest;
}

async function door(): Promise<Report> {
  const sink = await startSink();
  const yaml = `upstream: { host: 127.0.0.1, port: ${sink.port}, tls: off }\nsmime: { keyStore: { file: a.pem } }\nlog: { level: info }`;
  const relay = await startRelay(yaml, { "a.pem": fixtureBytes("smime/certs/alice.pem") });
  try {
    await waitsOf(relay, WARM_UP_MAILS);
    const alone = await waitsOf(relay, MAILS);
    const dots = await flooded(relay, { dots: 4 });
    const crowd = await flooded(relay, { idle: 190, passing: 2_000 });
    const again = await waitsOf(relay, MAILS);
    const figures: Figure[] = [
      {
        what: "median with a flood of dots ÷ alone",
        value: dots.median / alone.median,
        unit: "×",
      },
      {
        what: "median with a crowd of connections ÷ alone",
        value: crowd.median / alone.median,
        unit: "×",
      },
      { what: "99 of 100 with a flood of dots ÷ alone", value: dots.p99 / alone.p99, unit: "×" },
      { what: "99 of 100 with a crowd of connections ÷ alone", value: crowd.p99 / alone.p99, unit: "×" },
      { what: "median alone behind the floods ÷ before", value: again.median / alone.median, unit: "×" },
      { what: "alone, median", value: alone.median, unit: "ms" },
      { what: "alone, 99 of 100 within", value: alone.p99, unit: "ms" },
      { what: "4 floods of dot-stuffed lines, median", value: dots.median, goal: { atMost: 50 }, unit: "ms" },
      { what: "4 floods of dot-stuffed lines, 99 of 100 within", value: dots.p99, unit: "ms" },
      {
        what: "190 idle connections and others that come and go, median",
        value: crowd.median,
        goal: { atMost: 50 },
        unit: "ms",
      },
      { what: "the same, 99 of 100 within", value: crowd.p99, unit: "ms" },
      { what: "octets of dot-stuffed lines taken meanwhile", value: dots.octets / 1e6, unit: "MB/s" },
      { what: "connections that came and went", value: crowd.passed, unit: "/s" },
    ];
    for (const [what, bomb] of mimeBombs()) {
      const stalls: number[] = [];
      for (let round = 0; round < 3; round++) stalls.push(await stallBy(relay, bomb));
      figures.push({
        what: `longest wait while ${what} are encrypted`,
        value: median(stalls),
        goal: { atMost: 100 },
        unit: "ms",
      });
    }
    return { title: "The door under floods, one sender of 32 KiB mails", figures };
  } finally {
    await relay.remove();
    sink.stop();
  }
}

print(await door());
