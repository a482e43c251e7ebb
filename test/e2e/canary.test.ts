// A canary in subject, body, file name and attachment is to be found nowhere but in the decrypted mail.
import { describe, expect, test, vi } from "vitest";
import { fixtureBytes } from "../fixtures.ts";
import { startUpstream } from "../upstream.ts";
import { expectArrived, field, readSmime } from "./arrived.ts";
import { CANARIES, canaryMail, everything } from "./canary.ts";
import { filesIn, hunt } from "./hunt.ts";
import { sendMail } from "./jira.ts";
import { stage } from "./stage.ts";

// a machine that is busy with others
vi.setConfig({ testTimeout: 180_000 });

const ALICE = "alice@example.com";
const HELD = "bob@example.com";

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
