// Hostile incoming mails, one at a time, through a whole relay: how long it keeps others waiting meanwhile, by HTTP and by SMTP.
import { once } from "node:events";
import { connect } from "node:net";
import { cpus } from "node:os";
import { setTimeout } from "node:timers/promises";
import { fixtureBytes } from "../test/fixtures.ts";
import { hostileMails } from "../test/e2e/hostile-mails.ts";
import { sendMail } from "../test/e2e/jira.ts";
import { startRelay } from "../test/relay.ts";
import { startUpstream } from "../test/upstream.ts";

const GOAL_MS = 100;
const ROUNDS = 5;

const median = (times: readonly number[]) => times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;

/** The slowest answer, asked again and again while `act` runs and once more behind it. */
async function slowestWhile(ask: () => Promise<unknown>, act: Promise<unknown>): Promise<number> {
  const over = new AbortController();
  const ended = act.finally(() => over.abort());
  let slowest = 0;
  let isLast: boolean;
  do {
    isLast = over.signal.aborted;
    const since = performance.now();
    await ask();
    slowest = Math.max(slowest, performance.now() - since);
    await setTimeout(1);
  } while (!isLast);
  await ended;
  return slowest;
}

const upstream = await startUpstream();
const relay = await startRelay(
  [
    `upstream: { host: 127.0.0.1, port: ${upstream.port}, tls: off }`,
    "inbound: { listen: 127.0.0.1:0, recipients: [jira@example.com], forward: none, evidence: signature-only }",
    "smime: { trust: { anchors: [root.pem], intermediates: [issuing.pem] } }",
  ].join("\n"),
  { "root.pem": fixtureBytes("smime/certs/root.pem"), "issuing.pem": fixtureBytes("smime/certs/issuing.pem") },
);
let missed = 0;
try {
  const livez = () => fetch(`http://127.0.0.1:${relay.webPort}/livez`).then((answer) => answer.arrayBuffer());
  const greeting = async () => {
    const socket = connect(relay.port, "127.0.0.1");
    await once(socket, "data");
    socket.destroy();
  };
  /** Until nothing more is learned from it. */
  const send = async (message: Buffer) => {
    const from = relay.events.length;
    const said = await sendMail(relay.inboundPort, { from: "alice@example.com", to: ["jira@example.com"], message });
    if (!said.startsWith("250")) throw new Error(said);
    await relay.event((one) => one.event === "harvest.ignored" && relay.events.indexOf(one) >= from);
  };
  console.log(`Node ${process.version}, ${cpus().length} cores; medians of ${ROUNDS} after one to warm up`);
  console.log("/livez ms   SMTP greeting ms   the slowest answer while the relay takes and looks at");
  const acts: readonly (readonly [string, () => Promise<unknown>])[] = [
    ["nothing", () => setTimeout(500)],
    ...[...hostileMails()].map(([what, mail]) => [what, () => send(mail)] as const),
  ];
  for (const [what, act] of acts) {
    const times: { readonly http: number; readonly smtp: number }[] = [];
    for (let round = 0; round <= ROUNDS; round++) {
      const done = act();
      const [http, smtp] = await Promise.all([slowestWhile(livez, done), slowestWhile(greeting, done)]);
      if (round > 0) times.push({ http, smtp });
    }
    const [http, smtp] = [median(times.map((one) => one.http)), median(times.map((one) => one.smtp))];
    const isGood = Math.max(http, smtp) <= GOAL_MS;
    if (!isGood) missed += 1;
    const figures = `${http.toFixed(0).padStart(9)}${smtp.toFixed(0).padStart(19)}`;
    console.log(`${figures}   ${what}${isGood ? "" : `  MISSED (goal ${GOAL_MS})`}`);
  }
} finally {
  await relay.remove();
  await upstream.close();
}
process.exitCode = missed > 0 ? 1 : 0;
