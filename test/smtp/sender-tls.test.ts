// The sender's way to the upstream: TLS never weaker than configured, passwords never where others can listen.
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { Secret } from "../../src/secret.ts";
import { createSender } from "../../src/smtp/sender.ts";
import { systemClock } from "../../src/clock.ts";
import { logIn } from "../../src/smtp/upstream-auth.ts";
import { Unreachable, type Protection } from "../../src/smtp/upstream-protection.ts";
import { makeAuthority, type ServerCertificate } from "../upstream.ts";
import { manualClock } from "../manual-clock.ts";
import { mailTo, newUpstream, senderTo, shown } from "./sending.ts";

const DELIVERED = ["bob@b.test delivered 250 2.0.0 queued"];
const MAIL = mailTo(["bob@b.test"]);
let ca: string;
let otherCa: string;
let right: ServerCertificate;
let wrongName: ServerCertificate;
let expired: ServerCertificate;

beforeAll(async () => {
  const authority = await makeAuthority();
  ca = authority.ca;
  right = await authority.issue(["IP:127.0.0.1", "DNS:localhost"]);
  wrongName = await authority.issue(["DNS:mail.other.test", "IP:127.0.0.9"]);
  expired = await authority.issue(["IP:127.0.0.1"], -1);
  otherCa = (await makeAuthority()).ca;
});

type Certificate = "right" | "wrong name" | "expired" | "none";
const certificateOf = (which: Certificate) =>
  which === "none" ? {} : { certificate: { right, "wrong name": wrongName, expired }[which] };

describe("the matrix of upstream.tls, upstream.ca and the certificate (CONF-23, CONF-24)", () => {
  test.each<["off" | "opportunistic" | "required", "ours" | "other" | "none", Certificate, string]>([
    ["required", "ours", "right", "TLS"],
    ["required", "ours", "wrong name", "unreachable"],
    ["required", "ours", "expired", "unreachable"],
    ["required", "other", "right", "unreachable"],
    ["required", "none", "right", "unreachable"],
    ["required", "ours", "none", "unreachable"],
    ["opportunistic", "ours", "right", "TLS"],
    ["opportunistic", "ours", "wrong name", "unreachable"],
    ["opportunistic", "ours", "expired", "unreachable"],
    ["opportunistic", "other", "right", "unreachable"],
    ["opportunistic", "none", "right", "TLS"],
    ["opportunistic", "none", "wrong name", "TLS"],
    ["opportunistic", "ours", "none", "clear"],
    ["opportunistic", "none", "none", "clear"],
    ["off", "none", "right", "clear"],
  ])("%s with CA %s against certificate %s: %s", async (tls, trusted, certificate, outcome) => {
    const upstream = await newUpstream(certificateOf(certificate));
    const sender = senderTo(upstream, { tls, ca: { ours: ca, other: otherCa, none: undefined }[trusted] });
    const [line] = shown(await sender.send(MAIL));
    if (outcome === "unreachable") {
      const reason = certificate === "none" ? "4.7.0 does not offer STARTTLS" : "4.7.5 no TLS";
      expect(line).toContain(`unreachable upstream 127.0.0.1:${upstream.port}`);
      expect(line).toContain(reason);
      expect(line).toMatch(/upstream\.tls.*nothing is sent in clear|nothing is sent in clear.*upstream\.tls/);
      expect(upstream.received().includes("MAIL")).toBe(false);
      expect(upstream.transactions).toEqual([]);
    } else {
      expect([line]).toEqual(DELIVERED);
      expect(upstream.transactions[0]?.tls).toBe(outcome === "TLS");
    }
    expect(upstream.violations).toEqual([]);
  });

  test.each<[Certificate, "ours" | "none", boolean]>([
    ["right", "ours", true],
    ["wrong name", "ours", false],
    ["right", "none", false],
  ])("implicit TLS against certificate %s with CA %s delivers: %s", async (certificate, trusted, isDelivered) => {
    const upstream = await newUpstream({ ...certificateOf(certificate), implicitTls: true });
    const sender = senderTo(upstream, { tls: "implicit", ca: trusted === "ours" ? ca : undefined });
    const [line] = shown(await sender.send(MAIL));
    expect(line).toMatch(isDelivered ? /delivered/ : /^unreachable .*4\.7\.5 no TLS.*upstream\.ca/);
    expect(upstream.transactions.map(({ tls }) => tls)).toEqual(isDelivered ? [true] : []);
  });

  test("a certificate for the host's name serves when the name is configured, and not for another name", async () => {
    const upstream = await newUpstream({ certificate: right });
    expect(shown(await senderTo(upstream, { host: "localhost", tls: "required", ca }).send(MAIL))).toEqual(DELIVERED);
    const other = await newUpstream({ certificate: wrongName });
    const [line] = shown(await senderTo(other, { host: "localhost", tls: "required", ca }).send(MAIL));
    expect(line).toContain("unreachable");
  });
});

describe("STARTTLS that is offered and then fails ends in nothing, never in clear:", () => {
  test.each(["required", "opportunistic"] as const)("%s, answered 454", async (tls) => {
    const upstream = await newUpstream({
      certificate: right,
      reply: ({ verb }) => (verb === "STARTTLS" ? "454 4.7.0 TLS not available" : undefined),
    });
    const [line] = shown(await senderTo(upstream, { tls, ca }).send(MAIL));
    expect(line).toContain("4.7.0 refuses STARTTLS with 454 4.7.0 TLS not available; nothing is sent in clear");
    expect(upstream.received().includes("MAIL")).toBe(false);
  });

  test("opportunistic without CA, a handshake answered with nonsense", async () => {
    const said: string[] = [];
    const server = createServer((socket) => {
      socket.on("error", () => undefined).write("220 upstream.test\r\n");
      socket.on("data", (octets) => {
        said.push(octets.toString("latin1"));
        socket.write(["250-upstream.test\r\n250 STARTTLS\r\n", "220 go ahead\r\n"][said.length - 1] ?? "500 what\r\n");
      });
    }).listen(0, "127.0.0.1");
    onTestFinished(() => void server.close());
    await once(server, "listening");
    const [line] = shown(await senderTo(server.address() as AddressInfo, { tls: "opportunistic" }).send(MAIL));
    expect(line).toMatch(/^unreachable .*4\.7\.5 no TLS.*nothing is sent in clear/);
    expect(said.join("")).not.toContain("MAIL");
  });

  test("opportunistic, a handshake that never ends", async () => {
    const upstream = await newUpstream({
      starttls: true,
      reply: ({ verb }) => (verb === "STARTTLS" ? "220 go ahead" : undefined),
    });
    const clock = manualClock();
    const timeouts = { connectMs: 1_000 };
    const result = senderTo(upstream, { tls: "opportunistic", timeouts }, clock).send(MAIL);
    await upstream.until(() => upstream.commands.at(-1)?.verb === "STARTTLS");
    await clock.whenSleeping(1_000);
    clock.advance(1_000);
    expect(shown(await result)[0]).toContain("the TLS handshake does not come about within 1 s");
  });

  test.each(["250-upstream.test\r\n250 AUTH PLAIN\r\n", "250-AUTH PLAIN"])(
    "%j in clear behind the reply to STARTTLS is not read as if it had come through TLS (RFC 3207 6)",
    async (octets) => {
      const upstream = await newUpstream({
        certificate: right,
        reply: ({ verb }) => (verb === "STARTTLS" ? { raw: `220 go ahead\r\n${octets}` } : undefined),
      });
      const auth = { user: "relay", password: new Secret("pass-canary") };
      const [line] = shown(await senderTo(upstream, { tls: "required", ca, auth }).send(MAIL));
      expect(line).toMatch(/^unreachable /);
      expect(upstream.commands.map(({ verb }) => verb)).toEqual(["EHLO", "STARTTLS"]);
    },
  );
});

test("what was offered in clear is forgotten once TLS stands", async () => {
  const upstream = await newUpstream({
    certificate: right,
    reply: ({ verb, tls }) => (verb === "EHLO" && !tls ? "250-upstream.test\r\n250-SIZE 1\r\n250 STARTTLS" : undefined),
  });
  expect(shown(await senderTo(upstream, { tls: "required", ca }).send(MAIL))).toEqual(DELIVERED);
});

test("how well the way is protected is told, with what the certificate lacks", async () => {
  const upstream = await newUpstream({ certificate: right });
  const verified = senderTo(upstream, { tls: "required", ca });
  expect(verified.protection).toBeUndefined();
  await verified.send(MAIL);
  expect(verified.protection).toEqual({ kind: "verified", protocol: "TLSv1.3" });
  const unverified = senderTo(upstream, { tls: "opportunistic" });
  await unverified.send(MAIL);
  expect(unverified.protection?.kind).toBe("unverified");
  expect(JSON.stringify(unverified.protection)).toMatch(/UNABLE_TO|SELF_SIGNED/);
  const clear = senderTo(upstream);
  await clear.send(MAIL);
  expect(clear.protection).toEqual({ kind: "clear" });
});

describe("AUTH", () => {
  const password = new Secret("pass-canary ü");

  test.each([
    [["LOGIN", "PLAIN"], "PLAIN"],
    [["LOGIN"], "LOGIN"],
  ])("from %j chooses %s, once for each connection", async (offered, mechanism) => {
    const upstream = await newUpstream({ certificate: right, auth: offered });
    const sender = senderTo(upstream, { tls: "required", ca, auth: { user: "relay", password } });
    await sender.send(MAIL);
    await sender.send(MAIL);
    const auth = { mechanism, user: "relay", password: "pass-canary ü" };
    expect(upstream.transactions).toMatchObject([{ auth, tls: true }, { auth }]);
    expect(upstream.commands.filter(({ verb }) => verb === "LOGIN")).toHaveLength(1);
  });

  test("XOAUTH2 reads its token afresh for each login", async () => {
    const upstream = await newUpstream({ certificate: right, auth: ["PLAIN", "XOAUTH2"] });
    let reads = 0;
    const auth = { user: "relay", token: () => Promise.resolve(new Secret(`token-${++reads}`)) };
    const sender = senderTo(upstream, { tls: "required", ca, auth });
    await sender.send(MAIL);
    upstream.dropAll();
    await sender.send(MAIL);
    expect(upstream.transactions.map((one) => one.auth)).toEqual([
      { mechanism: "XOAUTH2", user: "relay", password: "token-1" },
      { mechanism: "XOAUTH2", user: "relay", password: "token-2" },
    ]);
  });

  test("XOAUTH2's error challenge is answered, and the reply behind it counts", async () => {
    const upstream = await newUpstream({ certificate: right, auth: ["XOAUTH2"] });
    const replies: Record<string, string> = { LOGIN: "334 eyJzdGF0dXMiOiI0MDAifQ==", "": "535 5.7.8 bad token" };
    upstream.behaviour.reply = ({ verb }) => replies[verb];
    const auth = { user: "relay", token: () => Promise.resolve(new Secret("token-canary")) };
    const [line] = shown(await senderTo(upstream, { tls: "required", ca, auth }).send(MAIL));
    expect(line).toMatch(
      /^unreachable .* login with 535 5\.7\.8 bad token; see upstream\.user and upstream\.tokenFile$/,
    );
  });

  test("a token that cannot be read is unreachable, not a bounce", async () => {
    const upstream = await newUpstream({ certificate: right, auth: ["XOAUTH2"] });
    const auth = { user: "relay", token: () => Promise.reject(new Error("ENOENT: no such file")) };
    const [line] = shown(await senderTo(upstream, { tls: "required", ca, auth }).send(MAIL));
    expect(line).toContain("upstream.tokenFile cannot be read: ENOENT: no such file");
  });

  test.each(["535 5.7.8 wrong password", "454 4.7.0 try later", "500 5.5.1 what"])(
    "refused with %s is unreachable, names the setting and shows no secret",
    async (reply) => {
      const upstream = await newUpstream({
        certificate: right,
        auth: ["PLAIN"],
        reply: ({ verb }) => (verb === "LOGIN" ? reply : undefined),
      });
      const [line] = shown(
        await senderTo(upstream, { tls: "required", ca, auth: { user: "relay", password } }).send(MAIL),
      );
      expect(line).toMatch(
        new RegExp(`^unreachable .* refuses the login with ${reply}; see upstream.user and upstream.passwordFile$`),
      );
      expect(upstream.transactions).toEqual([]);
    },
  );

  test("that upstream does not offer is unreachable: mail does not go without the login that was asked for", async () => {
    const upstream = await newUpstream({ certificate: right });
    const [line] = shown(
      await senderTo(upstream, { tls: "required", ca, auth: { user: "relay", password } }).send(MAIL),
    );
    expect(line).toContain("does not offer AUTH PLAIN or LOGIN; see upstream.user");
  });

  test("goes in clear to this machine itself", async () => {
    const upstream = await newUpstream({ auth: ["PLAIN"] });
    expect(shown(await senderTo(upstream, { auth: { user: "relay", password } }).send(MAIL))).toEqual(DELIVERED);
  });

  test.each<[string, Protection, string, boolean]>([
    ["clear to another machine", { kind: "clear" }, "192.0.2.1", false],
    ["clear to an address that only looks like loopback", { kind: "clear" }, "192.0.2.127", false],
    ["clear to an IPv6 neighbour", { kind: "clear" }, "2001:db8::1", false],
    ["an unverified certificate", { kind: "unverified", protocol: "TLSv1.3", why: "SELF_SIGNED" }, "192.0.2.1", false],
    ["a verified certificate", { kind: "verified", protocol: "TLSv1.3" }, "192.0.2.1", true],
    ["clear to ::1", { kind: "clear" }, "::1", true],
    ["clear to a mapped loopback", { kind: "clear" }, "::ffff:127.0.0.1", true],
  ])("over %s %s%s: allowed %s (CONF-25)", async (_, protection, peerAddress, isAllowed) => {
    const said: string[] = [];
    const connection = {
      peerAddress,
      command: (...lines: string[]) => void said.push(...lines),
      reply: () => Promise.resolve({ code: 235, status: "2.7.0", lines: [] }),
    };
    const login = logIn(connection, { user: "relay", password }, ["PLAIN"], protection, 1_000);
    if (isAllowed) await login;
    else await expect(login).rejects.toThrow(/upstream\.tls/);
    if (!isAllowed) await expect(login).rejects.toBeInstanceOf(Unreachable);
    expect(said).toHaveLength(isAllowed ? 1 : 0);
  });
});

describe("probe", () => {
  test("says that the login works and how the way is protected, without sending mail", async () => {
    const upstream = await newUpstream({ certificate: right, auth: ["PLAIN"] });
    const auth = { user: "relay", password: new Secret("pass-canary") };
    const sender = senderTo(upstream, { tls: "required", ca, auth });
    expect(await sender.probe()).toEqual({
      ok: true,
      detail: `upstream 127.0.0.1:${upstream.port} answers, TLSv1.3 with a verified certificate, logged in as relay`,
    });
    await upstream.until(() => upstream.connections.open === 0);
    expect(upstream.commands.map(({ verb }) => verb)).toEqual(["EHLO", "STARTTLS", "EHLO", "LOGIN", "QUIT"]);
  });

  test("says why not in an operator's words", async () => {
    const upstream = await newUpstream({ certificate: right });
    const probe = await senderTo(upstream, { tls: "required", ca: otherCa }).probe();
    expect(probe.ok).toBe(false);
    expect(probe.detail).toMatch(/4\.7\.5 no TLS: .*; nothing is sent in clear, see upstream\.tls and upstream\.ca$/);
  });
});

test("every text about the next hop names the settings of inbound.forward", async () => {
  const section = "inbound.forward";
  const unverified = await newUpstream({ certificate: wrongName });
  const { detail } = await senderTo(unverified, { section, tls: "opportunistic" }).probe();
  expect(detail).toMatch(/^next hop .* not verified .*, see inbound\.forward\.ca, no login$/);
  const closed = await newUpstream({ reply: ({ verb }) => (verb === "MAIL" ? "530 5.7.0 log in" : undefined) });
  expect(shown(await senderTo(closed, { section }).send(MAIL))).toEqual([
    "unreachable next hop wants a login or TLS: 530 5.7.0 log in; see inbound.forward.tls",
  ]);
  expect(() => senderTo(closed, { section, ca: "not PEM" })).toThrow("inbound.forward.ca: holds no certificate");
});

test("a CA file without a certificate and a host name that EHLO cannot carry are refused at once", () => {
  const usual = {
    section: "upstream",
    host: "127.0.0.1",
    port: 25,
    tls: "required",
    hostname: "relay.test",
    auth: undefined,
    connections: 1,
  } as const;
  expect(() => createSender({ ...usual, ca: "not PEM" }, systemClock)).toThrow(
    "upstream.ca: holds no certificate in PEM",
  );
  expect(() => createSender({ ...usual, ca: undefined, hostname: "a\r\nMAIL" }, systemClock)).toThrow("hostname");
});
