// The judges of what arrived: openssl, BouncyCastle (one JVM for all questions) and gpg (one run for a whole batch).
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { fixture } from "../fixtures.ts";
import { gnupgHome } from "../pgp/gnupg.ts";

const JARS = ["bcprov", "bcpkix", "bcmail", "bcutil"].map((name) => `/usr/share/java/${name}.jar`).join(":");
const PASSWORD = "test1234";

export type BouncyCastle = {
  /** Decrypts for the owner of p12/NAME.p12; `serials` are those of every reader, hexadecimal, sorted. */
  decrypt(cms: Uint8Array, name: string): Promise<{ readonly content: Buffer; readonly serials: readonly string[] }>;
  close(): void;
};

/** Compiles BcLoop.java and keeps it running; questions are answered one after the other. */
export function bouncyCastle(): BouncyCastle {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-bc-"));
  const source = fileURLToPath(new URL("BcLoop.java", import.meta.url));
  execFileSync("javac", ["-encoding", "UTF-8", "-cp", JARS, "-d", folder, source]);
  const java = spawn("java", ["-cp", `${folder}:${JARS}`, "BcLoop"], { stdio: ["pipe", "pipe", "inherit"] });
  const answers = createInterface({ input: java.stdout })[Symbol.asyncIterator]();
  let last: Promise<unknown> = Promise.resolve();
  const ask = async (cms: Uint8Array, name: string) => {
    const [file, out] = [join(folder, "question.der"), join(folder, "answer")];
    writeFileSync(file, cms);
    java.stdin.write(`${[file, fixture(`smime/p12/${name}.p12`), PASSWORD, out].join("\t")}\n`);
    const answer = await answers.next();
    if (answer.done === true) throw new Error("BouncyCastle has ended");
    const [verdict, text = ""] = answer.value.split("\t");
    if (verdict !== "ok") throw new Error(`BouncyCastle for ${name}: ${text}`);
    return { content: readFileSync(out), serials: text.split(",").sort() };
  };
  return {
    decrypt(cms, name) {
      const answer = last.catch(() => undefined).then(() => ask(cms, name));
      last = answer;
      return answer;
    },
    close() {
      java.stdin.end();
      java.kill();
      rmSync(folder, { recursive: true });
    },
  };
}

/** Serial number of the fixture NAME's certificate as openssl prints it, in BouncyCastle's writing. */
export function serialOf(name: string): string {
  const printed = execFileSync("openssl", ["x509", "-in", fixture(`smime/certs/${name}.pem`), "-noout", "-serial"]);
  return BigInt(`0x${printed.toString().trim().replace("serial=", "")}`).toString(16);
}

export type GpgReading = { readonly content: Buffer; readonly keyIds: readonly string[] };

/** What gpg reads in each armored message with the fixtures' secret keys, in one run; `keyIds` are those it is encrypted to, sorted. */
export function gpgDecrypt(messages: readonly Uint8Array[]): GpgReading[] {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-gpg-"));
  const home = gnupgHome(true);
  try {
    const files = messages.map((_, index) => join(folder, `${index}.asc`));
    files.forEach((file, index) => writeFileSync(file, messages[index]!));
    const { stderr } = home.run(["--status-fd", "2", "--multifile", "--decrypt", ...files]);
    const said = new Map(
      stderr.split("[GNUPG:] FILE_START 3 ").map((text) => [text.slice(0, text.indexOf("\n")), text]),
    );
    return files.map((file) => {
      const status = said.get(file) ?? "";
      // an unauthenticated content is written to the file too: GOODMDC alone says that it is whole
      if (!status.includes("[GNUPG:] GOODMDC")) throw new Error(`gpg did not decrypt ${file}: ${status || stderr}`);
      const keyIds = [...status.matchAll(/^\[GNUPG:\] ENC_TO (\w+)/gm)].map((match) => match[1]!);
      return { content: readFileSync(file.replace(/\.asc$/, "")), keyIds: keyIds.sort() };
    });
  } finally {
    home.close();
    rmSync(folder, { recursive: true });
  }
}
