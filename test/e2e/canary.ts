// Canary: words in a mail where Jira puts what users write, and all places of a relay where none of them may be found.
import { join } from "node:path";
import { expect } from "vitest";
import type { Relay } from "../relay.ts";
import type { Upstream } from "../upstream.ts";
import { filesIn, hunt } from "./hunt.ts";
import { issueMail } from "./jira.ts";

const CANARY = { subject: "Zwergpinguin", body: "Kolibrischnabel", fileName: "Uhukralle", attachment: "Eisvogelfeder" };
export const CANARIES = Object.values(CANARY);

const base64Lines = (text: string) => Buffer.from(text).toString("base64").replace(/.{76}/g, "$&\r\n");

/** A mail with the canaries where Jira puts what users write; `sizeBytes` more of it make its body a file in the spool. */
export function canaryMail(id: string, to: string, sizeBytes = 0): Buffer {
  const parts = [
    `Content-Type: text/plain; charset=utf-8\r\n\r\n${`the ${CANARY.body} of it\r\n`.repeat(1 + sizeBytes / 25)}`,
    `Content-Type: text/plain; name="${CANARY.fileName}.txt"\r\nContent-Transfer-Encoding: base64\r\n` +
      `Content-Disposition: attachment; filename="${CANARY.fileName}.txt"\r\n\r\n${base64Lines(`an ${CANARY.attachment} lies here`)}`,
  ];
  const fields = {
    Subject: `[JIRA] (SEC-42) ${CANARY.subject}`,
    "Thread-Topic": `[JIRA] (SEC-42) ${CANARY.subject}`,
    "Content-Type": 'multipart/mixed; boundary="b0undary"',
  };
  const text = `${parts.map((part) => `--b0undary\r\n${part}\r\n`).join("")}--b0undary--`;
  return issueMail(id, { to, fields, text });
}

/** All that can be seen of a relay and its upstream from outside. */
export async function everything(relay: Relay, upstreams: readonly Upstream[]): Promise<Record<string, Buffer>> {
  const { stdout: list } = await relay.run(["queue", "list", "--json"]);
  const ids = (JSON.parse(list.toString()) as { id: string }[]).map(({ id }) => id);
  const shown = await Promise.all(ids.map(async (id) => (await relay.run(["queue", "show", id, "--json"])).stdout));
  const pages = [
    `http://127.0.0.1:${relay.webPort}/readyz`,
    `http://127.0.0.1:${relay.webPort}/livez`,
    `http://127.0.0.1:${relay.metricsPort}/metrics`,
  ];
  const answers = await Promise.all(pages.map(async (page) => Buffer.from(await (await fetch(page)).arrayBuffer())));
  const explained = await relay.run(["explain", "alice@example.com", "--json"]);
  return {
    ...filesIn(join(relay.folder, "data")),
    ...Object.fromEntries(upstreams.map((upstream, index) => [`upstream ${index + 1}`, upstream.received()])),
    log: Buffer.from(relay.output),
    "queue list": list,
    "queue show": Buffer.concat(shown),
    explain: Buffer.concat([explained.stdout, Buffer.from(explained.stderr)]),
    ...Object.fromEntries(pages.map((page, index) => [page, answers[index]!])),
  };
}

/** Looks for all canaries in all that can be seen from outside while the relay runs, or in what it has left when it does not. */
export async function expectNoCanary(relay: Relay, upstreams: readonly Upstream[]): Promise<void> {
  const isRunning = relay.process.exitCode === null && relay.process.signalCode === null;
  const places = isRunning
    ? await everything(relay, upstreams)
    : { ...filesIn(relay.folder), log: Buffer.from(relay.output) };
  const received = Object.fromEntries(
    upstreams.map((upstream, index) => [`upstream ${index + 1}`, upstream.received()]),
  );
  expect(hunt({ ...places, ...received }, CANARIES)).toEqual([]);
}
