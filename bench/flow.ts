// The flow: load, relay, sink on loopback, all relays side by side in each round; medians of the rounds.
import { makeAuthority } from "../test/authority.ts";
import { alone, closeLane, megabytes, openLane, rates, type Lane, type Load, type ServerTls } from "./load/lane.ts";
import { startPassThrough } from "./peers/pass-through.ts";
import { startPostfixRelay } from "./peers/postfix.ts";
import { startSealpost } from "./peers/sealpost.ts";
import { print, type Figure, type Report } from "./report.ts";

const LARGE_BYTES = 25 * 1024 * 1024;
const CONNECTIONS = [1, 8, 32];

async function openLanes(tls?: ServerTls): Promise<Lane[]> {
  const lanes: Lane[] = [];
  const openers: readonly Parameters<typeof openLane>[0][] = [
    (sinkPort) => startSealpost({ sinkPort, treatment: "clear", tls }),
    (sinkPort) => startSealpost({ sinkPort, treatment: "smime", tls }),
    (sinkPort) => startSealpost({ sinkPort, treatment: "pgp", tls }),
    (sinkPort) => startPostfixRelay({ sinkPort, isFiltering: false, tls }),
    (sinkPort) => startPostfixRelay({ sinkPort, isFiltering: true, tls }),
    (sinkPort) => startPassThrough(sinkPort, tls),
  ];
  try {
    for (const open of openers) lanes.push(await openLane(open, tls));
    return lanes;
  } catch (cause) {
    for (const lane of lanes) await closeLane(lane);
    throw cause;
  }
}

/** How a load is told apart in the tables. */
function nameOf({ connections, isOneEach, tls }: Load): string {
  const how = isOneEach === true ? "one for each mail" : "kept open";
  return `${connections} connection${connections > 1 ? "s" : ""}, ${how}${tls === true ? ", STARTTLS" : ""}`;
}

/** Goals are for connections that are kept open, in clear. */
function ratios(load: Load, all: readonly number[]): Figure[] {
  const [clear = NaN, smime = NaN, pgp = NaN, postfix = NaN, filter = NaN, passThrough = NaN] = all;
  const mayHaveGoals = load.isOneEach !== true && load.tls !== true;
  const ratio = (what: string, value: number, atLeast?: number): Figure => ({
    ...{ what: `${what}, ${nameOf(load)}`, value, unit: "×" },
    ...(mayHaveGoals && atLeast !== undefined ? { goal: { atLeast } } : {}),
  });
  const overPostfix = { 1: 1, 8: 2 }[load.connections];
  return [
    ratio("S/MIME ÷ own clear", smime / clear, 0.75),
    ratio("PGP ÷ own clear", pgp / clear, 0.6),
    ratio("S/MIME ÷ Postfix alone", smime / postfix, overPostfix),
    ratio("S/MIME ÷ pipe filter", smime / filter, load.connections === 8 ? 20 : undefined),
    ratio("S/MIME ÷ nodemailer pass-through", smime / passThrough),
  ];
}

async function measured(lanes: readonly Lane[], load: Load): Promise<Figure[]> {
  const all = await rates(lanes, load);
  const figures = lanes.map(({ peer }, index): Figure => ({
    what: `${peer.name}, ${nameOf(load)}`,
    value: all[index] ?? NaN,
    unit: "/s",
  }));
  return [...ratios(load, all), ...figures];
}

/** One mail alone, and large ones: of the S/MIME lane. */
async function singleMails(lane: Lane): Promise<Figure[]> {
  return [
    {
      what: "one S/MIME mail alone, first octet in to last at the sink, median",
      value: await alone(lane),
      goal: { atMost: 15 },
      unit: "ms",
    },
    {
      what: "25 MiB S/MIME through the whole relay, 2 connections",
      value: await megabytes(lane, LARGE_BYTES),
      goal: { atLeast: 40 },
      unit: "MB/s",
    },
  ];
}

export async function flow(): Promise<Report> {
  const figures: Figure[] = [];
  const authority = await makeAuthority();
  const issued = await authority.issue(["DNS:localhost", "IP:127.0.0.1"]);
  for (const tls of [undefined, { ...issued, ca: authority.ca }]) {
    const lanes = await openLanes(tls);
    try {
      for (const connections of CONNECTIONS)
        for (const isOneEach of [false, true])
          figures.push(...(await measured(lanes, { connections, isOneEach, tls: tls !== undefined })));
      const smime = lanes[1];
      if (tls === undefined && smime !== undefined) figures.push(...(await singleMails(smime)));
    } finally {
      for (const lane of lanes) await closeLane(lane);
    }
  }
  return { title: "Flow, mails of 32 KiB", figures };
}

if (import.meta.main) print(await flow());
