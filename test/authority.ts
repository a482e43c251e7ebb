// A private certificate authority made by openssl at run time, for servers that tests start.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export type ServerCertificate = { readonly key: string; readonly cert: string };

export type TestAuthority = {
  /** The authority's own certificate, PEM: what a client must trust. */
  readonly ca: string;
  /** A server certificate for subjectAltName entries such as `DNS:localhost` or `IP:127.0.0.1`; `days` below 0 is expired. */
  issue(names: readonly string[], days?: number): Promise<ServerCertificate>;
};

/** Makes a new authority (EC P-256). Its private key lives in this process only. */
export async function makeAuthority(): Promise<TestAuthority> {
  return inScratchFolder(async (folder) => {
    const at = (name: string) => join(folder, name);
    await newKey(at("ca.key"));
    await run("openssl", [
      ...["req", "-x509", "-new", "-key", at("ca.key"), "-subj", "/CN=Test authority", "-days", "30"],
      ...["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", at("ca.pem")],
    ]);
    const ca = await readFile(at("ca.pem"), "utf8");
    const caKey = await readFile(at("ca.key"), "utf8");
    return { ca, issue: (names, days = 30) => issue({ ca, caKey }, names, days) };
  });
}

function issue(
  authority: { ca: string; caKey: string },
  names: readonly string[],
  days: number,
): Promise<ServerCertificate> {
  return inScratchFolder(async (folder) => {
    const at = (name: string) => join(folder, name);
    await writeFile(at("ca.pem"), authority.ca);
    await writeFile(at("ca.key"), authority.caKey, { mode: 0o600 });
    await writeFile(at("extensions"), `subjectAltName=${names.join(",")}\nextendedKeyUsage=serverAuth\n`);
    await newKey(at("key"));
    await run("openssl", ["req", "-new", "-key", at("key"), "-subj", "/CN=test server", "-out", at("request")]);
    await run("openssl", [
      ...["x509", "-req", "-in", at("request"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-set_serial", "2"],
      ...["-extfile", at("extensions"), "-days", String(days), "-out", at("cert")],
    ]);
    return { key: await readFile(at("key"), "utf8"), cert: await readFile(at("cert"), "utf8") };
  });
}

async function newKey(path: string): Promise<void> {
  await run("openssl", ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path]);
}

async function inScratchFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "sealpost-ca-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
