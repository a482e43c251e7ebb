// verify: what an administrator does after every change (R24), against real servers, right and wrong.
import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { fixtureBytes } from "../fixtures.ts";
import { sealpost } from "../cli/child.ts";
import { startSks, startWeb, type Running } from "../key-server.ts";
import { startJiraMock } from "../users/jira-mock.ts";
import { layOut } from "../relay.ts";
import { startSlapd, type Slapd } from "../slapd.ts";
import { makeAuthority, startUpstream } from "../upstream.ts";

type Line = { readonly part: string; readonly ok: boolean; readonly detail: string; readonly ms: number };

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

const SELF = {
  ...{ key: "JIRAUSER1", name: "relay", displayName: "Relay", emailAddress: "relay@example.com" },
  ...{ active: true, roles: ["jira-software"] },
};
const PEOPLE = 'baseDn: "ou=people,dc=example,dc=com"';
const READER = 'user: "cn=reader,ou=service,dc=example,dc=com", passwordFile: reader';

async function verifyOver(yaml: string, files: Record<string, Buffer | string>, ...args: string[]) {
  const { folder, configFile } = layOut(yaml, files);
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return sealpost(["verify", ...args, "--config", configFile]);
}

/** Runs `verify --json` over this configuration; files are written beside it. */
async function verified(yaml: string, files: Record<string, Buffer | string> = {}) {
  const own = { "ldap-ca.pem": slapd.ca, reader: "readerpw\n", wrong: "wrong\n", ...files };
  const { code, stdout, stderr } = await verifyOver(yaml, own, "--json");
  expect(stderr).toBe("");
  const lines = JSON.parse(stdout) as Line[];
  const of = (part: string) => lines.find((line) => line.part === part);
  return { code, lines, of };
}

const upstreamYaml = async (options: Parameters<typeof startUpstream>[0] = {}, more = "tls: off") => {
  const upstream = await startUpstream(options);
  onTestFinished(() => upstream.close());
  return `upstream: { host: localhost, port: ${upstream.port}, ${more} }`;
};

describe("R24: everything is right", () => {
  test("each part is really used, is ok, and says what it found; exit 0", async () => {
    const authority = await makeAuthority();
    const certificate = await authority.issue(["DNS:localhost"]);
    const jira = await startJiraMock({ token: "jira-token", self: SELF });
    onTestFinished(() => jira.close());
    const yaml = [
      await upstreamYaml({ certificate }, "tls: required, ca: ca.pem"),
      "outbound: { tls: { mode: starttls, cert: relay.pem, key: relay.key } }",
      `users: { jira: { url: "${jira.url}", tokenFile: jira-token } }`,
      "smime:",
      "  keyStore: { file: people.p7b }",
      "  userDirectories:",
      `    - { name: corp, host: localhost, port: ${slapd.tlsPort}, ca: ldap-ca.pem, ${READER}, ${PEOPLE} }`,
      `    - { name: branch, host: 127.0.0.1, port: ${slapd.port}, tls: starttls, ca: ldap-ca.pem, ${PEOPLE} }`,
      `  ldap: { host: 127.0.0.1, port: ${slapd.port}, tls: off, ${PEOPLE}, filter: "(sn=*)" }`,
      "  trust: { anchors: [root.pem], intermediates: [issuing.pem], check: true, crls: [issuing.crl] }",
      "pgp:",
      "  keyStore: { file: people.asc }",
      `  keyServer: { url: "hkp://127.0.0.1:${sks.port}", proxy: none }`,
    ].join("\n");
    const { code, lines, of } = await verified(yaml, {
      "ca.pem": authority.ca,
      "relay.pem": certificate.cert,
      "relay.key": certificate.key,
      "jira-token": "jira-token\n",
      "people.p7b": fixtureBytes("smime/bundles/all.p7b"),
      "people.asc": fixtureBytes("pgp/all.asc"),
      "root.pem": fixtureBytes("smime/certs/root.pem"),
      "issuing.pem": fixtureBytes("smime/certs/issuing.pem"),
      "issuing.crl": fixtureBytes("smime/crl/issuing.crl"),
    });
    expect(lines.filter(({ ok }) => !ok)).toEqual([]);
    expect(code).toBe(0);
    expect(lines.map(({ part }) => part)).toEqual([
      ...["store", "secretKeyFile", "outbound.tls.cert"],
      ...["smime.userDirectories[0].ca", "smime.userDirectories[1].ca", "smime.trust.anchors[0]"],
      ...["smime.trust.intermediates[0]", "upstream.ca"],
      ...["upload", "incoming", "keystore", "directory:corp", "directory:branch", "ldap", "smime.trust.crls"],
      ...["upload", "incoming", "keystore", "keyserver", "users.jira", "upstream"],
    ]);
    expect(of("keystore")?.detail).toMatch(
      /S\/MIME: .*people\.p7b: PKCS#7 \(DER\), \d+ of \d+ keys are usable; .*expired/,
    );
    expect(of("directory:corp")?.detail).toContain("cn=reader,ou=service,dc=example,dc=com");
    expect(of("upstream")?.detail).toMatch(/answers, .*TLS/);
    expect(lines.every(({ ms }) => ms >= 0)).toBe(true);
  });

  test("with an address it also says what explain says, and fails when mail would not be encrypted", async () => {
    const yaml = `${await upstreamYaml()}\nsmime: { keyStore: { file: people.pem } }`;
    const files = { "people.pem": fixtureBytes("smime/certs/alice.pem") };
    const alice = await verifyOver(yaml, files, "alice@example.com");
    expect(alice.stdout).toMatch(/^ok +alice@example\.com .*smime \(fit key from keystore\)/m);
    expect(alice.stdout).toMatch(/^smime +keystore +found.* fit /m);
    expect(alice.code).toBe(0);
    const nobody = await verifyOver(yaml, files, "nobody@example.com");
    expect(nobody.stdout).toMatch(/^failed +nobody@example\.com .*report \(no-key\)/m);
    expect(nobody.code).toBe(1);
  });

  test("R1: a key store is optional; one that needs no password says that its integrity was not checked", async () => {
    const none = await verified(await upstreamYaml());
    expect(none.of("keystore")).toBeUndefined();
    expect(none.code).toBe(0);
    const bks = await verified(`${await upstreamYaml()}\nsmime: { keyStore: { file: people.ks } }`, {
      "people.ks": fixtureBytes("keystores/certs-bks.ks"),
    });
    expect(bks.of("keystore")).toMatchObject({ ok: true });
    expect(bks.of("keystore")?.detail).toMatch(/integrity not checked/);
  });
});

describe("R24: something is wrong, in an operator's words; exit 1", () => {
  const failing = async (part: string, yaml: string, files: Record<string, Buffer | string> = {}) => {
    const { code, of } = await verified(/^upstream:/m.test(yaml) ? yaml : `${await upstreamYaml()}\n${yaml}`, files);
    expect(code).toBe(1);
    expect(of(part)).toMatchObject({ ok: false });
    return of(part)!.detail;
  };
  const ldap = (more: string) => `smime: { ldap: { ${more} } }`;
  const keyServer = (more: string) => `pgp: { keyServer: { ${more}, proxy: none } }`;
  const closedPort = async () => {
    const web = await startWeb(() => undefined);
    await web.close();
    return web.port;
  };

  test("LDAP: refused", async () => {
    const port = await closedPort();
    expect(await failing("ldap", ldap(`host: 127.0.0.1, port: ${port}, tls: off, ${PEOPLE}`))).toMatch(/refused/);
  });
  test("LDAP: no such host", async () => {
    const detail = await failing("ldap", ldap(`host: nowhere.invalid, port: 389, tls: off, ${PEOPLE}`));
    expect(detail).toMatch(/no such host/);
  });
  test("LDAP: certificate not trusted", async () => {
    const detail = await failing("ldap", ldap(`host: localhost, port: ${slapd.tlsPort}, ${PEOPLE}`));
    expect(detail).toMatch(/certificate .*not trusted/);
  });
  test("LDAP: wrong password", async () => {
    const reader = READER.replace("passwordFile: reader", "passwordFile: wrong");
    const detail = await failing("ldap", ldap(`host: 127.0.0.1, port: ${slapd.port}, tls: off, ${reader}, ${PEOPLE}`));
    expect(detail).toMatch(/wrong .*password/);
    expect(detail).not.toContain("readerpw");
  });
  test("LDAP: base DN unknown", async () => {
    const detail = await failing(
      "ldap",
      ldap(`host: 127.0.0.1, port: ${slapd.port}, tls: off, baseDn: "ou=none,dc=example,dc=com"`),
    );
    expect(detail).toMatch(/ou=none,dc=example,dc=com does not exist/);
  });
  test("LDAP: a filter that nobody meets", async () => {
    const detail = await failing(
      "ldap",
      ldap(`host: 127.0.0.1, port: ${slapd.port}, tls: off, ${PEOPLE}, filter: "(sn=Nobody)"`),
    );
    expect(detail).toMatch(/no entry/);
  });
  test("LDAP: a server without StartTLS", async () => {
    const plain = await startWeb(() => undefined);
    onTestFinished(() => plain.close());
    const detail = await failing("ldap", ldap(`host: 127.0.0.1, port: ${plain.port}, tls: starttls, ${PEOPLE}`));
    expect(detail).toMatch(/LDAP|StartTLS/);
  });

  test("key store: a file that is not there, one that is none, one without a usable certificate", async () => {
    const store = "smime: { keyStore: { file: people.ks } }";
    expect(await failing("keystore", store)).toMatch(/people\.ks cannot be used: .*see smime\.keyStore\.file/);
    expect(await failing("keystore", store, { "people.ks": "hello" })).toMatch(/no file of certificates/);
    const expired = { "people.ks": fixtureBytes("smime/certs/erin.pem") };
    expect(await failing("keystore", store, expired)).toMatch(/0 of 1 keys are usable; 1 expired/);
  });

  test("key server: refused, no key server at all, a certificate that is not trusted", async () => {
    expect(await failing("keyserver", keyServer(`url: "hkp://127.0.0.1:${await closedPort()}"`))).toMatch(/refused/);
    const page = await startWeb((_, response) => response.writeHead(200).end("hello"));
    onTestFinished(() => page.close());
    expect(await failing("keyserver", keyServer(`url: "${page.url}"`))).toMatch(/hello|key|answer/);
    const web = await startWeb((_, response) => response.end(), await (await makeAuthority()).issue(["IP:127.0.0.1"]));
    onTestFinished(() => web.close());
    expect(await failing("keyserver", keyServer(`url: "${web.url}"`))).toMatch(/certificate .*not trusted/);
  });

  test("upstream: refused, no STARTTLS, wrong password", async () => {
    const at = async (port: number, more: string) =>
      failing("upstream", `upstream: { host: 127.0.0.1, port: ${port}, ${more} }`, { secret: "wrong\n" });
    expect(await at(await closedPort(), "tls: off")).toMatch(/cannot be reached/);
    const plain = await startUpstream();
    onTestFinished(() => plain.close());
    expect(await at(plain.port, "tls: required")).toMatch(/does not offer STARTTLS/);
    const authority = await makeAuthority();
    const login = await startUpstream({
      certificate: await authority.issue(["IP:127.0.0.1"]),
      auth: ["PLAIN"],
      reply: ({ verb }) => (verb === "LOGIN" ? "535 5.7.8 no" : undefined),
    });
    onTestFinished(() => login.close());
    const yaml = `upstream: { host: 127.0.0.1, port: ${login.port}, tls: required, ca: ca.pem, user: relay, passwordFile: secret }`;
    expect(await failing("upstream", yaml, { "ca.pem": authority.ca, secret: "wrong\n" })).toMatch(/535/);
  });

  test("a certificate of ours that is expired, and a revocation list that is not there", async () => {
    const authority = await makeAuthority();
    const old = await authority.issue(["DNS:relay.example.com"], -1);
    const detail = await failing(
      "outbound.tls.cert",
      "outbound: { tls: { mode: starttls, cert: c.pem, key: k.pem } }",
      {
        "c.pem": old.cert,
        "k.pem": old.key,
      },
    );
    expect(detail).toMatch(/1 of 1 certificate cannot be used now/);
    const lists = "smime: { trust: { anchors: [root.pem], check: true, crls: [missing.crl] } }";
    const root = { "root.pem": fixtureBytes("smime/certs/root.pem") };
    expect(await failing("smime.trust.crls", lists, root)).toMatch(/missing\.crl/);
  });

  test("Jira: a wrong token", async () => {
    const jira = await startJiraMock({ token: "right", self: SELF });
    onTestFinished(() => jira.close());
    const yaml = `users: { jira: { url: "${jira.url}", tokenFile: token } }`;
    expect(await failing("users.jira", yaml, { token: "wrong\n" })).toContain("users.jira.tokenFile");
  });
});
