// A canary in subject, body, file name and attachment is to be found nowhere but in the decrypted mail.
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { fixtureBytes } from "../fixtures.ts";
import type { Relay } from "../relay.ts";
import { startUpstream, type Upstream } from "../upstream.ts";
import { expectArrived, field, readSmime } from "./arrived.ts";
import { filesIn, hunt } from "./hunt.ts";
import { issueMail, sendMail } from "./jira.ts";
import { stage } from "./stage.ts";

const ALICE = "alice@example.com";
const HELD = "bob@example.com";

const CANARY = { subject: "Zwergpinguin", body: "Kolibrischnabel", fileName: "Uhukralle", attachment: "Eisvogelfeder" };
const CANARIES = Object.values(CANARY);

const base64Lines = (text: string) => Buffer.from(text).toString("base64").replace(/.{76}/g, "$&\r\n");

/** A mail with the canaries where Jira puts what users write; `sizeBytes` more of it make its body a file in the spool. */
function canaryMail(id: string, to: string, sizeBytes = 0): Buffer {
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
async function everything(relay: Relay, upstreams: readonly Upstream[]): Promise<Record<string, Buffer>> {
  const { stdout: list } = await relay.run(["queue", "list", "--json"]);
  const ids = (JSON.parse(list.toString()) as { id: string }[]).map(({ id }) => id);
  const shown = await Promise.all(ids.map(async (id) => (await relay.run(["queue", "show", id, "--json"])).stdout));
  const pages = [
    `http://127.0.0.1:${relay.webPort}/readyz`,
    `http://127.0.0.1:${relay.webPort}/livez`,
    `http://127.0.0.1:${relay.metricsPort}/metrics`,
  ];
  const answers = await Promise.all(pages.map(async (page) => Buffer.from(await (await fetch(page)).arrayBuffer())));
  const explained = await relay.run(["explain", ALICE, "--json"]);
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

describe("the hunt itself", () => {
  const plain = Buffer.from("xx Kolibrischnabel yy");
  const encodings: Record<string, Buffer> = {
    plain,
    "upper case": Buffer.from(plain.toString().toUpperCase()),
    reversed: Buffer.from(plain).reverse(),
    utf16: Buffer.from(plain.toString(), "utf16le"),
    "utf16 base64": Buffer.from(Buffer.from(plain.toString(), "utf16le").toString("base64")),
    "hex in upper case": Buffer.from(plain.toString("hex").toUpperCase()),
    "quoted-printable": Buffer.from([...plain].map((octet) => `=${octet.toString(16).toUpperCase()}`).join("")),
    "quoted-printable with a soft break": Buffer.from("xx Kolibri=\r\nschnabel"),
    "percent-encoded": Buffer.from([...plain].map((octet) => `%${octet.toString(16)}`).join("")),
    "folded field": Buffer.from("Subject: Kolibri\r\n schnabel"),
    ...Object.fromEntries(
      [0, 1, 2].map((offset) => [`base64 ${offset}`, Buffer.from(plain.subarray(offset).toString("base64"))]),
    ),
    "base64 in lines": Buffer.from(plain.toString("base64").replace(/.{8}/g, "$&\r\n")),
  };
  test.each(Object.entries(encodings))("finds a canary in %s", (place, octets) => {
    expect(hunt({ [place]: octets }, ["Kolibrischnabel"])).not.toEqual([]);
  });

  test("finds nothing where nothing is", () => {
    expect(hunt({ random: fixtureBytes("pgp/all.gpg"), log: Buffer.from("Kolibri only") }, CANARIES)).toEqual([]);
  });

  test("finds all four in what the relay sends when it is told to send in clear", async () => {
    const { relay, upstream } = await stage("encryption: { fallback: allow }");
    await sendMail(relay.port, { to: [ALICE], message: canaryMail("1", ALICE) });
    await expectArrived(upstream, [`${ALICE} clear`]);
    const found = hunt(await everything(relay, [upstream]), CANARIES);
    for (const canary of CANARIES)
      expect(found.filter((one) => one.startsWith(`${canary} in upstream 1 as`))).not.toEqual([]);
    // and in nothing but what left: not in the log, the data folder, the queue
    expect(found.filter((one) => !one.includes(" in upstream 1 as "))).toEqual([]);
  });
});

test("queued, held, delivered and refused mail shows the canaries nowhere but decrypted", async () => {
  const { relay, upstream } = await stage(
    ["retry: { first: 1s }", "encryption: { subject: hide }", "smime: { keyStore: { file: alice.pem } }"].join("\n"),
    { "alice.pem": fixtureBytes("smime/certs/alice.pem") },
  );
  await upstream.close();
  const { port } = upstream;
  const waiting = () => relay.events.filter(({ event }) => event === "delivery.deferred" || event === "upstream.down");

  // queued: the upstream is down; one body in a row, one in a file, the report waits too
  await sendMail(relay.port, { to: [ALICE], message: canaryMail("1", ALICE) });
  await sendMail(relay.port, { to: [ALICE], message: canaryMail("2", ALICE, 280_000) });
  await sendMail(relay.port, { to: [HELD], message: canaryMail("3", HELD) });
  await expect.poll(() => waiting().length, { timeout: 10_000 }).toBeGreaterThan(0);
  const whileQueued = await everything(relay, [upstream]);
  const names = Object.keys(whileQueued).join("\n");
  for (const name of ["sealpost.db", "sealpost.db-wal", "sealpost.db-shm", "serve.lock"]) expect(names).toContain(name);
  expect(names).toMatch(/bodies\/../);
  expect(whileQueued["queue list"]!.toString()).toContain('"queued"');
  expect(hunt(whileQueued, CANARIES)).toEqual([]);
  // addresses are stored as they are: the hunt does see into the database
  expect(hunt(whileQueued, [ALICE]).join("\n")).toMatch(/sealpost\.db(?:-wal)? as plain text/);

  // held and delivered
  const back = await startUpstream({ port });
  try {
    await expectArrived(back, [`${ALICE} smime`, `${ALICE} smime`, `${HELD} notice`]);
    const whileHeld = await everything(relay, [upstream, back]);
    expect(whileHeld["queue list"]!.toString()).toContain('"held"');
    expect(whileHeld["queue list"]!.toString()).toContain('"delivered"');
    expect(hunt(whileHeld, CANARIES)).toEqual([]);

    // refused: a DSN, and the reply in the queue
    let refusals = 0;
    back.behaviour.reply = ({ verb }) => (verb === "DOT" && refusals++ === 0 ? "550 5.7.1 content refused" : undefined);
    await sendMail(relay.port, { to: [ALICE], message: canaryMail("4", ALICE) });
    await expectArrived(back, [`${ALICE} smime`, `${ALICE} smime`, `${HELD} notice`, "jira@example.com notice"]);
    expect(hunt(await everything(relay, [upstream, back]), CANARIES)).toEqual([]);

    // the reader sees all of it
    for (const { data } of back.transactions.filter(({ rcptTo }) => rcptTo.includes(ALICE))) {
      const clear = Buffer.from(await readSmime(data, "alice"), "latin1");
      for (const canary of CANARIES) expect(hunt({ clear }, [canary])).not.toEqual([]);
      expect(field(data, "Subject")).toBe("[...]");
    }
    // and after the end of the process nothing is left either
    expect(await relay.stop()).toBe(0);
    expect(hunt({ ...filesIn(relay.folder), log: Buffer.from(relay.output) }, CANARIES)).toEqual([]);
  } finally {
    await back.close();
  }
});
