// TLS of the listener: STARTTLS, required and implicit, and what is tried around the handshake.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Secret } from "../../src/secret.ts";
import type { ListenerTls } from "../../src/smtp/listener.ts";
import { Client, FakeClock, openDoor as open, type Door } from "./recording-door.ts";

const folder = mkdtempSync(join(tmpdir(), "listener-tls-"));
let cert: Buffer;
let key: Buffer;
const doors: Door[] = [];

beforeAll(() => {
  const [keyFile, certFile] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const subject = ["-subj", "/CN=relay.example.com", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  execFileSync("openssl", [...made, ...subject, "-keyout", keyFile, "-out", certFile], { stdio: "pipe" });
  cert = readFileSync(certFile);
  key = readFileSync(keyFile);
});
afterEach(async () => {
  for (const door of doors.splice(0)) await door.listener.close(0);
});
afterAll(() => rmSync(folder, { recursive: true }));

const openDoor = async (
  mode: Exclude<ListenerTls["mode"], "off">,
  ...[settings, owner, clock]: Parameters<typeof open>
) => {
  const door = await open({ tls: { mode, cert, key }, ...settings }, owner, clock);
  doors.push(door);
  return door;
};

/** Goes over to TLS on a connection that has heard 220 to STARTTLS. */
async function secured(client: Client): Promise<Client> {
  client.socket.removeAllListeners("data");
  const socket = connectTls({ socket: client.socket, ca: cert, host: "localhost" });
  await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  return new Client(socket);
}

describe("STARTTLS", () => {
  test("FD-02: forgets the transaction, and mail then goes through TLS", async () => {
    const door = await openDoor("starttls");
    const clear = await Client.open(door.port);
    for (const line of ["EHLO clear.example", "MAIL FROM:<a@b.test>", "RCPT TO:<c@b.test>"])
      expect(await clear.say(line)).toMatch(/^250/);
    expect(await clear.say("STARTTLS")).toBe("220 2.0.0 ready for TLS");
    const client = await secured(clear);
    expect(await client.say("DATA")).toBe("503 5.5.1 MAIL comes first");
    expect(await client.say("MAIL FROM:<a@b.test>")).toBe("503 5.5.1 EHLO comes first");
    expect(await client.say("EHLO tls.example")).not.toContain("STARTTLS");
    expect(await client.send("Subject: x\r\n\r\n" + "line\r\n".repeat(50_000))).toBe("250 2.0.0 queued as id1");
    expect(await client.say("STARTTLS")).toBe("503 5.5.1 TLS stands already");
    expect(await client.say("QUIT")).toBe("221 2.0.0 bye");
    expect(await client.rest()).toBe("");
    expect(door.stored[0]).toMatchObject({
      session: { heloName: "tls.example", tls: { protocol: "TLSv1.3", cipher: expect.any(String) as string } },
      content: `Subject: x\r\n\r\n${"line\r\n".repeat(50_000)}\r\n`,
    });
  });

  test("FD-01: commands in the same segment are never executed and end the session", async () => {
    const door = await openDoor("starttls");
    const client = await Client.open(door.port);
    await client.say("EHLO x");
    client.write("STARTTLS\r\nMAIL FROM:<inject@evil.test>\r\nRCPT TO:<v@x.test>\r\n");
    expect(await client.rest()).toBe("554 5.5.0 wait for the reply to STARTTLS\n");
  });

  test("FD-01: commands that come behind it before the handshake break the handshake", async () => {
    const door = await openDoor("starttls");
    const client = await Client.open(door.port);
    await client.say("EHLO x");
    expect(await client.say("STARTTLS")).toMatch(/^220 /);
    client.write("MAIL FROM:<inject@evil.test>\r\nRCPT TO:<v@x.test>\r\n");
    await client.rest();
    await vi.waitUntil(() => door.seen.some(([name]) => name === "closed"));
    const told = door.seen.filter(([name]) => name === "refused" || name === "fault");
    expect(told).toEqual([["refused", { peerAddress: "127.0.0.1", reason: "tls-handshake" }]]);
  });

  test("FD-03: a handshake that stalls ends after thirty seconds", async () => {
    const clock = new FakeClock();
    const door = await openDoor("starttls", {}, {}, clock);
    const client = await Client.open(door.port);
    await client.say("EHLO x");
    await client.say("STARTTLS");
    client.socket.write(Buffer.from("16030100", "hex"));
    await vi.waitUntil(() => door.listener.connections === 1);
    for (let second = 0; second < 29; second++) {
      clock.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(door.listener.connections).toBe(1);
    clock.advance(2_000);
    await vi.waitUntil(() => door.listener.connections === 0);
    expect(await client.rest()).toBe("");
  });

  test("that is required lets no mail through before it", async () => {
    const door = await openDoor("required");
    const clear = await Client.open(door.port);
    await clear.say("EHLO x");
    expect(await clear.say("MAIL FROM:<a@b.test>")).toBe("530 5.7.0 STARTTLS comes first");
    await clear.say("STARTTLS");
    const client = await secured(clear);
    await client.say("EHLO x");
    expect(await client.send("Subject: x\r\n")).toMatch(/^250 /);
  });

  test("protects AUTH, which is offered behind it", async () => {
    const door = await openDoor("required", { users: [{ name: "jira", password: new Secret("secret") }] });
    const clear = await Client.open(door.port);
    expect(await clear.say("EHLO x")).not.toContain("AUTH");
    await clear.say("STARTTLS");
    const client = await secured(clear);
    expect(await client.say("EHLO x")).toContain("AUTH PLAIN LOGIN");
    expect(await client.say("AUTH PLAIN AGppcmEAc2VjcmV0")).toBe("235 2.7.0 authenticated");
    expect(await client.send("Subject: x\r\n")).toMatch(/^250 /);
    expect(door.stored[0]?.session.user).toBe("jira");
  });
});

describe("implicit TLS", () => {
  test("greets inside TLS and takes mail", async () => {
    const door = await openDoor("implicit");
    const client = new Client(connectTls({ port: door.port, host: "127.0.0.1", ca: cert }));
    expect(await client.reply()).toBe("220 relay.example.com ESMTP Sealpost");
    expect(await client.say("EHLO x")).not.toContain("STARTTLS");
    expect(await client.send("Subject: x\r\n")).toBe("250 2.0.0 queued as id1");
  });

  test("hears nothing of a client that speaks clear text", async () => {
    const door = await openDoor("implicit");
    const client = new Client(connect(door.port, "127.0.0.1"));
    client.write("EHLO x\r\nMAIL FROM:<a@b.test>\r\n");
    expect(await client.rest()).not.toMatch(/^2/m);
    expect(door.seen).toContainEqual(["refused", { peerAddress: "127.0.0.1", reason: "tls-handshake" }]);
  });

  test("ends at once at shutdown, also in the middle of a handshake", async () => {
    const door = await openDoor("implicit");
    const socket = connect(door.port, "127.0.0.1");
    await vi.waitUntil(() => door.listener.connections === 1);
    await door.listener.close(60_000);
    expect(door.listener.connections).toBe(0);
    socket.destroy();
  });
});

test("a key that does not belong to the certificate is told at the start, naming the setting", async () => {
  await expect(open({ tls: { mode: "starttls", cert, key: Buffer.from("no key") } })).rejects.toThrow(
    /see outbound\.tls/,
  );
});
