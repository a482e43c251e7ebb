// Key servers in trouble: whatever a server does, the mail waits, other recipients go on, nothing leaves in clear.
import type { Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { makeAuthority } from "../authority.ts";
import { fixtureBytes } from "../fixtures.ts";
import { startRaw, startWeb, type WebServer } from "../key-server.ts";
import { issueMail, sendMail } from "./jira.ts";
import { queueStates, stage } from "./stage.ts";

const [ALICE, BOB] = ["alice@example.com", "bob@example.com"];
const FLOOD = Buffer.alloc(1024 * 1024, "x");

const http = (status: string, rest: string) => `HTTP/1.1 ${status}\r\nConnection: close\r\n${rest}`;

/** Writes without end, as fast as it is read, until the other side has had enough. */
function flood(socket: Socket, first: string | Buffer): void {
  const more = () => {
    while (!socket.destroyed && socket.write(FLOOD));
  };
  socket.write(first);
  socket.on("drain", more);
  more();
}

/** RFC 4511: the head of a SearchResultEntry of 100 MB, with the message id 1 or 2. */
const hugeLdapEntry = Buffer.from("308406000000020102648405fffff0", "hex");

type Server = { readonly start: () => Promise<WebServer>; readonly says: RegExp };
const raw = (speak: (socket: Socket) => void) => () => startRaw(speak);
const ask = (reply: (socket: Socket) => void) => raw((socket) => socket.once("data", () => reply(socket)));

const KEY_SERVERS: Readonly<Record<string, Server>> = {
  "is down": { start: gone, says: /refused/ },
  "takes the request and never answers": { start: ask(() => undefined), says: /within|time|answer/ },
  "answers with junk": { start: ask((socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n")), says: /HTTP/ },
  "answers with a web page": {
    start: () =>
      startWeb((_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<p>Hello</p>")),
    says: /instead of a key/,
  },
  "answers with 100 MB": {
    start: ask((socket) => flood(socket, http("200 OK", "Content-Length: 104857600\r\n\r\n"))),
    says: /larger than/,
  },
  "answers without end": { start: ask((socket) => flood(socket, http("200 OK", "\r\n"))), says: /larger than/ },
  "cuts the connection in the answer": {
    start: ask((socket) => socket.end(http("200 OK", "Content-Length: 5000\r\n\r\n-----BEGIN PGP"))),
    says: /cut|closed|ended/,
  },
  "answers 500": { start: () => startWeb((_, response) => response.writeHead(500).end()), says: /500/ },
  "asks for a password": { start: () => startWeb((_, response) => response.writeHead(401).end()), says: /401/ },
  "leads elsewhere": {
    start: () => startWeb((_, response) => response.writeHead(302, { Location: "http://127.0.0.1:9/" }).end()),
    says: /redirect|elsewhere|leads/,
  },
};

const DIRECTORIES: Readonly<Record<string, Server>> = {
  "is down": { start: gone, says: /refused/ },
  "takes the connection and never answers": { start: raw(() => undefined), says: /within|time|answer/ },
  "answers with junk": { start: ask((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")), says: /LDAP/ },
  "answers with an entry of 100 MB": {
    start: ask((socket) => flood(socket, hugeLdapEntry)),
    says: /larger|more than|bytes/,
  },
  "cuts the connection": { start: ask((socket) => socket.destroy()), says: /cut|closed|ended|reset/ },
};

async function gone(): Promise<WebServer> {
  const server = await startRaw(() => undefined);
  await server.close();
  return server;
}

/** Sends two mails to alice, who has a certificate in the key store, and bob, whom only the failing source could know. */
async function expectWaiting(yaml: string, files: Record<string, Buffer | string>, says: RegExp): Promise<void> {
  const common = "encryption: { type: smime-preferred, fallback: allow }";
  const { relay, upstream } = await stage(`${common}\n${yaml}`, {
    "people.pem": fixtureBytes("smime/certs/alice.pem"),
    ...files,
  });
  const to = [ALICE, BOB];
  const since = performance.now();
  for (const number of ["1", "2"]) {
    const message = issueMail(number, { to: to.join(), text: "The code is 4711." });
    expect(await sendMail(relay.port, { to, message })).toMatch(/^250/);
  }
  expect(performance.now() - since).toBeLessThan(2_000);
  const deferred = await relay.event(({ event }) => event === "delivery.deferred");
  await relay.event(({ event, queueId }) => event === "delivery.deferred" && queueId !== deferred["queueId"]);
  expect(performance.now() - since).toBeLessThan(18_000);
  await upstream.waitFor(2);
  expect(deferred).toMatchObject({ recipient: BOB, treatment: "later" });
  expect(upstream.transactions.map(({ rcptTo }) => rcptTo)).toEqual([[ALICE], [ALICE]]);
  expect(upstream.received().includes("4711")).toBe(false);
  expect(await queueStates(relay)).toContain(`${BOB} queued`);
  expect(relay.events.filter(({ event }) => event === "lookup.failed")).toHaveLength(2);
  // the cause is told once, not per mail; too much for one address says nothing of the server: then the look-up tells the cause, else the source
  const causes = relay.events.filter(
    ({ event, fault }) => event === "source.down" || (event === "lookup.failed" && fault !== undefined),
  );
  expect(causes).toHaveLength(1);
  expect(String(causes[0]!["fault"])).toMatch(says);
  // no fault says for whom it was asked
  expect(String(causes[0]!["fault"])).not.toMatch(/bob/i);
  const live = await fetch(`http://127.0.0.1:${relay.webPort}/livez`);
  expect(live.status).toBe(200);
}

const running = async ({ start }: Server): Promise<WebServer> => {
  const server = await start();
  onTestFinished(() => server.close());
  return server;
};

test.each(Object.entries(KEY_SERVERS))(
  "LOOK-10, LOOK-11: a key server that %s makes the mail wait",
  async (_, kind) => {
    const { port } = await running(kind);
    const yaml = `smime: { keyStore: { file: people.pem } }\npgp: { keyServer: { url: "hkp://127.0.0.1:${port}", proxy: none } }`;
    await expectWaiting(yaml, {}, kind.says);
  },
);

test.each(Object.entries(DIRECTORIES))("LOOK-06: an LDAP server that %s makes the mail wait", async (_, kind) => {
  const { port } = await running(kind);
  const yaml = `smime: { keyStore: { file: people.pem }, ldap: { host: 127.0.0.1, port: ${port}, tls: off, baseDn: "o=x" } }`;
  await expectWaiting(yaml, {}, kind.says);
});

test("LOOK-05: a key server with a certificate that is not trusted, or for another name, makes the mail wait", async () => {
  const authority = await makeAuthority();
  const web = await startWeb(
    (_, response) => response.writeHead(404).end(),
    await authority.issue(["DNS:other.example"]),
  );
  onTestFinished(() => web.close());
  const yaml = (ca: string) =>
    `smime: { keyStore: { file: people.pem } }\npgp: { keyServer: { url: "hkps://127.0.0.1:${web.port}", proxy: none${ca} } }`;
  await expectWaiting(yaml(""), {}, /certificate.*not trusted|self-signed|certificate/);
  await expectWaiting(yaml(", ca: ca.pem"), { "ca.pem": authority.ca }, /certificate|name/);
});
