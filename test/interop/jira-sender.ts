// Jira's own mail client: JavaMail by the fixture JiraSender, compiled once, one JVM per call.
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixture } from "../fixtures.ts";

const JARS = ["javax.mail", "javax.activation"].map((name) => `/usr/share/java/${name}.jar`).join(":");

export type Sent = {
  readonly code: number;
  /** `sent N/M` and what failed. */
  readonly said: string;
  /** Each message as it was before it was handed in. */
  readonly messages: readonly Buffer[];
};

export type JiraSender = {
  /** Sends by the options of JiraSender, such as `{ to: "a@example.com", kind: "jsm" }`. */
  send(port: number, options: Readonly<Record<string, string>>): Promise<Sent>;
  close(): void;
};

export function jiraSender(): JiraSender {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-jira-"));
  execFileSync("javac", ["-encoding", "UTF-8", "-cp", JARS, "-d", folder, fixture("jira-sender/JiraSender.java")]);
  let calls = 0;
  return {
    async send(port, options) {
      const dump = join(folder, `dump${(calls += 1)}`);
      const given = Object.entries({ ...options, port: String(port), dump }).map(([name, value]) => `${name}=${value}`);
      const args = ["-Dfile.encoding=UTF-8", "-cp", `${folder}:${JARS}`, "JiraSender", ...given];
      const env = { ...process.env, LC_ALL: "C.UTF-8" };
      const { code, said } = await new Promise<{ code: number; said: string }>((resolve) =>
        execFile("java", args, { env }, (error, stdout, stderr) =>
          resolve({
            code: typeof error?.code === "number" ? error.code : error === null ? 0 : -1,
            said: stdout + stderr,
          }),
        ),
      );
      const count = Number(options["count"] ?? 1);
      const files = count === 1 ? [dump] : Array.from({ length: count }, (_, index) => `${dump}.${index}`);
      return { code, said: said.trim(), messages: files.map((file) => readFileSync(file)) };
    },
    close: () => rmSync(folder, { recursive: true }),
  };
}
