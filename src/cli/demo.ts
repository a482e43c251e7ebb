// demo: one minute, nothing to set up: real mail through a real relay, to a recording upstream, and decrypted again.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { createTransport } from "nodemailer";
import { startApp } from "../app.ts";
import { systemClock } from "../clock.ts";
import { readConfiguration } from "../config/read.ts";
import { openLog } from "../log.ts";
import { createMetrics } from "../metrics.ts";
import { makePgpReader, makeSmimeReader } from "./demo-keys.ts";
import { openPgp, openSmime, type Proof } from "./demo-proof.ts";
import { openRecorder, type Recorded, type Recorder } from "./demo-upstream.ts";
import { addCommand, EXIT, printLine, run, type ExitCode } from "./run.ts";
import { sealpostVersion } from "./version.ts";

const [ALICE, BOB, CAROL] = ["alice@example.com", "bob@example.com", "carol@example.com"];
const SECRET_LINE = "The new door code is 4711.";
const WAIT_MS = 20_000;

export function register(program: Command): void {
  addCommand(program, "demo", "Show the main job on throw-away keys: nothing to set up, nothing left behind.").action(
    run(demo),
  );
}

async function demo(): Promise<ExitCode> {
  const folder = await mkdtemp(join(tmpdir(), "sealpost-demo-"));
  const recorder = await openRecorder(systemClock);
  try {
    return await inFolder(folder, recorder);
  } finally {
    await recorder.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function inFolder(folder: string, recorder: Recorder): Promise<ExitCode> {
  const now = systemClock.now();
  const [alice, bob] = await Promise.all([makeSmimeReader(ALICE, now), makePgpReader(BOB, now)]);
  await writeFile(join(folder, "recipients.pem"), alice.certificatePem);
  await writeFile(join(folder, "recipients.asc"), bob.publicArmored);
  await writeFile(join(folder, "sealpost.yaml"), configuration(recorder.port));
  const reading = readConfiguration({ path: join(folder, "sealpost.yaml"), env: {} });
  if ("faults" in reading)
    throw new Error(
      `the demo's own configuration is wrong: ${reading.faults.map((fault) => fault.message).join("; ")}`,
    );
  const { settings } = reading;
  const nowhere = { write: () => undefined };
  const app = await startApp(settings, {
    log: openLog(settings.log, nowhere),
    metrics: createMetrics(sealpostVersion()),
    clock: systemClock,
  });
  try {
    printLine(
      `Sealpost listens on 127.0.0.1:${app.ports.outbound}, the recording mail server behind it on 127.0.0.1:${recorder.port}.`,
    );
    printLine(`${ALICE} has an S/MIME certificate, ${BOB} an OpenPGP key, ${CAROL} has none.\n`);
    await sendAsJira(app.ports.outbound);
    const left = await recorder.waitFor(3, WAIT_MS);
    return await show(left, { alice, bob, folder });
  } finally {
    await app.stop();
  }
}

/** `port: 0` lets the machine choose, so that a demo never meets a relay that is really running. */
function configuration(upstreamPort: number): string {
  return [
    "hostname: relay.example.com",
    "dataDir: data",
    "secretKeyFile: secret.key",
    "outbound: { listen: 127.0.0.1:0 }",
    `upstream: { host: 127.0.0.1, port: ${upstreamPort}, tls: off }`,
    "encryption: { subject: issue-key }",
    "smime: { keyStore: { file: recipients.pem } }",
    "pgp: { keyStore: { file: recipients.asc } }",
    "web: { listen: 127.0.0.1:0 }",
    "metrics: { listen: 127.0.0.1:0 }",
    "",
  ].join("\n");
}

async function sendAsJira(port: number): Promise<void> {
  const jira = createTransport({ host: "127.0.0.1", port, secure: false, ignoreTLS: true });
  const mail = {
    from: '"Jira" <jira@example.com>',
    to: [ALICE, BOB, CAROL],
    subject: "[JIRA] (SEC-42) Door codes for the new office",
    messageId: "<JIRA.10100.1764000000000.1.1764000000001@Atlassian.JIRA>",
    inReplyTo: "<JIRA.10100.1764000000000@Atlassian.JIRA>",
    headers: {
      "X-JIRA-FingerPrint": "4f1c6f0e4ce8ff7d13e6f0a1b2c3d4e5",
      Precedence: "bulk",
      "Auto-Submitted": "auto-generated",
    },
    text: `Joe Doe commented on SEC-42:\n\n${SECRET_LINE}\n`,
    html: `<p>Joe Doe commented on <a href="https://jira.example.com/browse/SEC-42">SEC-42</a>:</p><p>${SECRET_LINE}</p>`,
    attachments: [{ filename: "floor plan.txt", content: "second floor, left" }],
    disableFileAccess: true,
    disableUrlAccess: true,
  };
  printLine(`1. Sent as Jira does: one mail to ${mail.to.join(", ")}`);
  printLine(`     Subject: ${mail.subject}`);
  printLine(`     Text:    ${SECRET_LINE}\n`);
  await jira.sendMail(mail);
  jira.close();
}

type Readers = {
  readonly alice: Parameters<typeof openSmime>[1];
  readonly bob: Parameters<typeof openPgp>[1];
  readonly folder: string;
};

async function show(left: readonly Recorded[], { alice, bob, folder }: Readers): Promise<ExitCode> {
  printLine("2. What left for the mail server:");
  for (const { recipients, message } of left) {
    const head = message
      .subarray(0, message.indexOf("\r\n\r\n"))
      .toString("utf8")
      .replace(/\r\n[ \t]+/g, " ");
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, "im").exec(head)?.[1] ?? "";
    printLine(
      `     to ${recipients.join(", ")}: ${message.length} bytes, ${field("Content-Type").split(";")[0] ?? ""}, Subject: ${field("Subject")}`,
    );
  }
  const to = (address: string) =>
    left.find(({ recipients }) => recipients.includes(address))?.message ?? Buffer.alloc(0);
  const proofs: [string, Proof][] = [
    [ALICE, await openSmime(to(ALICE), alice, folder)],
    [BOB, await openPgp(to(BOB), bob, folder)],
  ];
  printLine("\n3. Decrypted by those it was for:");
  for (const [address, { by, text }] of proofs)
    printLine(`     ${address} (${by}): ${text.includes(SECRET_LINE) ? SECRET_LINE : "NOT the text that was sent"}`);
  const isReadable = proofs.every(([, { text }]) => text.includes(SECRET_LINE));
  const isHidden = left.every(
    ({ message }) => !message.includes("4711") && !message.includes("Door codes") && !message.includes("floor plan"),
  );
  printLine(
    `\n4. The text, the subject and the file name ${isHidden ? "were nowhere to be seen outside the ciphertext" : "WERE SEEN outside the ciphertext"}.`,
  );
  printLine(`   ${CAROL} got a notice without content; her mail is kept, sealed, until a key appears.`);
  return isReadable && isHidden ? EXIT.ok : EXIT.no;
}
