// Real judges of CMS: openssl and BouncyCastle, run as child processes.
import { execFile, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { fixture } from "../fixtures.ts";

/** What openssl cms decrypts for the owner of keys/NAME.key and the certificate that goes with it. */
export async function opensslDecrypt(cms: Uint8Array, name: string): Promise<Buffer> {
  const reader = ["-inkey", fixture(`smime/keys/${name}.key`), "-recip", fixture(`smime/certs/${name}.pem`)];
  const child = spawn("openssl", ["cms", "-decrypt", "-inform", "DER", "-binary", ...reader]);
  const output: Buffer[] = [];
  const complaints: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => complaints.push(chunk));
  // openssl may stop reading before all is written
  child.stdin.on("error", () => undefined);
  child.stdin.end(cms);
  const code = await new Promise<number | null>((resolve, reject) => child.on("error", reject).on("close", resolve));
  if (code !== 0) throw new Error(`openssl exits with ${code}: ${Buffer.concat(complaints).toString()}`);
  return Buffer.concat(output);
}

/** What openssl shows of the structure. */
export function opensslPrint(cms: Uint8Array): string {
  const args = ["cms", "-cmsout", "-print", "-noout", "-inform", "DER"];
  return execFileSync("openssl", args, { input: cms, encoding: "utf8", maxBuffer: 1 << 26 });
}

const JARS = ["bcprov", "bcpkix", "bcmail", "bcutil"].map((name) => `/usr/share/java/${name}.jar`).join(":");

export type BouncyCastle = { decrypt(cms: Uint8Array, name: string): Promise<Buffer>; close(): void };

/** Compiles the oracle once. It decrypts for the first recipient only. */
export function bouncyCastle(): BouncyCastle {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-bc-"));
  execFileSync("javac", ["-encoding", "UTF-8", "-cp", JARS, "-d", folder, fixture("oracles/Bc.java")]);
  let count = 0;
  return {
    async decrypt(cms, name) {
      const file = join(folder, `${(count += 1)}.der`);
      writeFileSync(file, cms);
      const args = ["-cp", `${folder}:${JARS}`, "Bc", file, fixture(`smime/p12/${name}.p12`), "test1234"];
      const { stdout } = await promisify(execFile)("java", args, { encoding: "buffer", maxBuffer: 1 << 26 });
      return stdout;
    },
    close: () => rmSync(folder, { recursive: true }),
  };
}
