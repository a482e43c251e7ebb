// What a right configuration becomes: values, defaults, environment, secrets and paths.
import { chmodSync, chownSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { hostname } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { duration, size, writeDuration, writeSize } from "../../src/config/amounts.ts";
import { configurationFile, readConfiguration } from "../../src/config/read.ts";
import { settingsByVariable } from "../../src/config/environment.ts";
import { outline } from "../../src/config/outline.ts";
import { readSecretFile } from "../../src/config/secret-file.ts";
import { Secret } from "../../src/secret.ts";
import { configurationOf, faultsOf, folder, SMALLEST, written } from "./reading.ts";

test("the smallest configuration has the defaults of the contract", () => {
  const { settings, folder } = configurationOf(SMALLEST);
  expect(settings.hostname).toBe(hostname());
  expect(settings.dataDir).toBe(join(folder, "../data"));
  expect(settings.secretKeyFile).toBe(join(folder, "../data/secret.key"));
  expect(settings.outbound).toEqual({
    listen: { host: "127.0.0.1", port: 2525 },
    tls: { mode: "off", cert: null, key: null },
    allowNetworks: ["127.0.0.0/8", "::1/128"],
    users: [],
    maxMessageSize: 50 * 1024 * 1024,
    maxRecipients: 1000,
    lineEndings: "strict",
  });
  expect(settings.inbound).toBeNull();
  expect(settings.encryption.hold).toBe(7 * 86_400_000);
  expect(settings.retry).toEqual({ first: 60_000, factor: 1.5, max: 3_600_000, giveUp: 432_000_000 });
  expect(settings.upstream).toMatchObject({ port: 25, tls: "opportunistic", password: null, token: null });
});

test("durations and sizes are read in every unit and written back as they were", () => {
  const read = (codec: { parse(given: unknown): number }, ...given: unknown[]) => given.map((one) => codec.parse(one));
  expect(read(duration({ mayBeZero: true }), "30s", "5m", "2h", "7d", "0", 0)).toEqual([
    30_000, 300_000, 7_200_000, 604_800_000, 0, 0,
  ]);
  expect(read(size(), "1KiB", "25MiB", "2GiB", 1000, "1000")).toEqual([1024, 26_214_400, 2_147_483_648, 1000, 1000]);
  for (const bad of ["", "-1s", "1.5h", "1 h", "07d", "s", "1w", null, true, {}, 0.5, -1, 1e20])
    expect([duration().safeParse(bad).success, size().safeParse(bad).success], inspect(bad)).toEqual([false, false]);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 999_999 }), fc.constantFrom("s", "m", "h", "d"), (amount, unit) => {
      const durationMs = duration().parse(`${amount}${unit}`);
      expect(duration().parse(writeDuration(durationMs))).toBe(durationMs);
    }),
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 45 }), (bytes) => {
      expect(size().parse(writeSize(bytes))).toBe(bytes);
    }),
  );
});

test("addresses, networks and hosts are read in IPv4, IPv6 and with other letters", () => {
  const { settings } = configurationOf(`
upstream: { host: bücher.example }
outbound: { listen: "[::1]:2525", allowNetworks: ["fd00::/8", 0.0.0.0/0] }
metrics: { listen: 127.0.0.1:0 }
encryption: { rules: [{ recipients: ["*@*.bücher.example"], hold: 0 }] }
`);
  expect(settings.upstream.host).toBe("xn--bcher-kva.example");
  expect(settings.outbound.listen).toEqual({ host: "::1", port: 2525 });
  expect(settings.outbound.allowNetworks).toEqual(["fd00::/8", "0.0.0.0/0"]);
  expect(settings.metrics.listen.port).toBe(0);
  expect(settings.encryption.rules).toEqual([{ recipients: ["*@*.xn--bcher-kva.example"], hold: 0 }]);
});

test("environment variables override the file, with each value read as its setting needs it", () => {
  const { settings } = configurationOf(`${SMALLEST}log: { level: warn }\nsmime: { keyStore: null }\n`, {
    SEALPOST_UPSTREAM_HOST: "10.0.0.7",
    SEALPOST_UPSTREAM_PORT: "587",
    SEALPOST_HOSTNAME: "007",
    SEALPOST_OUTBOUND_LISTEN: "[::1]:2600",
    SEALPOST_OUTBOUND_MAXMESSAGESIZE: "1048576",
    SEALPOST_OUTBOUND_ALLOWNETWORKS: "[10.0.0.0/8]",
    SEALPOST_ENCRYPTION_TOSENDER: "true",
    SEALPOST_ENCRYPTION_HOLD: "0",
    SEALPOST_ENCRYPTION_RULES: "[{ project: SEC, fallback: block }]",
    SEALPOST_SMIME_KEYSTORE_FILE: "/certs/store.p7b",
    SEALPOST_WEB_PUBLICURL: "https://sealpost.example.com",
    SEALPOST_WEB: "{ listen: 127.0.0.1:9000 }",
    SEALPOST_UPSTREAM_CA: "",
    SEALPOST_CONFIG: "elsewhere.yaml",
    HOME: "/root",
  });
  expect(settings.upstream).toMatchObject({ host: "10.0.0.7", port: 587, ca: null });
  expect(settings.hostname).toBe("007");
  expect(settings.outbound).toMatchObject({
    listen: { host: "::1", port: 2600 },
    maxMessageSize: 1_048_576,
    allowNetworks: ["10.0.0.0/8"],
  });
  expect(settings.encryption).toMatchObject({
    toSender: true,
    hold: 0,
    rules: [{ project: "SEC", fallback: "block" }],
  });
  expect(settings.smime.keyStore?.file).toBe("/certs/store.p7b");
  expect(settings.web).toMatchObject({ listen: { port: 9000 }, publicUrl: "https://sealpost.example.com" });
  expect(settings.log.level).toBe("warn");
});

test("faults of environment variables name the variable", () => {
  const env = {
    SEALPOST_UPSTREAM_PORT: "smtp",
    SEALPOST_UPSTREEM_HOST: "a.example",
    SEALPOST_UPSTREAM_PASSWORD: "CANARY",
    SEALPOST_SOMETHING: "x",
    SEALPOST_OUTBOUND_USERS: "[",
    SEALPOST_DATABASE: "postgres://ann@db.example/x",
  };
  expect(faultsOf(SMALLEST, env).sort()).toEqual([
    "SEALPOST_DATABASE: database: PostgreSQL is not built yet: remove it or wait for a version that has it",
    "SEALPOST_OUTBOUND_USERS: not valid YAML; write a value such as true, 8 or [a, b]",
    "SEALPOST_SOMETHING: no setting has this name",
    "SEALPOST_UPSTREAM_PASSWORD: a secret is not given in the environment; put it into a file and name that in SEALPOST_UPSTREAM_PASSWORD_FILE",
    'SEALPOST_UPSTREAM_PORT: upstream.port: must be a whole number from 1 to 65535, not "smtp"',
    "SEALPOST_UPSTREEM_HOST: no setting has this name; did you mean SEALPOST_UPSTREAM_HOST?",
  ]);
});

test("the variables that Kubernetes sets for a service called sealpost are no settings", () => {
  const links = {
    SEALPOST_SERVICE_HOST: "10.0.0.1",
    SEALPOST_SERVICE_PORT: "2525",
    SEALPOST_SERVICE_PORT_SMTP: "2525",
    SEALPOST_PORT: "tcp://10.0.0.1:2525",
    SEALPOST_PORT_2525_TCP: "tcp://10.0.0.1:2525",
    SEALPOST_PORT_2525_TCP_ADDR: "10.0.0.1",
    SEALPOST_SMTP_PORT: "tcp://10.0.0.1:2525",
  };
  expect(faultsOf(SMALLEST, links)).toEqual([]);
  expect(faultsOf(SMALLEST, { SEALPOST_PORT: "2525" })).toHaveLength(1);
});

test("every setting outside lists has a variable of its own", () => {
  const settings = outline().filter(({ path }) => !path.includes("*"));
  const named = new Set([...settingsByVariable().values()].map(({ path }) => path.join(".")));
  expect(settings.length).toBeGreaterThan(80);
  expect(named.size).toBe(settings.length);
});

test("a secret is read from its file, without the last line end, and never printed", () => {
  const files = { pass: "CANARY-one\r\n", token: "CANARY-two\n" };
  const yaml = `upstream: { host: a.example, user: jira, passwordFile: pass }
outbound: { users: [{ name: jira, passwordFile: ./token }] }\n`;
  const { settings, effective, folder } = configurationOf(yaml, {}, files);
  expect(settings.upstream.password?.reveal()).toBe("CANARY-one");
  expect(settings.outbound.users[0]?.password.reveal()).toBe("CANARY-two");
  expect(settings.upstream.passwordFile).toBe(join(folder, "pass"));
  for (const shown of [
    inspect(settings, { depth: 9 }),
    JSON.stringify(settings),
    JSON.stringify(effective),
    String(settings.upstream.password),
  ])
    expect(shown).not.toContain("CANARY");
});

test("a secret file may be named by a variable, with or without a last underscore, but not by both", () => {
  const path = written({ pass: "open sesame" });
  const file = join(path, "pass");
  const user = { SEALPOST_UPSTREAM_USER: "jira" };
  for (const name of ["SEALPOST_UPSTREAM_PASSWORD_FILE", "SEALPOST_UPSTREAM_PASSWORDFILE"])
    expect(configurationOf(SMALLEST, { ...user, [name]: file }).settings.upstream.password?.reveal()).toBe(
      "open sesame",
    );
  expect(
    faultsOf(SMALLEST, { ...user, SEALPOST_UPSTREAM_PASSWORD_FILE: file, SEALPOST_UPSTREAM_PASSWORDFILE: file }),
  ).toEqual(["SEALPOST_UPSTREAM_PASSWORD_FILE: given together with SEALPOST_UPSTREAM_PASSWORDFILE; keep one of them"]);
  expect(faultsOf(SMALLEST, { ...user, SEALPOST_UPSTREAM_PASSWORD_FILE: "/nonexistent/pass" })).toEqual([
    "SEALPOST_UPSTREAM_PASSWORD_FILE: upstream.passwordFile: cannot read /nonexistent/pass: there is no such file",
  ]);
});

test("a secret file that others may use is refused, below /run/secrets not if root put it there (DEP-07)", () => {
  const path = written({ pass: "x" });
  const file = join(path, "pass");
  for (const [mode, text] of [
    [0o640, "0640"],
    [0o604, "0604"],
    [0o644, "0644"],
    [0o620, "0620"],
  ] as const) {
    chmodSync(file, mode);
    expect(readSecretFile(file)).toEqual({
      fault: `${file} may be used by others than its owner (mode ${text}); run chmod 0600 on it`,
    });
  }
  chmodSync(file, 0o400);
  expect(readSecretFile(file)).toBeInstanceOf(Secret);
});

test("a secret that root mounted may be readable for all, one of somebody else may not", () => {
  const tooOpen = { fault: expect.stringContaining("may be used by others") as string };
  // a file of root's that everybody can read; that it has several lines is seen only after its mode was accepted
  expect(readSecretFile("/etc/hosts", ["/etc/"])).toEqual({ fault: "/etc/hosts holds more than one line" });
  expect(readSecretFile("/etc/hosts")).toEqual(tooOpen);
  const path = written({ pass: "x" });
  chmodSync(join(path, "pass"), 0o444);
  if (process.getuid?.() === 0) chownSync(join(path, "pass"), 65_534, 65_534);
  expect(readSecretFile(join(path, "pass"), [`${realpathSync(path)}/`])).toEqual(tooOpen);
});

test("a secret file that is missing, empty, a folder, a pipe or of several lines is refused by name, and none blocks", () => {
  const path = written({ empty: "\n", lines: "a\nb\n", big: "x".repeat(70_000) });
  mkdirSync(join(path, "folder"));
  execFileSync("mkfifo", ["-m", "600", join(path, "pipe")]);
  const fault = (name: string) => {
    const answer = readSecretFile(join(path, name));
    return answer instanceof Secret ? "read" : answer.fault.replaceAll(`${path}/`, "");
  };
  expect(["none", "empty", "lines", "big", "folder", "pipe"].map(fault)).toEqual([
    "cannot read none: there is no such file",
    "empty is empty; write the secret into it",
    "lines holds more than one line",
    "big is larger than 65536 bytes",
    "folder is not a plain file",
    "pipe is not a plain file",
  ]);
});

test("faults of secret and PEM files stand where the file is named, all at once", () => {
  const yaml = `upstream:
  host: a.example
  ca: ca.pem
  user: jira
  passwordFile: secrets/none
outbound:
  tls: { mode: implicit, cert: cert.pem, key: key.pem }
`;
  expect(faultsOf(yaml, {}, { "ca.pem": "no PEM", "cert.pem": "-----BEGIN CERTIFICATE-----\n" })).toEqual([
    "sealpost.yaml:3:7: upstream.ca: ca.pem holds no certificate in PEM form",
    "sealpost.yaml:5:17: upstream.passwordFile: cannot read secrets/none: there is no such file",
    "sealpost.yaml:7:47: outbound.tls.key: cannot read key.pem: there is no such file",
  ]);
});

test("a certificate and a key that do not belong together are refused, those that do are taken", () => {
  const path = folder();
  for (const name of ["one", "two"])
    execFileSync(
      "openssl",
      `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=${name} -keyout ${path}/${name}.key -out ${path}/${name}.pem`.split(
        " ",
      ),
      { stdio: "ignore" },
    );
  const tls = (key: string) =>
    `${SMALLEST}outbound: { tls: { mode: starttls, cert: ${path}/one.pem, key: ${path}/${key} } }\n`;
  expect(configurationOf(tls("one.key")).settings.outbound.tls).toEqual({
    mode: "starttls",
    cert: join(path, "one.pem"),
    key: join(path, "one.key"),
  });
  const [line, ...more] = faultsOf(tls("two.key"));
  expect(more).toEqual([]);
  expect(line).toMatch(
    /: outbound\.tls\.key: .*two\.key cannot be used with the certificate in .*one\.pem \(.*mismatch\)$/,
  );
});

test("R3: relative paths are seen from the configuration file's folder, wherever the program runs", () => {
  const path = folder();
  mkdirSync(join(path, "config"));
  writeFileSync(
    join(path, "config/sealpost.yaml"),
    `${SMALLEST}dataDir: ../var\nsmime: { keyStore: { file: store.p7b } }\n`,
  );
  const reading = readConfiguration({ path: join(path, "config/../config/sealpost.yaml"), env: {} });
  if ("faults" in reading) throw new Error("refused");
  expect(reading.settings.dataDir).toBe(join(path, "var"));
  expect(reading.settings.smime.keyStore?.file).toBe(join(path, "config/store.p7b"));
});

test("the file is the one named, else $SEALPOST_CONFIG, else config/sealpost.yaml", () => {
  expect(configurationFile("a.yaml", { SEALPOST_CONFIG: "b.yaml" })).toBe("a.yaml");
  expect(configurationFile(undefined, { SEALPOST_CONFIG: "b.yaml" })).toBe("b.yaml");
  expect(configurationFile(undefined, {})).toBe("config/sealpost.yaml");
});

test("reading twice gives the same, and the effective configuration read again is itself", () => {
  const yaml = `${SMALLEST}encryption: { rules: [{ project: SEC, hold: 90m }] }\nsmime: { keyStore: { file: a.p7b } }\n`;
  const first = configurationOf(yaml);
  const again = configurationOf(stringify(first.effective));
  expect(again.effective).toEqual(first.effective);
  expect(again.settings).toEqual(first.settings);
  expect(parse(stringify(first.effective))).toEqual(first.effective);
});
