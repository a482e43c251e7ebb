// What is said about a faulty configuration: every fault at once, each with its place.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { faultLine } from "../../src/config/fault.ts";
import { readConfiguration } from "../../src/config/read.ts";
import { valueAt } from "../../src/config/value-at.ts";
import { faultsOf, folder, SMALLEST } from "./reading.ts";

test("a misspelt key is named with the one that was meant", () => {
  expect(faultsOf("upstream:\n  host: smtp.example.com\n  prot: 25\n")).toEqual([
    "sealpost.yaml:3:3: upstream.prot: unknown setting; did you mean port?",
  ]);
});

test("a misspelt section is an error and never ignored", () => {
  expect(faultsOf(`${SMALLEST}encrpyt: required\n`)).toEqual([
    "sealpost.yaml:2:1: encrpyt: unknown setting; did you mean encryption?",
  ]);
});

test("a key unlike any other is answered with those that exist", () => {
  expect(faultsOf(`${SMALLEST}cache: { zzzzzz: 1 }\n`)).toEqual([
    "sealpost.yaml:2:10: cache.zzzzzz: unknown setting; known here: ttl, absentTtl",
  ]);
});

test("values of the wrong type are all named at once, in the order of the file", () => {
  const yaml = [
    "upstream: { host: 25, port: smtp }",
    "encryption: { toSender: yes, rules: { project: SEC } }",
    "web: on",
    "retry: { factor: fast }",
    "outbound: { users: [{ name: jira }] }",
  ].join("\n");
  expect(faultsOf(yaml)).toEqual([
    "sealpost.yaml:1:19: upstream.host: must be a host name or IP address, not 25",
    'sealpost.yaml:1:29: upstream.port: must be a whole number from 1 to 65535, not "smtp"',
    'sealpost.yaml:2:25: encryption.toSender: must be true or false, not "yes"',
    "sealpost.yaml:2:37: encryption.rules: must be a list, not a mapping",
    'sealpost.yaml:3:6: web: must be a mapping, not "on"',
    'sealpost.yaml:4:18: retry.factor: must be a number from 1 to 10, not "fast"',
    "sealpost.yaml:5:21: outbound.users[0].passwordFile: missing, and it has no default",
  ]);
});

test("a host with a scheme or a port is told to go without", () => {
  expect(faultsOf("upstream:\n  host: smtps://ldap.example.com:465\n")).toEqual([
    "sealpost.yaml:2:9: upstream.host: host without scheme; write `ldap.example.com` and set tls",
  ]);
  expect(faultsOf("upstream:\n  host: smtp.example.com:25\n")).toEqual([
    "sealpost.yaml:2:9: upstream.host: host without port; the port is a setting of its own",
  ]);
});

test("a bad duration, size, network and listen address are named at once", () => {
  const yaml = `${SMALLEST}outbound:
  listen: localhost:2525
  allowNetworks: [10.0.0.0/33, 10.0.0.0, "::1/128"]
  maxMessageSize: 25MB
encryption: { hold: 7 days }
retry: { first: 0 }
`;
  expect(faultsOf(yaml)).toEqual([
    'sealpost.yaml:3:11: outbound.listen: must be an address and port such as 127.0.0.1:2525 or [::1]:2525, not "localhost:2525"',
    'sealpost.yaml:4:19: outbound.allowNetworks[0]: must be a network such as 10.0.0.0/8 or "fd00::/8", not "10.0.0.0/33"',
    'sealpost.yaml:4:32: outbound.allowNetworks[1]: must be a network such as 10.0.0.0/8 or "fd00::/8", not "10.0.0.0"',
    'sealpost.yaml:5:19: outbound.maxMessageSize: must be a size such as 512KiB, 25MiB or 1GiB, or a number of bytes, not "25MB"',
    'sealpost.yaml:6:21: encryption.hold: must be a duration such as 30s, 5m, 2h or 7d, or 0, not "7 days"',
    "sealpost.yaml:7:17: retry.first: must be a duration such as 30s, 5m, 2h or 7d, not 0",
  ]);
});

test("a misspelt choice is answered with all choices and the one that was meant", () => {
  const yaml = `${SMALLEST}encryption: { type: smime-prefered, fallback: clear }\noutbound: { tls: { mode: start-tls } }\n`;
  expect(faultsOf(yaml)).toEqual([
    'sealpost.yaml:2:21: encryption.type: must be smime-only | smime-preferred | pgp-preferred | pgp-only, not "smime-prefered"; did you mean smime-preferred?',
    'sealpost.yaml:2:47: encryption.fallback: must be allow | report | block, not "clear"',
    'sealpost.yaml:3:26: outbound.tls.mode: must be off | starttls | required | implicit, not "start-tls"; did you mean starttls?',
  ]);
});

test("DEP-02: TLS that is switched on needs a certificate and a key", () => {
  expect(faultsOf(`${SMALLEST}outbound:\n  tls: { mode: required }\n`)).toEqual([
    "sealpost.yaml:3:3: outbound.tls.cert: missing, and it has no default",
    "sealpost.yaml:3:3: outbound.tls.key: missing, and it has no default",
  ]);
});

test("upstream.host is the one setting that must be given", () => {
  const missing = "upstream.host: missing, and it has no default";
  expect(faultsOf("")).toEqual([`sealpost.yaml:1:1: ${missing}`]);
  expect(faultsOf("log: { level: info }\nupstream:\n  port: 25\n")).toEqual([`sealpost.yaml:2:1: ${missing}`]);
});

test("a login upstream needs a user, one secret, and a way that may be encrypted", () => {
  const upstream = (rest: string) =>
    faultsOf(`upstream: { host: a.example, ${rest} }`, {}, { pass: "x" }).map((line) => line.replace(/^[^ ]* /, ""));
  expect(upstream("user: jira")).toEqual(["upstream.passwordFile: needed when user is set (or tokenFile)"]);
  expect(upstream("passwordFile: pass")).toEqual(["upstream.user: needed when passwordFile or tokenFile is set"]);
  expect(upstream("user: jira, passwordFile: pass, tokenFile: pass")).toEqual([
    "upstream.tokenFile: given together with passwordFile; keep one of them",
  ]);
  expect(upstream("user: jira, passwordFile: pass, tls: off")).toEqual([
    "upstream.tls: off would send the password in clear; set required or implicit, or remove user",
  ]);
});

test("a rule needs a condition and something to override", () => {
  expect(faultsOf(`${SMALLEST}encryption:\n  rules:\n    - { fallback: allow }\n    - { project: SEC }\n`)).toEqual([
    "sealpost.yaml:4:7: encryption.rules[0]: needs a condition: recipients, project or both",
    "sealpost.yaml:5:7: encryption.rules[1]: overrides nothing; set type, fallback, hold, subject or recoveryMail",
  ]);
});

test("lists that must not be empty, names given twice and delays out of order are refused", () => {
  const yaml = `${SMALLEST}encryption: { rules: [{ recipients: [], fallback: allow }] }
outbound: { users: [{ name: a, passwordFile: pass }, { name: b, passwordFile: pass }, { name: a, passwordFile: pass }] }
retry: { first: 2m, max: 90s }
`;
  expect(faultsOf(yaml, {}, { pass: "x" })).toEqual([
    "sealpost.yaml:2:37: encryption.rules[0].recipients: must hold at least one entry: an address or pattern",
    "sealpost.yaml:3:95: outbound.users[2].name: given twice",
    "sealpost.yaml:4:26: retry.max: must be at least retry.first (2m)",
  ]);
});

test("a pattern that could match no recipient is refused", () => {
  expect(
    faultsOf(`${SMALLEST}encryption: { rules: [{ recipients: ["@a.example", "*.b.example"], fallback: allow }] }`),
  ).toEqual([
    'sealpost.yaml:2:38: encryption.rules[0].recipients[0]: needs a local part; write "*@a.example"',
    'sealpost.yaml:2:52: encryption.rules[0].recipients[1]: must be an address with * for anything, such as "*@internal.example.com", not "*.b.example"',
  ]);
});

test("two listeners on one port are refused, two that let the system pick are not", () => {
  const clash = (port: number) =>
    faultsOf(`${SMALLEST}web: { listen: 127.0.0.1:${port} }\nmetrics: { listen: 127.0.0.1:${port} }\n`);
  expect(clash(8025)).toEqual(["sealpost.yaml:3:20: metrics.listen: the same as web.listen"]);
  expect(clash(0)).toEqual([]);
});

test("web pages for other machines need a password and https in front (WEB-18)", () => {
  const open = (rest: string) => faultsOf(`${SMALLEST}web: { listen: 0.0.0.0:8025${rest} }`, {}, { pass: "x" });
  const fault =
    "sealpost.yaml:2:16: web.listen: open to the network without protection; listen on 127.0.0.1, or set " +
    "web.adminPasswordFile and the https:// address of the proxy in front as web.publicUrl";
  expect(open("")).toEqual([fault]);
  expect(open(", adminPasswordFile: pass")).toEqual([fault]);
  expect(open(", adminPasswordFile: pass, publicUrl: https://sealpost.example.com")).toEqual([]);
});

test("a URL of another scheme, or with a password in it, is refused without showing the password", () => {
  const lines = faultsOf(
    `${SMALLEST}database: postgres://ann:CANARY@db.example:5432/x\nweb: { publicUrl: "ftp://a.example" }\n`,
  );
  expect(lines.join("\n")).not.toContain("CANARY");
  expect(lines).toEqual([
    "sealpost.yaml:2:1: database: PostgreSQL is not built yet: remove it or wait for a version that has it",
    "sealpost.yaml:3:19: web.publicUrl: must be a URL that begins with https:// or http://, such as https://sealpost.example.com",
  ]);
});

test("parts that are not built yet are refused by name and never ignored", () => {
  const notYet = (yaml: string) =>
    faultsOf(`${SMALLEST}${yaml}`).map((line) => line.replace(/:.* is not/, ": … is not"));
  const refused = "sealpost.yaml: … is not built yet: remove it or wait for a version that has it";
  for (const yaml of ["database: postgres://ann@db.example/x"]) expect(notYet(yaml), yaml).toEqual([refused]);
});

describe("key servers and directories", () => {
  const faults = (yaml: string, files: Record<string, string> = {}) =>
    faultsOf(`${SMALLEST}${yaml}\n`, {}, { password: "x", ...files }).map((line) =>
      line.replace(/^sealpost\.yaml:\d+:\d+: /, ""),
    );
  const ldap = (more: string) => faults(`smime: { ldap: { host: ldap.example.com, baseDn: "o=x"${more} } }`);
  const directory = (more: string) =>
    faults(`smime: { userDirectories: [{ name: corp, host: ldap.example.com, baseDn: "o=x"${more} }] }`);
  const server = (url: string, more = "") => faults(`pgp: { keyServer: { url: "${url}"${more} } }`);

  test("R9: a host with a scheme is refused, and says what to write instead", () => {
    expect(faults(`smime: { ldap: { host: "ldaps://ldap.example.com", baseDn: "o=x" } }`)).toEqual([
      "smime.ldap.host: host without scheme; write `ldap.example.com` and set tls",
    ]);
    expect(faults(`smime: { userDirectories: [{ name: corp, host: "ldap://l.example:389", baseDn: "o=x" }] }`)).toEqual(
      ["smime.userDirectories[0].host: host without scheme; write `l.example` and set tls"],
    );
  });

  test("R9: user and password are optional, but only together", () => {
    expect(ldap("")).toEqual([]);
    expect(ldap(`, user: "cn=relay"`)).toEqual(["smime.ldap.passwordFile: needed when user is set"]);
    expect(directory(", passwordFile: password")).toEqual([
      "smime.userDirectories[0].user: needed when passwordFile is set",
    ]);
  });

  test("the port of TLS from the first byte is refused for anything else", () => {
    const fault = "636 speaks TLS from the first byte; set tls: implicit, or port: 389 for starttls";
    expect(ldap(", tls: starttls")).toEqual([`smime.ldap.port: ${fault}`]);
    expect(ldap(", tls: starttls, port: 389")).toEqual([]);
  });

  test("LOOK-02: a filter that is none is refused, with the reason", () => {
    for (const filter of ["(objectClass=person)(x", "(mail=x", "", "(a=b)(c=d)", "((mail=x)"]) {
      expect(ldap(`, filter: "${filter}"`), filter).toHaveLength(1);
      expect(directory(`, userFilter: "${filter}"`).join(), filter).toContain(
        "smime.userDirectories[0].userFilter: must be",
      );
    }
    expect(ldap(`, filter: "(&(objectClass=person)(!(employeeType=external)))"`)).toEqual([]);
    expect(ldap(`, filter: "objectClass=person"`)).toEqual([]);
    expect(directory(`, mailAttribute: "mail)(x"`).join()).toContain("must be the name of an attribute");
  });

  test("two directories of one name are refused, for the name tells them apart", () => {
    const one = `{ name: corp, host: ldap.example.com, baseDn: "o=x" }`;
    expect(faults(`smime: { userDirectories: [${one}, ${one}] }`)).toEqual([
      "smime.userDirectories[1].name: given twice",
    ]);
  });

  test("R15: the schemes of a key server are those of HKP and LDAP, any other is refused", () => {
    for (const scheme of ["http", "hkp", "https", "hkps", "ldap", "ldaps"])
      expect(server(`${scheme}://keys.example.com`), scheme).toEqual([]);
    for (const url of ["ftp://keys.example.com", "keys.example.com", "hkps:keys", "mailto:x@example.com"])
      expect(server(url).join(), url).toContain("must be a URL that begins with hkps://");
    expect(server("hkps://keys.example.com/?op=get")).toEqual(["pgp.keyServer.url: must hold no ? and no #"]);
  });

  test("R16: an empty key server is simply not used", () => {
    expect(server("")).toEqual([]);
    expect(faults("pgp: { keyServer: null }")).toEqual([]);
  });

  test("R17: a proxy is env, none or a URL; a password in it is refused", () => {
    for (const proxy of ["env", "none", "http://proxy.example.com:3128"])
      expect(server("hkps://k.example", `, proxy: "${proxy}"`), proxy).toEqual([]);
    expect(server("hkps://k.example", `, proxy: "http://u:CANARY@proxy:3128"`).join()).not.toContain("CANARY");
    expect(server("hkps://k.example", `, proxy: "socks5://proxy"`)).toHaveLength(1);
  });

  test("what only an LDAP key server has is refused for others", () => {
    expect(server("hkps://k.example", ", startTls: true")).toEqual([
      "pgp.keyServer.startTls: only an ldap:// URL has StartTLS",
    ]);
    expect(server("ldaps://k.example", ", startTls: true")).toHaveLength(1);
    expect(server("ldap://k.example", ", startTls: true")).toEqual([]);
    expect(server("hkps://k.example", `, user: "cn=x", passwordFile: password`)).toHaveLength(1);
    expect(server("ldaps://k.example", `, user: "cn=x", passwordFile: password`)).toEqual([]);
  });

  test("checking certification paths needs an anchor", () => {
    expect(faults("smime: { trust: { check: true } }")).toEqual(["smime.trust.anchors: needed when check is true"]);
    expect(faults(`smime: { trust: { crls: ["ftp://a.example/x.crl"] } }`)).toEqual([
      "smime.trust.crls[0]: must be a file name or an http:// or https:// URL",
    ]);
  });
});

test("__proto__ and constructor are unknown settings and touch nothing (DEP-03)", () => {
  const lines = faultsOf(
    `${SMALLEST}__proto__: { polluted: 1 }\nconstructor: { prototype: { polluted: 1 } }\nlog: { __proto__: { level: debug } }\n`,
  );
  expect(lines.map((line) => line.replace(/; .*/, ""))).toEqual([
    "sealpost.yaml:2:1: __proto__: unknown setting",
    "sealpost.yaml:3:1: constructor: unknown setting",
    "sealpost.yaml:4:8: log.__proto__: unknown setting",
  ]);
  expect(faultsOf(SMALLEST, { SEALPOST_LOG: "{ __proto__: { polluted: 1 }, constructor: 1 }" })).toEqual([
    "SEALPOST_LOG: log.__proto__: unknown setting; known here: level, addresses",
    "SEALPOST_LOG: log.constructor: unknown setting; known here: level, addresses",
  ]);
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  expect(valueAt({ log: {} }, ["log", "constructor"])).toBeUndefined();
});

test("YAML that is ambiguous or hostile is refused", () => {
  expect(faultsOf(`${SMALLEST}log: { level: info }\nlog: { level: debug }\nretry: { first: x }\n`)).toEqual([
    "sealpost.yaml:3:1: log: given twice; keep one",
    'sealpost.yaml:4:17: retry.first: must be a duration such as 30s, 5m, 2h or 7d, not "x"',
  ]);
  expect(faultsOf(`${SMALLEST}log:\n  level: info\n  level: warn\n  level: debug\n`)).toEqual([
    "sealpost.yaml:4:3: given twice; keep one",
    "sealpost.yaml:5:3: log.level: given twice; keep one",
  ]);
  expect(faultsOf("upstream: { host: [\n")[0]).toMatch(/^sealpost\.yaml:\d+:\d+: not valid YAML: /);
  expect(faultsOf(`${SMALLEST}log: !!js/function "x"\n`)[0]).toMatch(
    /^sealpost\.yaml:2:6: not valid YAML: unresolved tag/,
  );
  expect(faultsOf(`${SMALLEST}---\n${SMALLEST}`)[0]).toMatch(/not valid YAML/);
  expect(faultsOf(`${SMALLEST}25: x\n`)).toEqual(["sealpost.yaml:2:1: a key must be text"]);
  expect(faultsOf("- upstream\n")).toContain("sealpost.yaml:1:1: must be a mapping of settings, such as upstream:");
  expect(faultsOf(`base: &b { level: debug }\n${SMALLEST}log: { <<: *b }\n`).join()).toContain(
    'log."<<": unknown setting',
  );
});

test("aliases and brackets cannot be used to exhaust memory or stack", () => {
  const laughs = ["a0: &a0 [x, x]", ...Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}]`)];
  expect(faultsOf(laughs.join("\n")).join("\n")).toContain("more than 50 aliases; write the value itself");
  expect(faultsOf(`a: &a { b: *a }`).join("\n")).toMatch(/nested too deep|aliases/);
  expect(faultsOf("[".repeat(50_000))).toEqual([
    expect.stringMatching(/^sealpost.yaml:1:\d+: nested too deep or too large for a configuration$/),
  ]);
  expect(faultsOf(`a: ${"{ b: ".repeat(200)}1${" }".repeat(200)}`)).toContain(
    "sealpost.yaml:1:164: nested too deep or too large for a configuration",
  );
});

test("a file that is missing, no plain file or too large is one clear fault", () => {
  const path = folder();
  const only = (name: string) => {
    const reading = readConfiguration({ path: join(path, name), env: {} });
    return "faults" in reading ? reading.faults.map((fault) => faultLine(fault).replaceAll(`${path}/`, "")) : [];
  };
  mkdirSync(join(path, "folder"));
  const hint = "name the configuration with --config FILE or SEALPOST_CONFIG";
  expect(only("none.yaml")).toEqual([`none.yaml:1:1: cannot read none.yaml: there is no such file; ${hint}`]);
  expect(only("folder")).toEqual([`folder:1:1: folder is not a plain file; ${hint}`]);
  expect(faultsOf(`${SMALLEST}#${"x".repeat(1024 * 1024)}`)).toEqual([
    `sealpost.yaml:1:1: sealpost.yaml is larger than 1048576 bytes; ${hint}`,
  ]);
});
