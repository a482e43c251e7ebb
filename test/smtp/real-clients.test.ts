// Programs of others against the listener: JavaMail as Jira uses it, openssl, and the smuggling probe.
import { execFile, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Secret } from "../../src/secret.ts";
import type { ListenerSettings } from "../../src/smtp/listener.ts";
import { fixture } from "../fixtures.ts";
import { openDoor as open, type Door } from "./recording-door.ts";

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "real-clients-"));
const MAIL_JAR = "/usr/share/java/javax.mail.jar";
const ACTIVATION_JAR = "/usr/share/java/javax.activation.jar";
const USERS = [{ name: "jira", password: new Secret("s3cret") }];
let cert: Buffer;
let key: Buffer;

beforeAll(() => {
  const [keyFile, certFile] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
  execFileSync("openssl", [...made, "-keyout", keyFile, "-out", certFile], { stdio: "pipe" });
  cert = readFileSync(certFile);
  key = readFileSync(keyFile);
  execFileSync("javac", ["-encoding", "UTF-8", "-cp", MAIL_JAR, "-d", folder, fixture("jira-sender/JiraSender.java")], {
    stdio: "pipe",
  });
});
const doors: Door[] = [];
const openDoor = async (settings: Partial<ListenerSettings> = {}) => {
  const door = await open(settings);
  doors.push(door);
  return door;
};
afterEach(async () => {
  for (const door of doors.splice(0)) await door.listener.close(0);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("JavaMail", () => {
  const jira = (door: Door, ...wishes: string[]) =>
    run("java", [
      ...["-cp", `${folder}:${MAIL_JAR}:${ACTIVATION_JAR}`, "JiraSender"],
      ...["host=127.0.0.1", `port=${door.port}`, "trustall=1", ...wishes],
    ]);
  const recipients = (door: Door) =>
    door.stored.map(({ envelope }) => envelope.recipients.map(({ mailbox }) => mailbox.address));

  test("sends three messages over one connection, hidden recipients too", async () => {
    const door = await openDoor();
    await jira(door, "to=alice@example.com,bob@example.com", "bcc=carol@example.com", "count=3", "keep=1", "kind=jsm");
    const all = ["alice@example.com", "bob@example.com", "carol@example.com"];
    expect(recipients(door)).toEqual([all, all, all]);
    expect(new Set(door.stored.map(({ session }) => session.id)).size).toBe(1);
    expect(door.stored[0]?.content).toMatch(/^Date: .*\r\nFrom: /s);
    expect(door.stored[0]?.content).not.toContain("carol@");
  });

  test("sends three megabytes whole", async () => {
    const door = await openDoor({ maxMessageBytes: 20_000_000 });
    await jira(door, "to=alice@example.com", "kind=text", "size=3000000");
    expect(door.stored[0]?.content.length).toBeGreaterThan(3_000_000);
  });

  test("sends by STARTTLS that is required on both sides", async () => {
    const door = await openDoor({ tls: { mode: "required", cert, key } });
    await jira(door, "to=alice@example.com", "starttls=required");
    expect(door.stored[0]?.session.tls?.protocol).toMatch(/^TLSv1\.[23]$/);
  });

  test("sends by implicit TLS", async () => {
    const door = await openDoor({ tls: { mode: "implicit", cert, key } });
    await jira(door, "to=alice@example.com", "tls=1");
    expect(recipients(door)).toEqual([["alice@example.com"]]);
  });

  test.each(["LOGIN", "PLAIN"])("logs in with %s", async (mechanism) => {
    const door = await openDoor({ users: USERS });
    await jira(door, "to=alice@example.com", "user=jira", "pass=s3cret", `auth=${mechanism}`);
    expect(door.stored[0]?.session.user).toBe("jira");
  });

  test("cannot log in with a wrong password", async () => {
    const door = await openDoor({ users: USERS });
    await expect(jira(door, "to=alice@example.com", "user=jira", "pass=wrong", "auth=PLAIN")).rejects.toMatchObject({
      stdout: expect.stringContaining("535 5.7.8 wrong user name or password") as string,
    });
    expect(door.seen).toContainEqual(["auth-failed", expect.objectContaining({ user: "jira" })]);
    expect(door.stored).toEqual([]);
  });

  test("asks for delivery status notifications", async () => {
    const door = await openDoor();
    await jira(door, "to=alice@example.com", "dsn=SUCCESS,FAILURE");
    expect(door.stored[0]?.envelope.recipients[0]?.notify).toEqual(["SUCCESS", "FAILURE"]);
  });
});

test("openssl s_client speaks STARTTLS with the listener", async () => {
  const door = await openDoor({ tls: { mode: "starttls", cert, key } });
  const client = spawn("openssl", [
    "s_client",
    "-starttls",
    "smtp",
    "-crlf",
    "-quiet",
    "-connect",
    `127.0.0.1:${door.port}`,
  ]);
  let said = "";
  client.stdout.on("data", (bytes: Buffer) => {
    said += bytes.toString();
    if (said.includes("221 2.0.0 bye")) client.stdin.end();
  });
  client.stdin.write("EHLO openssl.example\nNOOP\nQUIT\n");
  await new Promise((resolve) => client.on("close", resolve));
  expect(said).toContain("250-relay.example.com");
  expect(said).toContain("250 2.0.0 ok\r\n221 2.0.0 bye");
});

describe.each(["strict", "normalize"] as const)("the smuggling probe, lineEndings %s", (lineEndings) => {
  // SMUG-01 to SMUG-07, SMUG-09, SMUG-10: 42 ends of data, each in one piece and split
  test("finds no end of data but CRLF.CRLF", async () => {
    const door = await openDoor({ lineEndings });
    const probe = fileURLToPath(new URL("../../../shared/probes/smuggle.mjs", import.meta.url));
    const { stdout } = await run(process.execPath, [probe, "127.0.0.1", String(door.port), "--wait", "60"]);
    expect(stdout).toMatch(/\n\d{2,} probes, 0 bad\n/);
    expect(door.stored.some(({ envelope }) => envelope.reversePath?.domain === "evil.test")).toBe(false);
  }, 120_000);
});
