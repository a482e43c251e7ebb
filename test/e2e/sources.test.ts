// The whole source chain seen from outside: real slapd and SKS behind a running relay, remembered, expired, reloaded, explained.
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startSks, startWeb, type Running } from "../key-server.ts";
import { fixture, fixtureBytes } from "../fixtures.ts";
import type { Relay } from "../relay.ts";
import { startSlapd, type Slapd } from "../slapd.ts";
import { startJiraMock, type JiraUser } from "../users/jira-mock.ts";
import { expectArrived, readPgp, readSmime } from "./arrived.ts";
import { issueMail, sendMail } from "./jira.ts";
import { queueStates, stage } from "./stage.ts";

const [ALICE, BOB, JOE, NOCERT] = ["alice@example.com", "bob@example.com", "joe@example.org", "nocert@example.com"];
const SECRET = "The code is 4711.";
const BASE = 'baseDn: "ou=people,dc=example,dc=com"';

let slapd: Slapd;
let sks: Running;
beforeAll(async () => {
  slapd = await startSlapd("openldap");
  sks = await startSks();
});
afterAll(async () => {
  await slapd.stop();
  await sks.close();
});

/** slapd over TLS as Jira's directory `corp`, SKS as the key server. */
const sourcesYaml = (more = "") =>
  [
    "encryption: { fallback: allow }",
    "smime:",
    "  userDirectories:",
    `    - { name: corp, host: localhost, port: ${slapd.tlsPort}, ca: ldap-ca.pem, ${BASE} }`,
    "pgp:",
    `  keyServer: { url: "hkp://127.0.0.1:${sks.port}", proxy: none }`,
    more,
  ].join("\n");
const files = () => ({ "ldap-ca.pem": slapd.ca });

const send = (relay: Relay, id: string, ...to: string[]) =>
  sendMail(relay.port, { to, message: issueMail(id, { to: to.join(", "), text: SECRET }) });
const lookups = (relay: Relay, source: string) =>
  relay.events.filter((one) => one.event.startsWith("lookup.") && one["source"] === source);
const metric = async (relay: Relay, line: string) =>
  (await (await fetch(`http://127.0.0.1:${relay.metricsPort}/metrics`)).text()).includes(`\n${line}\n`);
type TrailLine = {
  readonly source: string;
  readonly kind: string;
  readonly answer: string;
  readonly cached: boolean;
  readonly candidates: readonly object[];
  readonly why?: string;
};
const json = async (relay: Relay, ...args: string[]): Promise<{ code: number | null; value: unknown }> => {
  const { stdout, code } = await relay.run([...args, "--json"]);
  return { code, value: JSON.parse(stdout.toString()) };
};

describe("directory and key server", () => {
  test("R4, R5, R15: keys of real slapd and SKS encrypt, are remembered, and each disclosure is counted", async () => {
    const { relay, upstream } = await stage(sourcesYaml(), files());
    expect(await send(relay, "1", ALICE, JOE)).toMatch(/^250 /);
    await expectArrived(upstream, [`${ALICE} smime`, `${JOE} pgp`]);
    const [toAlice, toJoe] = [ALICE, JOE].map((to) => upstream.transactions.find((one) => one.rcptTo.includes(to))!);
    expect(await readSmime(toAlice!.data, "alice")).toContain(SECRET);
    expect(readPgp(toJoe!.data)).toContain(SECRET);
    await send(relay, "2", ALICE, JOE);
    await expectArrived(upstream, [`${ALICE} smime`, `${JOE} pgp`, `${ALICE} smime`, `${JOE} pgp`]);
    expect(lookups(relay, "directory:corp").map(({ event, cached }) => [event, cached])).toEqual(
      expect.arrayContaining([
        ["lookup.found", false],
        ["lookup.found", true],
      ]),
    );
    // two for the directory (alice, joe), one for the key server (alice has a certificate)
    expect(await metric(relay, 'sealpost_addresses_disclosed_total{source="directory:corp"} 2')).toBe(true);
    expect(await metric(relay, 'sealpost_addresses_disclosed_total{source="keyserver"} 1')).toBe(true);
    expect(await metric(relay, 'sealpost_source_up{source="keyserver"} 1')).toBe(true);
  });

  test("what one process was answered another remembers, with what explain says of each source", async () => {
    const { relay, upstream } = await stage(sourcesYaml(), files());
    await send(relay, "1", ALICE);
    await expectArrived(upstream, [`${ALICE} smime`]);
    const before = slapd.log().length;
    const { code, value } = await json(relay, "explain", ALICE);
    expect(code).toBe(0);
    expect(value).toMatchObject({
      address: ALICE,
      treatment: "smime",
      keys: [{ kind: "smime", source: "directory:corp" }],
    });
    const { trail } = value as { trail: TrailLine[] };
    expect(trail.map(({ kind, source, answer, cached }) => [kind, source, answer, cached])).toEqual([
      ["smime", "upload", "absent", false],
      ["smime", "incoming", "absent", false],
      ["smime", "directory:corp", "found", true],
      ["pgp", "upload", "absent", false],
      ["pgp", "incoming", "absent", false],
      ["pgp", "keyserver", "found", false],
    ]);
    expect(trail[2]?.candidates).toMatchObject([
      { fit: true, place: "userSMIMECertificate" },
      { fit: true, place: "userCertificate" },
    ]);
    expect(slapd.log().slice(before)).not.toContain("SRCH");
  });

  test("R8, LOOK-19: an address outside onlyDomains never leaves for that source", async () => {
    const yaml = sourcesYaml().replace("proxy: none", "proxy: none, onlyDomains: [example.com]");
    const { relay, upstream } = await stage(yaml, files());
    await send(relay, "1", JOE);
    await expectArrived(upstream, [`${JOE} clear`]);
    expect(lookups(relay, "keyserver")).toEqual([]);
    expect(await metric(relay, 'sealpost_addresses_disclosed_total{source="keyserver"} 1')).toBe(false);
    const { value } = await json(relay, "explain", JOE);
    expect((value as { trail: TrailLine[] }).trail.find(({ source }) => source === "keyserver")?.why).toContain(
      "pgp.keyServer.onlyDomains",
    );
  });

  test("R6, R23: a fit key above ends the search: neither directory nor key server hears of the address", async () => {
    const yaml = sourcesYaml().replace("smime:\n", "smime:\n  keyStore: { file: people.pem }\n");
    const { relay, upstream } = await stage(yaml, { ...files(), "people.pem": fixtureBytes("smime/certs/alice.pem") });
    const before = slapd.log().length;
    await send(relay, "1", ALICE);
    await expectArrived(upstream, [`${ALICE} smime`]);
    expect(slapd.log().slice(before)).not.toContain(ALICE);
    const treated = relay.events.find(({ event }) => event === "treatment.decided");
    expect(treated).toMatchObject({ treatment: "smime", reason: "keystore" });
  });

  test("R12: what a person uploads outranks everything, and what is switched off is not used", async () => {
    const { relay, upstream } = await stage(sourcesYaml(), {
      ...files(),
      "mine.pem": fixtureBytes("smime/certs/alice-new.pem"),
    });
    const added = await relay.run(["keys", "add", ALICE, `${relay.folder}/mine.pem`]);
    expect(added.code).toBe(0);
    await send(relay, "1", ALICE);
    await expectArrived(upstream, [`${ALICE} smime`]);
    expect(await readSmime(upstream.transactions[0]!.data, "alice-new")).toContain(SECRET);
    const off = readFileSync(relay.configFile, "utf8").replace("smime:\n", "smime:\n  userUpload: { users: false }\n");
    writeFileSync(relay.configFile, off);
    relay.process.kill("SIGHUP");
    await relay.event(({ event }) => event === "config.reloaded");
    await send(relay, "2", ALICE);
    await expectArrived(upstream, [`${ALICE} smime`, `${ALICE} smime`]);
    expect(await readSmime(upstream.transactions[1]!.data, "alice")).toContain(SECRET);
  });
});

describe("the cache", () => {
  /** A key server of our own, so that the test can change its mind. */
  async function changingServer() {
    let key = fixtureBytes("pgp/joe.gpg");
    const web = await startWeb((_request, response) => {
      if (key.length === 0) response.writeHead(404).end("Not found");
      else response.writeHead(200, { "Content-Type": "application/pgp-keys" }).end(key);
    });
    onTestFinished(() => web.close());
    return { web, answerWith: (bytes: Buffer) => void (key = bytes) };
  }

  test("R21, CONF-32: cache expire reaches the running relay within two seconds; the next need asks afresh", async () => {
    const { web, answerWith } = await changingServer();
    const yaml = `encryption: { hold: 0 }\npgp: { keyServer: { url: "${web.url}", proxy: none } }`;
    const { relay, upstream } = await stage(yaml, {});
    await send(relay, "1", JOE);
    await expectArrived(upstream, [`${JOE} pgp`]);
    answerWith(Buffer.alloc(0));
    await send(relay, "2", JOE);
    await expectArrived(upstream, [`${JOE} pgp`, `${JOE} pgp`]);
    expect(web.asked).toHaveLength(1);
    const since = Date.now();
    const { code, value } = await json(relay, "cache", "expire");
    expect([code, value]).toEqual([0, ["keyserver"]]);
    await relay.event(({ event, source }) => event === "cache.expired" && source === "keyserver");
    expect(Date.now() - since).toBeLessThan(3_000);
    expect(web.asked).toHaveLength(1);
    await send(relay, "3", JOE);
    await expectArrived(upstream, [`${JOE} pgp`, `${JOE} pgp`, `${JOE} notice`]);
    expect(web.asked).toHaveLength(2);
  });

  test("cache expire of a source that is not there says which ones are", async () => {
    const { relay } = await stage(sourcesYaml(), files());
    const wrong = await relay.run(["cache", "expire", "ldap"]);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain("configured are directory:corp, keyserver");
    const right = await json(relay, "cache", "expire", "directory:corp");
    expect([right.code, right.value]).toEqual([0, ["directory:corp"]]);
  });

  test("R22: another URL in the configuration expires what came from the old one, also when it is changed back", async () => {
    const [one, two] = [await changingServer(), await changingServer()];
    two.answerWith(Buffer.alloc(0));
    const { relay, upstream } = await stage(
      `encryption: { hold: 0 }\npgp: { keyServer: { url: "${one.web.url}", proxy: none } }`,
      {},
    );
    const reload = async (from: string, to: string) => {
      writeFileSync(relay.configFile, readFileSync(relay.configFile, "utf8").replace(from, to));
      const already = relay.events.filter(({ event }) => event === "config.reloaded").length;
      relay.process.kill("SIGHUP");
      await relay.event(() => relay.events.filter(({ event }) => event === "config.reloaded").length > already);
    };
    await send(relay, "1", JOE);
    await expectArrived(upstream, [`${JOE} pgp`]);
    await reload(one.web.url, two.web.url);
    await send(relay, "2", JOE);
    await expectArrived(upstream, [`${JOE} pgp`, `${JOE} notice`]);
    expect([one.web.asked.length, two.web.asked.length]).toEqual([1, 1]);
    await reload(two.web.url, one.web.url);
    await send(relay, "3", JOE);
    await expectArrived(upstream, [`${JOE} pgp`, `${JOE} notice`, `${JOE} pgp`]);
    expect(one.web.asked).toHaveLength(2);
  });

  test("LOOK-20: 50 mails at once to one new address ask once", async () => {
    const { web } = await changingServer();
    const yaml = `pgp: { keyServer: { url: "${web.url}", proxy: none } }\nupstream2: x`.replace(/\nupstream2.*/, "");
    const { relay, upstream } = await stage(yaml, {});
    await Promise.all(Array.from({ length: 50 }, (_, id) => send(relay, String(id), JOE)));
    await upstream.waitFor(50, 30_000);
    expect(web.asked).toHaveLength(1);
  });
});

describe("a fit key above, an unfit one, and a failure", () => {
  test("CONF-02: a directory that is down makes the mail wait; others go on; nothing goes in clear; the cause is told once", async () => {
    const own = await startSlapd("openldap");
    const yaml = [
      "encryption: { fallback: allow }",
      "retry: { first: 1s, max: 2s }",
      "smime:",
      "  keyStore: { file: people.pem }",
      `  ldap: { host: 127.0.0.1, port: ${own.port}, tls: off, ${BASE} }`,
    ].join("\n");
    const { relay, upstream } = await stage(yaml, { "people.pem": fixtureBytes("smime/certs/alice.pem") });
    await own.stop();
    for (let id = 0; id < 5; id++) await send(relay, String(id), ALICE, BOB);
    await upstream.waitFor(5);
    await relay.event(() => relay.events.filter((one) => one.event === "delivery.deferred").length >= 5);
    expect(upstream.transactions.flatMap((one) => one.rcptTo)).toEqual(Array(5).fill(ALICE));
    expect(upstream.received().includes("4711")).toBe(false);
    const down = relay.events.filter(({ event }) => event === "source.down");
    expect(down).toHaveLength(1);
    expect(String(down[0]!["fault"])).toMatch(/refused/);
    const told = relay.events.filter((one) => JSON.stringify(one).includes("refused"));
    expect(told).toEqual(down);
    expect((await queueStates(relay)).filter((one) => one.startsWith(BOB))).toEqual(Array(5).fill(`${BOB} queued`));
    const list = (await json(relay, "queue", "list")).value as {
      recipients: { address: string; lastReply: string }[];
    }[];
    const waiting = list.flatMap(({ recipients }) => recipients).find(({ address }) => address === BOB);
    expect(waiting?.lastReply).toContain("refused");
    const explained = await json(relay, "explain", BOB);
    expect(explained.code).toBe(1);
    expect(explained.value).toMatchObject({ treatment: "later", reason: expect.stringContaining("refused") as string });
  });

  test("a person without a certificate in the directory is absent there, and the fallback holds", async () => {
    const { relay, upstream } = await stage(sourcesYaml(), files());
    await send(relay, "1", NOCERT);
    await expectArrived(upstream, [`${NOCERT} clear`]);
    expect(lookups(relay, "directory:corp")[0]).toMatchObject({ event: "lookup.absent" });
  });
});

describe("which keys may be used", () => {
  const people = ["alice", "quinn", "rupert", "selfie"].map((name) => fixtureBytes(`smime/certs/${name}.pem`));
  const trustFiles = {
    "people.pem": Buffer.concat(people),
    "root.pem": fixtureBytes("smime/certs/root.pem"),
    "issuing.pem": fixtureBytes("smime/certs/issuing.pem"),
    "issuing.crl": fixtureBytes("smime/crl/issuing.crl"),
  };
  const trustYaml = (more: string) =>
    [
      "encryption: { hold: 0 }",
      "smime:",
      "  keyStore: { file: people.pem }",
      `  trust: { check: true, anchors: [root.pem], intermediates: [issuing.pem]${more} }`,
    ].join("\n");
  const [RUPERT, SELFIE] = ["rupert@example.com", "selfie@example.com"];

  test("with smime.trust.check a certificate without a path, or revoked, is passed by with the reason", async () => {
    const { relay, upstream } = await stage(trustYaml(", crls: [issuing.crl]"), trustFiles);
    await send(relay, "1", ALICE, RUPERT, SELFIE);
    await expectArrived(upstream, [`${ALICE} smime`, `${RUPERT} notice`, `${SELFIE} notice`]);
    const unfit = relay.events.filter(({ event }) => event === "key.unfit");
    expect(unfit.map(({ recipient, reason }) => `${String(recipient)} ${String(reason)}`).sort()).toEqual([
      `${RUPERT} revoked`,
      `${SELFIE} untrusted`,
    ]);
    expect(String(unfit.find(({ recipient }) => recipient === SELFIE)?.["detail"])).toContain("smime.trust.anchors");
    expect(relay.events.some(({ event, entries }) => event === "crl.loaded" && entries === 1)).toBe(true);
  });

  test("without the list of an issuer: accepted by default, with onMissingCrl wait the mail waits and nothing goes in clear", async () => {
    const soft = await stage(trustYaml(", crls: [missing.crl]"), trustFiles);
    await send(soft.relay, "1", RUPERT);
    await expectArrived(soft.upstream, [`${RUPERT} smime`]);
    expect(soft.relay.events.filter(({ event }) => event === "crl.failed")).toHaveLength(1);
    const hard = await stage(
      trustYaml(", crls: [issuing.crl], onMissingCrl: wait").replace("{ hold: 0 }", "{ hold: 0, fallback: allow }"),
      trustFiles,
    );
    await send(hard.relay, "1", ALICE);
    await hard.relay.event(({ event }) => event === "delivery.deferred");
    // the list of the issuing CA is there, the root's is not
    expect(String(hard.relay.events.find(({ event }) => event === "source.down")?.["fault"])).toMatch(
      /Root CA.*smime\.trust\.crls/,
    );
    expect(hard.upstream.transactions).toEqual([]);
  });

  test("R12: the upload of a person who is inactive in Jira is not used; when Jira is down the mail waits", async () => {
    const account = (name: string, active: boolean): JiraUser => ({
      ...{ key: `KEY-${name}`, name, displayName: name, emailAddress: `${name}@example.com` },
      ...{ active, roles: ["jira-software"] },
    });
    const self = account("relay", true);
    const jira = await startJiraMock(
      { token: "token", self },
      { users: [self, account("alice", true), account("quinn", false)] },
    );
    onTestFinished(() => jira.close());
    const { relay, upstream } = await stage(
      `encryption: { hold: 0 }\nretry: { first: 1s }\nusers: { jira: { url: "${jira.url}", tokenFile: token } }`,
      { token: "token\n", "alice.pem": people[0]!, "quinn.pem": people[1]! },
    );
    const quinn = "quinn@example.com";
    await relay.run(["keys", "add", ALICE, `${relay.folder}/alice.pem`]);
    await relay.run(["keys", "add", quinn, `${relay.folder}/quinn.pem`]);
    await send(relay, "1", ALICE, quinn);
    await expectArrived(upstream, [`${ALICE} smime`, `${quinn} notice`]);
    const setAside = relay.events.find(({ event }) => event === "key.unfit");
    expect(String(setAside?.["detail"])).toContain("inactive in Jira");
    jira.state.instead = () => ({ status: 503, body: "" });
    const bob = await relay.run(["keys", "add", "bob@example.com", fixture("smime/certs/bob.pem")]);
    expect(bob.code).toBe(0);
    await send(relay, "2", "bob@example.com");
    const down = await relay.event(({ event }) => event === "source.down");
    expect(down).toMatchObject({ source: "upload" });
    expect(upstream.transactions).toHaveLength(2);
    jira.state.instead = () => undefined;
    jira.state.users = [...jira.state.users, account("bob", true)];
    await expectArrived(upstream, [`${ALICE} smime`, `${quinn} notice`, "bob@example.com smime"]);
    await relay.event(({ event, source }) => event === "source.up" && source === "upload");
  });
});
